"""Verification as Dagster runs it: every published window, and a run that fails by their names."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.jobs.verification import verify_job, verify_schedule
from batchinf_assets.orchestration.resources import shared
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.spec.load import Pipeline

DAYS = ("2013-07-01", "2013-07-02", "2013-07-03")
CONSOLE = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def published(project: Project, instance: dg.DagsterInstance, pipeline: Pipeline) -> Project:
    windows = [pipeline.spec.window.window(day) for day in DAYS]
    with disable_dagster_warnings():
        whole = dg.Definitions.merge(pipeline_definitions(pipeline), shared())
    assert run_job(whole.resolve_job_def(pipeline.name), instance, windows, print).succeeded
    return project


def definitions(pipeline: Pipeline) -> dg.Definitions:
    spec = pipeline.spec
    own = dg.Definitions(jobs=[verify_job(spec)], schedules=[verify_schedule(spec)])
    return dg.Definitions.merge(own, shared())


def execute(pipeline: Pipeline) -> dg.ExecuteInProcessResult:
    # Dagster asks the instance entered last for the state of definitions, even one that is gone.
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions(pipeline).resolve_job_def("flight_delays_verify")
        return job.execute_in_process(instance=instance, run_config=CONSOLE, raise_on_error=False)


def sentence(result: dg.ExecuteInProcessResult) -> str:
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    reported = failed.step_failure_data.user_failure_data
    assert reported is not None
    return str(reported.description)


def test_windows_that_verify_are_counted(published: Project, pipeline: Pipeline) -> None:
    assert published.lake.exists()
    result = execute(pipeline)
    (output,) = [event for event in result.all_events if event.is_successful_output]
    shown = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert result.success
    assert (shown["windows"], shown["verified"]) == (len(DAYS), len(DAYS))


def test_a_damaged_window_fails_the_run_by_name_and_hides_no_other(
    published: Project, pipeline: Pipeline
) -> None:
    table = predictions_table(published, pipeline.spec)
    for day in DAYS[:2]:
        (path,) = table.files_of(pipeline.spec.window.window(day))
        Path(str(path)).write_bytes(b"PAR1")
    said = sentence(execute(pipeline))
    assert said.startswith(f"2 of {len(DAYS)} windows do not verify. {DAYS[0]}: ")
    assert f"; {DAYS[1]}: " in said
    assert "`batchinf verify flight_delays --all` says what to do about each." in said


def test_nothing_published_is_no_success(
    project: Project, environ: dict[str, str], pipeline: Pipeline
) -> None:
    assert environ["BATCHINF_LAKE"] == str(project.lake)
    assert sentence(execute(pipeline)) == "Nothing of flight_delays is published."


def test_the_schedule_starts_the_job_weekly_once_somebody_switches_it_on(
    pipeline: Pipeline,
) -> None:
    with dg.instance_for_test() as instance:
        schedule = definitions(pipeline).resolve_schedule_def("flight_delays_verify_schedule")
        assert schedule.job_name == "flight_delays_verify"
        assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
        requests = schedule.evaluate_tick(dg.build_schedule_context(instance=instance)).run_requests
    assert len(requests or []) == 1
