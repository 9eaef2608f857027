"""Who takes a window back and dies before Dagster is told: the same again tells it, once."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from batchinf_assets.cli import main
from batchinf_assets.orchestration.rollback import roll_back, taking_back
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.orchestration.rollback.test_withdrawal import DAY, PUBLISHED, job_of

WITHDRAW = ("rollback", "flight_delays", DAY, "--reason", "Wrong weather", "--withdraw")


def fails(*_given: object) -> NoReturn:
    raise OSError(5, "database is locked")


def dies(*_given: object) -> NoReturn:
    raise KeyboardInterrupt


def batchinf(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def withdrawn_runs(instance: dg.DagsterInstance) -> int:
    failed = [dg.DagsterRunStatus.FAILURE]
    return instance.get_runs_count(
        dg.RunsFilter(job_name="flight_delays_withdrawn", statuses=failed)
    )


def version_shown(instance: dg.DagsterInstance) -> str | None:
    of_day = dg.AssetRecordsFilter(asset_key=PUBLISHED, asset_partitions=[DAY])
    (newest,) = instance.fetch_materializations(of_day, limit=1).records
    assert newest.asset_materialization is not None
    return (newest.asset_materialization.tags or {}).get("dagster/data_version")


def test_the_same_command_tells_dagster_of_a_withdrawal_and_of_what_was_reinstated(
    project: Project,
    pipeline: Pipeline,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    window = pipeline.spec.window.window(DAY)
    assert batchinf("run", "flight_delays", DAY).exit_code == 0
    revision = published_revision(project, pipeline.spec, window)
    assert revision is not None
    with monkeypatch.context() as patch:
        patch.setattr(roll_back, "show_withdrawn", fails)
        assert batchinf(*WITHDRAW).exit_code != 0
    assert published_revision(project, pipeline.spec, window) is None
    assert withdrawn_runs(instance) == 0
    again = batchinf(*WITHDRAW)
    assert (again.exit_code, withdrawn_runs(instance)) == (0, 1), again.output
    assert batchinf(*WITHDRAW).exit_code == 1
    assert withdrawn_runs(instance) == 1

    reinstate = (*WITHDRAW[:-1], "--to", revision, "--reinstate")
    with monkeypatch.context() as patch:
        patch.setattr(roll_back, "rollback_events", fails)
        assert batchinf(*reinstate).exit_code != 0
    assert version_shown(instance) == "withdrawn"
    assert batchinf(*reinstate).exit_code == 0
    assert version_shown(instance) == revision


def test_the_next_performance_run_tells_dagster_of_what_the_last_one_withdrew(
    project: Project,
    pipeline: Pipeline,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, window = pipeline.spec, pipeline.spec.window.window(DAY)
    bound = spec.performance.model_copy(update={"at_least": {"auroc": 0.99}})
    policy = spec.rollback.model_copy(update={"automatic": True, "withdraw": True})
    strict = replace(
        pipeline, spec=spec.model_copy(update={"performance": bound, "rollback": policy})
    )
    with monkeypatch.context() as patch:
        patch.setattr(taking_back, "tell_dagster", dies)
        run_job(job_of(strict, "flight_delays"), instance, [window], lambda _window, _asset: None)
    assert published_revision(project, spec, window) is None
    assert withdrawn_runs(instance) == 0
    job = job_of(strict, "flight_delays_performance")
    for _ in range(2):
        assert run_job(job, instance, [window], lambda _window, _asset: None).succeeded
        assert withdrawn_runs(instance) == 1
