"""A window that readers see nothing of is not green in Dagster, until they see something again."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
import pyarrow.parquet as pq
from click.testing import CliRunner
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.cli import main
from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.resources import shared
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.orchestration.dagster_ui import served

DAY, NEXT = "2013-07-03", "2013-07-04"
PUBLISHED = dg.AssetKey(["flight_delays", "published"])
GREEN = {"asset": "MATERIALIZED", "gate": "SUCCEEDED"}
RED = {"asset": "FAILED", "gate": "FAILED"}


def batchinf(*words: str) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output


def job_of(pipeline: Pipeline, name: str) -> dg.JobDefinition:
    with disable_dagster_warnings():
        own = dg.Definitions.merge(pipeline_definitions(pipeline), shared())
        return own.resolve_job_def(name)


def withdraw_by_job(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    given = {"window": DAY, "reason": "Wrong weather", "by": "ann", "withdraw": True}
    config = {
        "ops": {"flight_delays__rollback": {"config": given}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    job = job_of(pipeline, "flight_delays_rollback")
    assert job.execute_in_process(instance=instance, run_config=config).success


def newest_failure(instance: dg.DagsterInstance) -> tuple[dg.DagsterRun, str]:
    (run,) = instance.get_runs(
        filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=1
    )
    (failed,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert failed.dagster_event is not None
    said = failed.dagster_event.step_failure_data.user_failure_data
    assert said is not None
    return run, str(said.description)


def test_a_withdrawn_window_is_red_until_it_is_reinstated_or_published_anew(
    project: Project, pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    with served(instance) as ui:
        for day in (DAY, NEXT):
            batchinf("run", "flight_delays", day)
        revision = published_revision(project, pipeline.spec, pipeline.spec.window.window(DAY))
        assert revision is not None
        assert ui.window(PUBLISHED, DAY) == GREEN

        back = ("rollback", "flight_delays", DAY, "--reason", "Wrong weather")
        batchinf(*back, "--withdraw")
        assert ui.window(PUBLISHED, DAY) == RED
        assert ui.window(PUBLISHED, NEXT) == GREEN
        run, sentence = newest_failure(instance)
        assert (run.job_name, run.tags["dagster/partition"]) == ("flight_delays_withdrawn", DAY)
        assert run.tags["dagster/max_retries"] == "0"
        assert "had it withdrawn on" in sentence
        assert sentence.endswith(f"(from {revision} to nothing): Wrong weather")

        batchinf(*back, "--to", revision, "--reinstate")
        assert ui.window(PUBLISHED, DAY)["asset"] == "MATERIALIZED"
        withdraw_by_job(pipeline, instance)
        assert ui.window(PUBLISHED, DAY) == RED
        landed = project.landing / "flights" / f"{DAY}.parquet"
        pq.write_table(pq.read_table(landed).slice(2), landed)
        batchinf("run", "flight_delays", DAY)
        assert ui.window(PUBLISHED, DAY) == GREEN


def test_a_window_that_performance_withdraws_is_red_though_its_run_published_it(
    project: Project, pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    spec, window = pipeline.spec, pipeline.spec.window.window(DAY)
    bound = spec.performance.model_copy(update={"at_least": {"auroc": 0.99}})
    policy = spec.rollback.model_copy(update={"automatic": True, "withdraw": True})
    strict = spec.model_copy(update={"performance": bound, "rollback": policy})
    job = job_of(replace(pipeline, spec=strict), "flight_delays")
    with served(instance) as ui:
        report = run_job(job, instance, [window], lambda *_said: None)
        assert report.succeeded, report.failure
        assert published_revision(project, spec, window) is None
        assert ui.window(PUBLISHED, DAY) == RED
    assert newest_failure(instance)[1].startswith("automatic rollback had it withdrawn on")
