"""Verification as Dagster runs it: every published window, and a run that fails by their names."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.jobs.verification import verify_job, verify_schedule
from batchinf_assets.orchestration.resources import shared
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import announcements
from batchinf_assets.publishing.rollback import remedies
from batchinf_assets.publishing.tickets.tickets import read_tickets
from batchinf_assets.scoring.predictions import predictions_table, published_revision
from batchinf_assets.spec.evaluation import RollbackSpec
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.telemetry.ledger import Ledger

DAYS = ("2013-07-01", "2013-07-02", "2013-07-03")
CONSOLE = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def published(project: Project, instance: dg.DagsterInstance, pipeline: Pipeline) -> Project:
    publish(pipeline, instance, *DAYS)
    return project


@pytest.fixture
def acting(pipeline: Pipeline) -> Pipeline:
    """The pipeline, whose policy takes back what does not verify."""
    policy = RollbackSpec(automatic=("verification",), withdraw=True)
    spec = pipeline.spec.model_copy(update={"rollback": policy})
    return Pipeline(spec=spec, folder=pipeline.folder)


def publish(pipeline: Pipeline, instance: dg.DagsterInstance, *days: str) -> None:
    windows = [pipeline.spec.window.window(day) for day in days]
    with disable_dagster_warnings():
        whole = dg.Definitions.merge(pipeline_definitions(pipeline), shared())
    job = whole.resolve_job_def(pipeline.name)
    assert run_job(job, instance, windows, lambda _window, _asset: None).succeeded


def correct(project: Project, day: str) -> None:
    path = project.landing / "flights" / f"{day}.parquet"
    pq.write_table(pq.read_table(path).slice(2), path)


def damage(project: Project, pipeline: Pipeline, *days: str) -> None:
    table = predictions_table(project, pipeline.spec)
    for day in days:
        (path,) = table.files_of(pipeline.spec.window.window(day))
        Path(str(path)).write_bytes(b"PAR1")


def seen(project: Project, pipeline: Pipeline, day: str) -> str | None:
    return published_revision(project, pipeline.spec, pipeline.spec.window.window(day))


def told(instance: dg.DagsterInstance, day: str) -> str | None:
    """Return the revision that Dagster shows."""
    key = dg.AssetKey(["flight_delays", "published"])
    of_window = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[day])
    newest = instance.fetch_materializations(of_window, limit=1).records[0].asset_materialization
    assert newest is not None
    return (newest.tags or {}).get("dagster/data_version")


def definitions(pipeline: Pipeline) -> dg.Definitions:
    spec = pipeline.spec
    own = dg.Definitions(jobs=[verify_job(spec)], schedules=[verify_schedule(spec)])
    return dg.Definitions.merge(own, shared())


def execute(pipeline: Pipeline, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = definitions(pipeline).resolve_job_def("flight_delays_verify")
    return job.execute_in_process(instance=instance, run_config=CONSOLE, raise_on_error=False)


def sentence(result: dg.ExecuteInProcessResult) -> str:
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    reported = failed.step_failure_data.user_failure_data
    assert reported is not None
    return str(reported.description)


def test_windows_that_verify_are_counted(
    published: Project, acting: Pipeline, instance: dg.DagsterInstance
) -> None:
    before = [seen(published, acting, day) for day in DAYS]
    result = execute(acting, instance)
    (output,) = [event for event in result.all_events if event.is_successful_output]
    shown = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert result.success
    assert (shown["windows"], shown["verified"]) == (len(DAYS), len(DAYS))
    assert [seen(published, acting, day) for day in DAYS] == before


def test_a_damaged_window_fails_the_run_by_name_hides_no_other_and_stays_without_a_policy(
    published: Project, pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    before = [seen(published, pipeline, day) for day in DAYS]
    damage(published, pipeline, *DAYS[:2])
    said = sentence(execute(pipeline, instance))
    assert said.startswith(f"2 of {len(DAYS)} windows do not verify. {DAYS[0]}: ")
    assert f"; {DAYS[1]}: " in said
    by_hand = f"Take it back: `batchinf rollback flight_delays {DAYS[1]} --from {before[1]}"
    assert by_hand in said
    assert "`batchinf verify flight_delays --all` says what to do about each." in said
    assert [seen(published, pipeline, day) for day in DAYS] == before
    assert read_tickets(published, pipeline.spec) == []


def test_what_is_damaged_is_taken_back_where_the_policy_says_so(
    published: Project, pipeline: Pipeline, acting: Pipeline, instance: dg.DagsterInstance
) -> None:
    old = seen(published, pipeline, DAYS[0])
    correct(published, DAYS[0])
    publish(pipeline, instance, DAYS[0])
    assert seen(published, pipeline, DAYS[0]) != old
    whole = seen(published, pipeline, DAYS[2])
    damage(published, pipeline, *DAYS[:2])

    result = execute(acting, instance)
    said = sentence(result)
    assert said.startswith(f"2 of {len(DAYS)} windows do not verify. {DAYS[0]}: ")
    assert f"Rolled back by itself: readers see revision {old} now.; {DAYS[1]}: " in said
    assert "Withdrawn by itself: readers see nothing now." in said
    assert [seen(published, acting, day) for day in DAYS] == [old, None, whole]

    assert told(instance, DAYS[0]) == old
    assert told(instance, DAYS[1]) == "withdrawn"
    assert instance.get_runs_count(dg.RunsFilter(job_name="flight_delays_withdrawn")) == 1
    tickets = read_tickets(published, acting.spec)
    assert {(kept.ticket.check, kept.windows) for kept in tickets} == {("verification", DAYS[:2])}
    attempts = Ledger(published.lake).latest("flight_delays")
    for day, event in zip(DAYS[:2], ("rolled_back", "withdrawn"), strict=True):
        assert (attempts[day].run_id, attempts[day].state) == (result.run_id, "rolled_back")
        assert attempts[day].reason_code == f"{event}/verification"

    assert execute(acting, instance).success
    window = acting.spec.window.window(DAYS[0])
    assert len(announcements(published, acting.spec, window)) == 1


def test_where_many_windows_are_damaged_at_once_the_job_takes_none_back(
    published: Project,
    acting: Pipeline,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = [seen(published, acting, day) for day in DAYS]
    damage(published, acting, *DAYS[:2])
    monkeypatch.setattr(remedies, "MOST_AT_ONCE", 1)
    said = sentence(execute(acting, instance))
    assert "Nothing was taken back, as 2 windows are damaged at once" in said
    assert [seen(published, acting, day) for day in DAYS] == before
    assert read_tickets(published, acting.spec) == []


def test_a_lost_keyring_takes_nothing_back(
    published: Project, acting: Pipeline, instance: dg.DagsterInstance
) -> None:
    before = [seen(published, acting, day) for day in DAYS]
    (published.keys / "keyring.json").unlink()
    assert sentence(execute(acting, instance)).startswith("3 of 3 windows do not verify. ")
    assert [seen(published, acting, day) for day in DAYS] == before


def test_nothing_published_is_no_success(
    project: Project, environ: dict[str, str], pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    assert environ["BATCHINF_LAKE"] == str(project.lake)
    assert sentence(execute(pipeline, instance)) == "Nothing of flight_delays is published."


def test_the_schedule_starts_the_job_weekly_once_somebody_switches_it_on(
    pipeline: Pipeline,
) -> None:
    with dg.instance_for_test() as instance:
        schedule = definitions(pipeline).resolve_schedule_def("flight_delays_verify_schedule")
        assert schedule.job_name == "flight_delays_verify"
        assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
        requests = schedule.evaluate_tick(dg.build_schedule_context(instance=instance)).run_requests
    assert len(requests or []) == 1
