"""Maintenance as Dagster runs it: the job removes, reports, and its schedule is off at first."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dagster as dg
import pytest

from batchinf_assets.orchestration.jobs.maintenance import maintain_job, maintain_schedule
from batchinf_assets.orchestration.resources import shared
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import manifests
from batchinf_assets.spec.load import Pipeline

CONSOLE = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def leftover(project: Project) -> Path:
    """A write that did not end three days ago."""
    path = project.lake / "flight_delays" / "features" / ".a.parquet.17-18.tmp"
    assert isinstance(path, Path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"four")
    then = time.time() - 3 * 86_400
    os.utime(path, (then, then))
    return path


def definitions(pipeline: Pipeline) -> dg.Definitions:
    spec = pipeline.spec
    own = dg.Definitions(jobs=[maintain_job(spec)], schedules=[maintain_schedule(spec)])
    return dg.Definitions.merge(own, shared())


def execute(
    pipeline: Pipeline, instance: dg.DagsterInstance, **config: bool
) -> dg.ExecuteInProcessResult:
    job = definitions(pipeline).resolve_job_def("flight_delays_maintain")
    ops = {"flight_delays__maintain": {"config": config}}
    return job.execute_in_process(
        instance=instance, run_config={**CONSOLE, "ops": ops}, raise_on_error=False
    )


def shown_by(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (output,) = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def test_the_job_removes_what_it_may_and_reports_how_much(
    pipeline: Pipeline, instance: dg.DagsterInstance, leftover: Path
) -> None:
    result = execute(pipeline, instance)
    assert result.success
    assert shown_by(result) == {"files": 1, "bytes": 4, "table_tasks": 0, "left_alone": 0}
    assert not leftover.exists()


def test_a_dry_run_reports_and_removes_nothing(
    pipeline: Pipeline, instance: dg.DagsterInstance, leftover: Path
) -> None:
    result = execute(pipeline, instance, dry_run=True)
    assert shown_by(result)["files"] == 1
    assert leftover.is_file()


def test_damage_fails_the_run_by_name_after_the_rest_was_done(
    pipeline: Pipeline, instance: dg.DagsterInstance, project: Project, leftover: Path
) -> None:
    window = pipeline.spec.window.window("2013-07-01")
    path = manifests(project, pipeline.spec).path(window, "0" * 16)
    assert isinstance(path, Path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{")
    result = execute(pipeline, instance)
    assert not result.success
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    reported = failed.step_failure_data.user_failure_data
    assert reported is not None
    assert str(reported.description).startswith("1 left alone. 2013-07-01: ")
    assert not leftover.exists()


def test_the_schedule_starts_the_job_nightly_once_somebody_switches_it_on(
    pipeline: Pipeline,
) -> None:
    schedule = definitions(pipeline).resolve_schedule_def("flight_delays_maintain_schedule")
    assert schedule.job_name == "flight_delays_maintain"
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert schedule.execution_timezone == "America/New_York"
    with dg.instance_for_test() as instance:
        context = dg.build_schedule_context(instance=instance)
        requests = schedule.evaluate_tick(context).run_requests
    assert len(requests or []) == 1
