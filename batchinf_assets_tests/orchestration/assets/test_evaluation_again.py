"""A window that is evaluated again: what readers see may be found bad by what is declared since."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from batchinf_assets.attempts import recorder_of
from batchinf_assets.evaluation.golden.golden_provenance import provenance_path, read_provenance
from batchinf_assets.evaluation.golden.golden_set import golden_set_in_force
from batchinf_assets.evaluation.report.places import window_report_place
from batchinf_assets.evaluation.report.range_reading import read_range
from batchinf_assets.evaluation.report.write import write_window_report
from batchinf_assets.orchestration.runs.execute import RunReport, run_job
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.publishing.announcements import announcements
from batchinf_assets.publishing.backfill.stale import plan_backfill
from batchinf_assets.publishing.overrides import held_verdicts, new_override, write_override
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.status.statuses import pipeline_status
from batchinf_assets.publishing.tickets.tickets import read_tickets
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.condemnations import condemned
from batchinf_assets.scoring.predictions import manifests, predictions_table, published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets_tests.orchestration.rollback.test_withdrawal import PUBLISHED, job_of

DAY, NEXT = "2013-07-01", "2013-07-02"
EVALUATION = dg.AssetKey(["flight_delays", "evaluation"])


def declared(pipeline: Pipeline, **sections: dict[str, object]) -> Pipeline:
    spec = pipeline.spec
    changed = {name: getattr(spec, name).model_copy(update=s) for name, s in sections.items()}
    return replace(pipeline, spec=spec.model_copy(update=changed))


class Lane:
    """One window, its runs, and what readers see of it."""

    def __init__(self, project: Project, instance: dg.DagsterInstance, pipeline: Pipeline) -> None:
        self.project, self.instance, self.spec = project, instance, pipeline.spec
        self.window = pipeline.spec.window.window(DAY)

    def run(self, pipeline: Pipeline) -> RunReport:
        job = job_of(pipeline, "flight_delays")
        return run_job(job, self.instance, [self.window], lambda _window, _asset: None)

    def evaluate(self, pipeline: Pipeline, *days: str) -> bool:
        """Materialize the asset `evaluation` alone over a range, as Dagster's UI does."""
        result = job_of(pipeline, "flight_delays").execute_in_process(
            instance=self.instance,
            asset_selection=[EVALUATION],
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
            tags={
                ASSET_PARTITION_RANGE_START_TAG: days[0],
                ASSET_PARTITION_RANGE_END_TAG: days[-1],
            },
        )
        return result.success

    def golden_sets(self, pipeline: Pipeline) -> dict[str, str | None]:
        """By window, how its golden set stands to the one that a pipeline declares."""
        in_force = golden_set_in_force(self.project, pipeline.spec)
        now = datetime.now(UTC)
        found = pipeline_status(self.project, pipeline.spec, {}, now=now, golden=in_force)
        return {each.window: each.golden_set for each in found}

    def stale(self, pipeline: Pipeline) -> list[str]:
        """What a backfill of a declaration would run of both windows."""
        first, last = self.spec.window.between(DAY, NEXT)
        plan = plan_backfill(self.project, pipeline, None, first=first, last=last)
        return [each.window for each in plan.stale]

    def visible(self) -> str | None:
        return published_revision(self.project, self.spec, self.window)

    def told(self) -> list[tuple[str, str | None, str | None, str]]:
        found = announcements(self.project, self.spec, self.window)
        return [(each.event, each.before, each.after, each.reason) for each in found]

    def tickets(self) -> list[str]:
        return [kept.ticket.check for kept in read_tickets(self.project, self.spec)]

    def last_codes(self) -> list[str | None]:
        recorder_of(self.project).flush(60)
        rows = Ledger(self.project.lake).read("flight_delays", DAY).to_pylist()
        return [row["reason_code"] for row in rows]

    def withdrawn_runs(self) -> int:
        failed = dg.RunsFilter(
            job_name="flight_delays_withdrawn", statuses=[dg.DagsterRunStatus.FAILURE]
        )
        return self.instance.get_runs_count(failed)


@pytest.fixture
def lane(project: Project, instance: dg.DagsterInstance, pipeline: Pipeline) -> Lane:
    return Lane(project, instance, pipeline)


@pytest.fixture
def revisions(lane: Lane, pipeline: Pipeline) -> tuple[str, str]:
    """A revision, and a correction of its source whose distances have drifted."""
    assert lane.run(pipeline).succeeded
    first = lane.visible()
    path = lane.project.landing / f"flights/{DAY}.parquet"
    rows = pq.read_table(path)
    place = rows.schema.get_field_index("distance")
    same = pa.array([500] * rows.num_rows, rows.schema.field(place).type)
    pq.write_table(rows.set_column(place, rows.schema.field(place), same), path)
    assert lane.run(pipeline).succeeded
    second = lane.visible()
    assert first is not None
    assert second is not None
    assert first != second
    return first, second


def test_a_verdict_that_blocks_since_takes_a_published_revision_back(
    lane: Lane, pipeline: Pipeline, revisions: tuple[str, str]
) -> None:
    first, second = revisions
    strict = declared(pipeline, gate={"drift": "block"}, rollback={"automatic": ("evaluation",)})
    report = lane.run(strict)
    assert lane.visible() == first
    ((event, before, after, reason),) = lane.told()
    assert (event, before, after) == ("rolled_back", second, first)
    assert reason.startswith("Evaluated again: column distance_miles: expected ")
    found = condemned(lane.project, lane.spec, lane.window, second)
    assert found is not None
    assert found.by == "automatic rollback"
    assert found.check is not None
    assert (found.check.asset, found.check.name) == ("evaluation", "drift")
    assert lane.last_codes()[-1] == "rolled_back/evaluation"
    assert "drift" in lane.tickets()
    assert "was condemned, automatic rollback condemned it" in report.refused[DAY]
    told = lane.instance.fetch_observations(PUBLISHED, limit=1).records[0].asset_observation
    assert told is not None
    assert told.metadata["revision"].value == first
    checks = lane.instance.event_log_storage.get_asset_check_summary_records(
        [dg.AssetCheckKey(EVALUATION, "drift")]
    )
    (shown,) = checks.values()
    assert shown.last_check_execution_record is not None
    assert shown.last_check_execution_record.status.value == "FAILED"

    assert not lane.run(strict).succeeded  # the bad source is still there
    assert (lane.visible(), len(lane.told())) == (first, 1)


def test_without_the_policy_it_is_named_and_an_override_of_this_very_failure_stands(
    lane: Lane, pipeline: Pipeline, revisions: tuple[str, str]
) -> None:
    _, second = revisions
    strict = declared(pipeline, gate={"drift": "block"})
    refused = lane.run(strict).refused[DAY]
    assert (lane.visible(), lane.told()) == (second, [])
    assert f"`batchinf rollback flight_delays {DAY} --from {second} --reason TEXT`" in refused
    assert "drift" in lane.tickets()

    held = held_verdicts(lane.project, strict.spec, lane.window)
    assert [failure.name for failure in held.failures] == ["drift"]
    record = new_override(
        held, "drift", by="ann", reason="A day of one distance", at=datetime.now(UTC)
    )
    write_override(lane.project, strict.spec, held, record)
    acting: dict[str, object] = {"automatic": ("evaluation",), "withdraw": True}
    assert lane.run(declared(strict, rollback=acting)).succeeded
    assert (lane.visible(), lane.told()) == (second, [])

    # No model keeps this bound: the earlier revision would fail as well.
    bound = declared(strict, rollback=acting, golden={"at_least": {"auroc": 0.99}})
    kept = declared(bound, rollback={**acting, "withdraw": False})
    assert not lane.run(kept).succeeded
    assert (lane.visible(), lane.told()) == (second, [])
    assert not lane.run(bound).succeeded
    assert lane.visible() is None
    ((event, *_),) = lane.told()
    assert (event, lane.withdrawn_runs()) == ("withdrawn", 1)
    assert lane.last_codes()[-1] == "withdrawn/evaluation"


def with_golden_set(
    pipeline: Pipeline, folder: Path, change: Callable[[pa.Table], pa.Table]
) -> Pipeline:
    """The pipeline with another golden set in the place of its own, and that set's provenance."""
    declared_file, path = CHECKOUT / pipeline.spec.golden.file, folder / "golden.parquet"
    known = read_provenance(declared_file)
    assert known is not None
    rows = change(pq.read_table(declared_file))
    pq.write_table(rows, path)
    another = {
        "version": "2",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "rows": rows.num_rows,
        "positives": sum(rows["late"].to_pylist()),
    }
    provenance_path(path).write_bytes(known.model_copy(update=another).to_json())
    return declared(pipeline, golden={"file": str(path)})


def test_windows_of_another_golden_set_are_told_until_they_are_evaluated_again(
    lane: Lane, pipeline: Pipeline, tmp_path: Path
) -> None:
    windows = lane.spec.window.between(DAY, NEXT)
    for window in windows:
        assert run_job(
            job_of(pipeline, "flight_delays"), lane.instance, [window], lambda *_: None
        ).succeeded
    newer = with_golden_set(pipeline, tmp_path, lambda rows: rows.slice(500))
    assert lane.golden_sets(pipeline) == dict.fromkeys((DAY, NEXT), "in force")
    assert lane.golden_sets(newer) == dict.fromkeys((DAY, NEXT), "other")
    assert lane.stale(newer) == []

    table = predictions_table(lane.project, lane.spec)
    before = (lane.visible(), table.files(), table.token_of(lane.window))
    assert lane.evaluate(newer, DAY, NEXT)
    assert_reports_agree(lane, newer)
    assert (lane.visible(), table.files(), table.token_of(lane.window)) == before
    assert lane.golden_sets(newer) == dict.fromkeys((DAY, NEXT), "in force")
    assert lane.golden_sets(pipeline) == dict.fromkeys((DAY, NEXT), "other")
    assert lane.stale(newer) == []
    registry = Registry.at(lane.project, {})
    found = [verify_window(lane.project, registry, newer.spec, window) for window in windows]
    assert [each.problems for each in found] == [(), ()]


def assert_reports_agree(lane: Lane, pipeline: Pipeline) -> None:
    """The page that evaluation wrote, the same written again, and the range's, of one set."""
    project, spec, window, visible = lane.project, pipeline.spec, lane.window, lane.visible()
    assert visible is not None
    place = window_report_place(project, spec, window, visible)
    written = place.read_bytes()
    manifest = manifests(project, spec).read(window, visible)
    write_window_report(project, spec, window, manifest)
    assert place.read_bytes() == written
    (found,) = read_range(project, spec, [window], project.lake / "page.html")
    assert found.reading.golden_rows == 1500


def test_another_golden_set_takes_a_window_back_only_under_the_policy(
    lane: Lane, pipeline: Pipeline, tmp_path: Path
) -> None:
    assert lane.run(pipeline).succeeded

    def contradicted(rows: pa.Table) -> pa.Table:
        place = rows.schema.get_field_index("late")
        return rows.set_column(place, rows.schema.field(place), pc.invert(rows["late"]))

    bad = with_golden_set(pipeline, tmp_path, contradicted)
    assert lane.evaluate(bad, DAY)
    assert (lane.visible() is None, lane.told()) == (False, [])
    assert "golden_quality" in lane.tickets()
    checks = lane.instance.event_log_storage.get_asset_check_summary_records(
        [dg.AssetCheckKey(EVALUATION, "golden_quality")]
    )
    (shown,) = checks.values()
    assert shown.last_check_execution_record is not None
    assert shown.last_check_execution_record.status.value == "FAILED"

    acting: dict[str, object] = {"automatic": ("evaluation",), "withdraw": True}
    assert not lane.evaluate(declared(bad, rollback=acting), DAY)
    assert lane.visible() is None
    ((event, *_),) = lane.told()
    assert event == "withdrawn"
