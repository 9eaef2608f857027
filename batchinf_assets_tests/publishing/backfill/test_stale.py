"""Which windows of a published week are stale after something changed, and why."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.attempts import attempting, recorder_of
from batchinf_assets.errors import HeldForApproval, LandedFileMissing, UnknownWindow
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.publishing.backfill import stale as room
from batchinf_assets.publishing.backfill.pace import Pace
from batchinf_assets.publishing.backfill.plan import Plan, contiguous, work_of
from batchinf_assets.publishing.backfill.stale import plan_backfill
from batchinf_assets.publishing.backfill.stale_reasons import ModelNow, Reason
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.rollback.plan import RollbackRequest
from batchinf_assets.publishing.rollback.roll_back import attempt_rollback
from batchinf_assets.publishing.rollback.target import NothingToGoBackTo
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.model import ScoringModel
from batchinf_assets.scoring.predictions import manifests, predictions_table, published_revision
from batchinf_assets.snapshots.approvals import new_approval, write_approval
from batchinf_assets.snapshots.freeze import freeze_snapshot, frozen_record, snapshot_table
from batchinf_assets.snapshots.held import held_correction
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets_tests.publishing.desk import NOW, Desk

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

DAYS = [f"2013-07-0{day}" for day in range(1, 6)]
HISTORY = 2
UNREADABLE = Path("/proc/self/mem")
"""An input/output error for root too, whom no mode of a file keeps from reading."""


def declared(spec: PipelineSpec, **source: object) -> PipelineSpec:
    """The demo pipeline with a short look-back, and other parts of its source section."""
    document = spec.model_dump(mode="json")
    document["outcomes"]["history"] = HISTORY
    document["source"] |= source
    return PipelineSpec.model_validate(document)


class Week:
    """Five published days, and what happens to them."""

    def __init__(self, project: Project, pipeline: Pipeline, model: ScoringModel) -> None:
        self.project, self.pipeline, self.model = project, pipeline, model

    @property
    def spec(self) -> PipelineSpec:
        return self.pipeline.spec

    def declaring(self, **source: object) -> Week:
        spec = declared(self.spec, **source)
        return Week(self.project, Pipeline(spec, self.pipeline.folder), self.model)

    def desk(self, day: str) -> Desk:
        window = self.spec.window.window(day)
        return Desk(self.project, self.pipeline, window, self.model)

    def publish(self, day: str) -> str:
        self.desk(day).prepare()
        return self.desk(day).publish().manifest.revision

    def flights(self, day: str) -> Path:
        return self.project.landing / "flights" / f"{day}.parquet"

    def outcomes(self, day: str) -> Path:
        return self.project.landing / "outcomes" / f"{day}.parquet"

    def plan(self, **arguments: Any) -> Plan:
        version = self.model.version
        champion = ModelNow(version=version.version, digest=version.digest)
        return plan_backfill(
            self.project, self.pipeline, arguments.pop("model", champion), **arguments
        )

    def stale(self) -> Mapping[str, tuple[Reason, ...]]:
        return {window.window: window.reasons for window in self.plan().stale}

    def details(self, day: str) -> list[str]:
        (window,) = [each for each in self.plan().windows if each.window == day]
        return [each.detail for each in window.why]


def all_days(*reasons: Reason) -> dict[str, tuple[Reason, ...]]:
    return dict.fromkeys(DAYS, reasons)


@pytest.fixture(scope="module")
def published_week(
    world: World,
    pipeline: Pipeline,
    champion: ScoringModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    root = tmp_path_factory.mktemp("week")
    shutil.copytree(world.lake, root / "lake")
    shutil.copytree(world.keys, root / "keys")
    landed = [f"flights/{day}.parquet" for day in DAYS]
    landed += [f"outcomes/2013-06-{day}.parquet" for day in (29, 30)]
    landed += [f"outcomes/{day}.parquet" for day in DAYS]
    for path in (*landed, "weather.parquet", "planes.parquet"):
        (root / "landing" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(world.landing / path, root / "landing" / path)
    made = Week(_project(root), Pipeline(declared(pipeline.spec), pipeline.folder), champion)
    for day in DAYS:
        made.publish(day)
    return root


@pytest.fixture
def week(published_week: Path, pipeline: Pipeline, champion: ScoringModel, tmp_path: Path) -> Week:
    shutil.copytree(published_week, tmp_path / "copy")
    spec = declared(pipeline.spec)
    return Week(_project(tmp_path / "copy"), Pipeline(spec, pipeline.folder), champion)


def _project(root: Path) -> Project:
    return Project(
        root=CHECKOUT,
        lake=root / "lake",
        landing=root / "landing",
        dagster_home=root / "dagster",
        keys=root / "keys",
    )


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def without_first(rows: pa.Table) -> pa.Table:
    return rows.slice(1)


def test_what_is_no_longer_declared_is_in_no_plan(week: Week) -> None:
    spec = week.pipeline.spec
    later = spec.window.model_copy(update={"start": spec.window.window(DAYS[1]).start.date()})
    changed = spec.model_copy(update={"window": later})
    plan = Week(week.project, replace(week.pipeline, spec=changed), week.model).plan()
    assert [window.window for window in plan.windows] == DAYS[1:]
    assert plan.absent == ()


def test_what_landed_no_longer_is_not_missing(desk: Desk) -> None:
    (missing,) = plan_backfill(desk.project, desk.pipeline, None).windows
    assert missing.reasons == (Reason.MISSING,)
    desk.source.unlink()
    (gone,) = plan_backfill(desk.project, desk.pipeline, None).windows
    assert gone.reasons == ()


def test_nothing_is_stale_where_nothing_changed(week: Week) -> None:
    plan = week.plan()
    assert [window.window for window in plan.windows] == DAYS
    assert (plan.stale, plan.absent) == ((), ())
    (rows,) = {window.rows for window in plan.windows if window.window == DAYS[3]}
    assert rows == pq.read_metadata(week.flights(DAYS[3])).num_rows


def test_a_window_that_landed_and_was_never_published_is_missing(week: Week, world: World) -> None:
    shutil.copy2(world.landing / "flights/2013-07-08.parquet", week.flights("2013-07-08"))
    plan = week.plan()
    assert week.stale() == {"2013-07-08": (Reason.MISSING,)}
    assert plan.absent == ("2013-07-06", "2013-07-07")
    assert plan.to_run[0].rows == pq.read_metadata(week.flights("2013-07-08")).num_rows


def test_only_the_windows_of_the_range_are_looked_at(week: Week) -> None:
    window = week.spec.window.window
    week.flights(DAYS[1]).write_bytes(b"PAR1")
    plan = week.plan(first=window("2013-06-30"), last=window(DAYS[1]))
    assert [found.window for found in plan.windows] == DAYS[:2]
    assert plan.absent == ("2013-06-30",)
    assert [found.window for found in week.plan(first=window(DAYS[3])).windows] == DAYS[3:]
    assert week.plan(first=window("2013-08-01")).windows == ()
    with pytest.raises(UnknownWindow, match="is empty"):
        week.plan(first=window(DAYS[1]), last=window(DAYS[0]))


def test_corrected_source_rows_make_their_own_window_stale(week: Week) -> None:
    rewrite(week.flights(DAYS[2]), without_first)
    assert week.stale() == {DAYS[2]: (Reason.DATA,)}
    assert week.details(DAYS[2]) == [f"flights/{DAYS[2]}.parquet changed"]
    week.publish(DAYS[2])
    assert week.stale() == {}


def test_another_file_with_the_same_rows_makes_nothing_stale(week: Week) -> None:
    before = week.flights(DAYS[2]).read_bytes()
    pq.write_table(pq.read_table(week.flights(DAYS[2])), week.flights(DAYS[2]), compression="gzip")
    assert week.flights(DAYS[2]).read_bytes() != before
    assert week.stale() == {}


def test_a_landed_file_that_would_be_refused_makes_its_window_stale(week: Week) -> None:
    week.flights(DAYS[2]).write_bytes(b"PAR1 and no more")
    rewrite(week.flights(DAYS[3]), lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]))
    assert week.stale() == dict.fromkeys(DAYS[2:4], (Reason.DATA,))
    said = "parquet changed, and would be refused: "
    damaged = "landed_file_unreadable/truncated"
    assert week.details(DAYS[2]) == [f"flights/{DAYS[2]}.{said}{damaged}"]
    assert week.details(DAYS[3]) == [f"flights/{DAYS[3]}.{said}window_refused/unique_key"]
    assert [window.window for window in week.plan().to_run] == DAYS[2:4]


@pytest.mark.skipif(not UNREADABLE.exists(), reason="needs a file that nobody can read")
def test_a_source_file_that_cannot_be_read_stops_no_other_window(week: Week) -> None:
    for day in (DAYS[0], "2013-07-06"):
        week.flights(day).unlink(missing_ok=True)
        week.flights(day).symlink_to(UNREADABLE)
    rewrite(week.flights(DAYS[2]), without_first)
    assert week.stale() == {
        DAYS[0]: (Reason.UNREADABLE,),
        DAYS[2]: (Reason.DATA,),
        "2013-07-06": (Reason.MISSING, Reason.UNREADABLE),
    }
    problem = f"flights/{DAYS[0]}.parquet cannot be read ({os.strerror(errno.EIO)})"
    assert week.details(DAYS[0]) == [problem]


def test_an_outcomes_file_that_cannot_be_read_is_told_of_the_windows_that_look_back_on_it(
    week: Week,
) -> None:
    path = week.outcomes(DAYS[1])
    path.unlink()
    path.mkdir()
    rewrite(week.outcomes(DAYS[2]), without_first)
    rewrite(week.flights(DAYS[2]), without_first)
    assert week.stale() == {
        DAYS[2]: (Reason.UNREADABLE, Reason.DATA),
        DAYS[3]: (Reason.UNREADABLE, Reason.LOOK_BACK),
        DAYS[4]: (Reason.LOOK_BACK,),
    }
    problem = f"outcomes/{DAYS[1]}.parquet cannot be read (is no file)"
    assert week.details(DAYS[3]) == [problem, f"outcomes/{DAYS[2]}.parquet changed"]


def test_a_reference_that_cannot_be_read_is_told_of_every_window(week: Week) -> None:
    path = week.project.landing / "planes.parquet"
    path.unlink()
    path.mkdir()
    assert week.stale() == all_days(Reason.UNREADABLE)
    assert week.details(DAYS[0]) == ["planes.parquet cannot be read (is no file)"]


def test_corrected_outcomes_make_the_windows_stale_that_look_back_on_them(week: Week) -> None:
    rewrite(week.outcomes(DAYS[1]), without_first)
    assert week.stale() == dict.fromkeys(DAYS[2 : 2 + HISTORY], (Reason.LOOK_BACK,))
    assert week.details(DAYS[2]) == [f"outcomes/{DAYS[1]}.parquet changed"]
    for day in DAYS[2 : 2 + HISTORY]:
        week.publish(day)
    assert week.stale() == {}


def test_outcomes_that_land_late_make_the_windows_stale_that_were_made_without(
    week: Week, world: World
) -> None:
    outcomes = week.outcomes(DAYS[0])
    outcomes.unlink()
    assert week.stale() == {}  # there is nothing to make them anew from
    week.publish(DAYS[1])
    shutil.copy2(world.landing / "outcomes" / outcomes.name, outcomes)
    assert week.stale() == {DAYS[1]: (Reason.LOOK_BACK,)}
    assert week.details(DAYS[1]) == [f"outcomes/{DAYS[0]}.parquet landed since"]


def test_outcomes_that_change_no_feature_are_settled_by_one_run(week: Week) -> None:
    path = week.outcomes(DAYS[1])
    pq.write_table(pq.read_table(path), path, compression="gzip")
    touched = DAYS[2 : 2 + HISTORY]
    assert week.stale() == dict.fromkeys(touched, (Reason.LOOK_BACK,))
    before = [week.desk(day).visible() for day in touched]
    assert [week.publish(day) for day in touched] == before
    assert week.stale() == {}


def test_a_changed_reference_makes_every_window_stale(week: Week) -> None:
    rewrite(week.project.landing / "planes.parquet", without_first)
    assert week.stale() == all_days(Reason.REFERENCES)


def test_another_champion_makes_every_window_stale_and_none_makes_none(week: Week) -> None:
    plan = week.plan(model=ModelNow(version="7", digest="0" * 64))
    assert {window.reasons for window in plan.stale} == {(Reason.MODEL,)}
    assert len(plan.stale) == len(DAYS)
    assert plan.stale[0].why[0].detail == "scored by v1, champion is v7"
    assert week.plan(model=None).stale == ()


def test_windows_of_a_run_that_are_worked_on_side_by_side_add_their_share_of_its_time(
    week: Week, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = Pace(per_row=0.0, fixed=6.0, attempts=1)
    monkeypatch.setattr(room, "measured_pace", lambda _attempts: pace)
    backfill = week.spec.backfill.model_copy(update={"workers": 2, "chunk": 3})
    spec = week.spec.model_copy(update={"backfill": backfill})
    week.pipeline = Pipeline(spec, week.pipeline.folder)
    assert [window.seconds for window in week.plan(model=None).windows] == [6.0] * len(DAYS)
    week.flights(DAYS[2]).unlink()  # a run of two windows before it, one of two after it
    other = ModelNow(version="2", digest="0" * 64)
    assert [window.seconds for window in week.plan(model=other).windows] == [
        3.0,
        3.0,
        6.0,
        3.0,
        3.0,
    ]


def test_another_contract_makes_windows_stale_that_stay_readable_and_verify(week: Week) -> None:
    rule = {"name": "flies", "sql": "distance > 0"}
    stricter = week.declaring(rules=[rule])
    assert stricter.stale() == all_days(Reason.CONTRACT)
    old = {day: stricter.desk(day).visible() for day in DAYS}
    registry = Registry.at(week.project, {})
    new = stricter.publish(DAYS[0])
    assert new != old[DAYS[0]]
    assert sorted(stricter.stale()) == DAYS[1:]
    for day in DAYS:
        window = stricter.spec.window.window(day)
        assert verify_window(week.project, registry, stricter.spec, window).problems == ()
        kept = manifests(week.project, stricter.spec).read(window, old[day] or "")
        folder = predictions_table(week.project, stricter.spec).folder
        rows = sum(pq.read_table(folder / file.path).num_rows for file in kept.outputs)
        assert rows == kept.counts.scored


def test_other_sql_and_other_settings_are_told_apart(week: Week, tmp_path: Path) -> None:
    folder = tmp_path / "flight_delays"
    shutil.copytree(week.pipeline.folder, folder)
    sql = folder / week.spec.features.sql
    sql.write_text(f"{sql.read_text()}\n-- reviewed\n")
    week.pipeline = Pipeline(week.spec, folder)
    assert week.stale() == all_days(Reason.FEATURES)
    smaller = week.spec.model_copy(update={"shard_rows": 100})
    week.pipeline = Pipeline(smaller, folder)
    assert week.stale() == all_days(Reason.FEATURES, Reason.SETTINGS)
    assert "shard_rows changed" in week.details(DAYS[0])


def test_other_code_and_other_libraries_make_windows_stale(
    week: Week, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = week.desk(DAYS[0]).published().code
    now = made.model_copy(
        update={"source": "0" * 64, "libraries": {**made.libraries, "numpy": "9.9"}}
    )
    monkeypatch.setattr("batchinf_assets.publishing.backfill.stale.running_code", lambda: now)
    assert week.stale() == all_days(Reason.CODE)
    assert week.details(DAYS[0])[1] == "other versions of numpy"


def test_a_window_whose_last_attempt_failed_is_stale_until_one_succeeds(week: Week) -> None:
    desk = week.desk(DAYS[0])
    with pytest.raises(LandedFileMissing), week_attempt(week, DAYS[0]):
        raise LandedFileMissing("It is gone.", next_step="Land it.")
    assert week.stale() == {DAYS[0]: (Reason.FAILED,)}
    assert week.details(DAYS[0]) == ["failed in snapshot: landed_file_missing"]
    desk.prepare("the next run")
    recorder_of(week.project).flush(5)
    assert week.stale() == {}


def test_a_rollback_that_was_refused_makes_no_good_window_stale(week: Week) -> None:
    refuse_rollback(week, DAYS[0])
    assert week.stale() == {}


def test_a_rollback_that_was_refused_hides_no_failed_attempt(week: Week) -> None:
    with pytest.raises(LandedFileMissing), week_attempt(week, DAYS[0]):
        raise LandedFileMissing("It is gone.", next_step="Land it.")
    refuse_rollback(week, DAYS[0])
    assert week.details(DAYS[0]) == ["failed in snapshot: landed_file_missing"]


def refuse_rollback(week: Week, day: str) -> None:
    window, registry = week.spec.window.window(day), Registry.at(week.project, {})
    request = RollbackRequest(by="tests", reason="Wrong weather", at=NOW)
    with pytest.raises(NothingToGoBackTo):
        attempt_rollback(week.project, registry, week.spec, window, request, run_id="incident")
    recorder_of(week.project).flush(5)
    reasons = Ledger(week.project.lake).read(week.spec.name, day)["reason_code"].to_pylist()
    assert reasons[-1] == "nothing_to_go_back_to"


def test_a_published_window_with_an_unreadable_manifest_is_told(week: Week) -> None:
    window = week.spec.window.window(DAYS[0])
    revision = published_revision(week.project, week.spec, window) or ""
    manifests(week.project, week.spec).path(window, revision).write_bytes(b"{}")
    assert week.stale() == {DAYS[0]: (Reason.UNREADABLE,)}


def test_a_window_whose_source_is_gone_is_stale_and_is_not_run(week: Week) -> None:
    week.flights(DAYS[0]).unlink()
    plan = week.plan(model=ModelNow(version="7", digest="0" * 64))
    assert [window.window for window in plan.stale] == DAYS
    assert [window.window for window in plan.to_run] == DAYS[1:]


def test_a_late_correction_is_held_until_it_is_approved(week: Week) -> None:
    strict = week.declaring(late={"accept_for": "PT12H"})
    assert strict.stale() == {}  # a policy of lateness is no rule that rows are judged by
    rewrite(strict.flights(DAYS[2]), without_first)
    window = strict.spec.window.window(DAYS[2])
    assert strict.stale() == {DAYS[2]: (Reason.HELD, Reason.DATA)}
    assert strict.plan().to_run == ()
    with pytest.raises(HeldForApproval, match="batchinf approve flight_delays 2013-07-03"):
        freeze_snapshot(strict.project, strict.spec, window)
    assert strict.desk(DAYS[2]).published().snapshot.approval is None
    held = held_correction(strict.project, strict.spec, window)
    assert (held.changes.added, held.changes.changed, held.changes.removed) == (0, 0, 1)
    approval = new_approval(by="ann", reason="The airline sent it again", at=NOW)
    write_approval(strict.project, strict.spec, window, held.landed.source.sha256, approval)
    assert strict.stale() == {DAYS[2]: (Reason.DATA,)}
    strict.publish(DAYS[2])
    assert strict.desk(DAYS[2]).published().snapshot.approval == approval
    assert strict.stale() == {}
    assert verify_window(strict.project, Registry.at(strict.project, {}), strict.spec, window).holds


def test_a_correction_of_what_is_damaged_is_held_as_the_run_holds_it(week: Week) -> None:
    strict = week.declaring(late={"accept_for": "PT12H"})
    window = strict.spec.window.window(DAYS[2])
    rewrite(strict.flights(DAYS[2]), without_first)
    (frozen,) = snapshot_table(strict.project, strict.spec).files_of(window)
    frozen.write_bytes(b"PAR1")
    assert strict.stale() == {DAYS[2]: (Reason.HELD, Reason.DATA)}
    with pytest.raises(HeldForApproval):
        freeze_snapshot(strict.project, strict.spec, window)


def test_an_approved_correction_that_is_taken_back_leaves_the_first_manifest_as_it_was(
    week: Week,
) -> None:
    strict = week.declaring(late={"accept_for": "PT12H"})
    window = strict.spec.window.window(DAYS[2])
    first, landed = strict.desk(DAYS[2]).published(), strict.flights(DAYS[2]).read_bytes()
    for content, changes in ((None, (0, 1)), (landed, (1, 0))):
        if content is None:
            rewrite(strict.flights(DAYS[2]), without_first)
        else:
            strict.flights(DAYS[2]).write_bytes(content)
        held = held_correction(strict.project, strict.spec, window)
        assert (held.changes.added, held.changes.removed) == changes
        approval = new_approval(by="ann", reason="The airline said so", at=NOW)
        write_approval(strict.project, strict.spec, window, held.landed.source.sha256, approval)
        strict.publish(DAYS[2])
    assert strict.desk(DAYS[2]).published() == first
    assert first.snapshot.approval is None
    frozen = frozen_record(strict.project, strict.spec, window)
    assert frozen is not None
    assert frozen.approval == approval


def week_attempt(week: Week, day: str) -> Any:
    window = week.spec.window.window(day)
    return attempting(week.project, week.spec, window, run_id="another run", stage="snapshot")


def test_windows_that_follow_one_another_are_one_range(pipeline: Pipeline) -> None:
    days = ["2013-03-09", "2013-03-10", "2013-03-11", "2013-03-13"]
    found = contiguous(pipeline.spec, days)  # clocks went forward on the tenth
    assert [[window.key for window in each] for each in found] == [days[:3], days[3:]]


def test_what_is_unknown_of_one_window_is_unknown_of_them_all(week: Week) -> None:
    known = week.plan().windows
    unknown = replace(known[0], rows=None, seconds=None)
    total = work_of(known)
    assert total.rows == sum(window.rows or 0 for window in known)
    assert (work_of([*known, unknown]).rows, work_of([*known, unknown]).seconds) == (None, None)
    assert work_of([]).seconds == 0


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_documented(reason: Reason) -> None:
    assert f"| `{reason}` |" in (CHECKOUT / "docs" / "pipelines.md").read_text(encoding="utf-8")
