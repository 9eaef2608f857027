"""A corrected outcomes file: one window is measured again, and none is scored again by itself."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from dagster._core.storage.tags import RUN_KEY_TAG
from deltalake import DeltaTable

from batchinf_assets.cli import main
from batchinf_assets.definitions import defs
from batchinf_assets.evaluation.realised.measured import measured_outcomes
from batchinf_assets.evaluation.realised.trailing_state import trailing_states
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.runs.execute import RunReport, run_job
from batchinf_assets.orchestration.sensors import landed as sensors
from batchinf_assets.project import Project
from batchinf_assets.publishing.backfill.stale import plan_backfill
from batchinf_assets.publishing.backfill.stale_reasons import Reason
from batchinf_assets.snapshots.watch import EFFORT
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.orchestration.sensors.test_landed import Ticking

DAYS = ["2013-07-01", "2013-07-02", "2013-07-03"]
CORRECTED = DAYS[1]


def run(instance: dg.DagsterInstance, pipeline: Pipeline, job: str, *days: str) -> RunReport:
    windows = [pipeline.spec.window.window(day) for day in days]
    definition = defs().resolve_job_def(job)
    return run_job(definition, instance, windows, lambda _window, _asset: None)


def tick(
    name: str, instance: dg.DagsterInstance, cursor: str | None
) -> tuple[list[str | None], str | None]:
    """Evaluate a sensor; return the windows it asks for and its next cursor."""
    definitions = defs()
    with dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        definitions=definitions,
        resources={"workplace": Workplace()},
    ) as context:
        found = definitions.resolve_sensor_def(name).evaluate_tick(context)
    return [request.partition_key for request in found.run_requests or []], found.cursor


@pytest.fixture
def published(project: Project, instance: dg.DagsterInstance, pipeline: Pipeline) -> Project:
    assert run(instance, pipeline, "flight_delays", *DAYS).succeeded
    return project


def test_corrected_outcomes_are_measured_for_their_window_and_for_no_other(
    published: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    spec, window = pipeline.spec, pipeline.spec.window.window(CORRECTED)
    names = ("flight_delays_outcomes", "flight_delays_landing")
    _, seen = tick(names[0], instance, None)
    _, landed = tick(names[1], instance, None)
    measured = metric_table(published, spec, "performance").files()
    predictions = DeltaTable(published.lake / "flight_delays" / "predictions")
    before = predictions.version()

    path = published.landing / "outcomes" / f"{CORRECTED}.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    requested, seen = tick(names[0], instance, seen)
    assert requested == [CORRECTED]
    assert tick(names[1], instance, landed)[0] == []
    assert run(instance, pipeline, "flight_delays_performance", CORRECTED).done == [CORRECTED]

    after = metric_table(published, spec, "performance").files()
    assert {day for day in DAYS if after[day] != measured[day]} == {CORRECTED}
    assert measured_outcomes(published, spec, window) == file_sha256(path)
    predictions.update_incremental()
    assert predictions.version() == before

    # What looked back on these outcomes is named; running it is somebody's decision.
    plan = plan_backfill(published, pipeline, None, last=spec.window.window(DAYS[-1]))
    stale = {each.window: each.reasons for each in plan.stale if each.window in DAYS}
    assert stale == {DAYS[2]: (Reason.LOOK_BACK,)}

    # The figures of the day after, over several days, are of what was there before.
    assert trailing_states(published, spec)[DAYS[2]] == "stale"
    for command, said in (("performance", "measured"), ("status", "published")):
        told = CliRunner().invoke(main, [command, "flight_delays"]).stdout
        (line,) = (each for each in told.splitlines() if f"{said}, trailing stale" in each)
        assert DAYS[2] in line
    assert tick(names[0], instance, seen)[0] == [DAYS[2]]
    assert run(instance, pipeline, "flight_delays_performance", DAYS[2]).done == [DAYS[2]]
    assert set(trailing_states(published, spec).values()) == {"current"}
    assert tick(names[0], instance, seen)[0] == []


def test_what_has_landed_is_measured_before_what_it_makes_stale_again(
    published: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    _, seen = tick("flight_delays_outcomes", instance, None)
    for day in DAYS[:2]:
        path = published.landing / "outcomes" / f"{day}.parquet"
        pq.write_table(pq.read_table(path).slice(1), path)
    assert run(instance, pipeline, "flight_delays_performance", DAYS[1]).done == [DAYS[1]]
    assert trailing_states(published, pipeline.spec)[DAYS[2]] == "stale"
    requested, seen = tick("flight_delays_outcomes", instance, seen)
    assert requested == [DAYS[0]]
    run(instance, pipeline, "flight_delays_performance", DAYS[0])
    assert tick("flight_delays_outcomes", instance, seen)[0] == DAYS[1:]


def test_windows_behind_one_that_never_comes_through_are_asked_for_too(
    published: Project,
    instance: dg.DagsterInstance,
    pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcomes = Ticking("flight_delays_outcomes", instance)
    assert outcomes.tick() == []
    path = published.landing / "outcomes" / f"{DAYS[0]}.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    assert run(instance, pipeline, "flight_delays_performance", DAYS[0]).done == DAYS[:1]
    monkeypatch.setattr(sensors, "EFFORT", replace(EFFORT, arrivals=1))
    asked: list[str | None] = []
    while requests := outcomes.tick():
        (request,) = requests
        tags = {**request.tags, RUN_KEY_TAG: request.run_key or ""}
        failed = dg.DagsterRunStatus.FAILURE
        instance.add_run(dg.DagsterRun(job_name=outcomes.job_name, tags=tags, status=failed))
        asked.append(request.partition_key)
        assert len(asked) <= 2 * len(DAYS)
    assert list(dict.fromkeys(asked)) == DAYS[1:]  # once more if an hour begins meanwhile
