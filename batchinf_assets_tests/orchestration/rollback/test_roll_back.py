"""Through Dagster: an empty window replaces yesterday's rows, and the job takes it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.resources import shared
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import predictions_table, published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.ledger import Ledger

DAY = "2013-07-03"
CONSOLE = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def quiet(pipeline: Pipeline) -> Pipeline:
    """A pipeline that publishes empty windows."""
    document = pipeline.spec.model_dump(mode="json")
    document["source"] |= {"empty": "publish", "volume": None, "freshness": None, "rules": []}
    return replace(pipeline, spec=PipelineSpec.model_validate(document))


def job_of(pipeline: Pipeline, name: str) -> dg.JobDefinition:
    with disable_dagster_warnings():
        definitions = dg.Definitions.merge(pipeline_definitions(pipeline), shared())
        return definitions.resolve_job_def(name)


def take_back(
    pipeline: Pipeline, instance: dg.DagsterInstance, **config: object
) -> dg.ExecuteInProcessResult:
    given: Mapping[str, Any] = {"window": DAY, "reason": "Nothing landed", "by": "ann"}
    ops = {"flight_delays__rollback": {"config": {**given, **config}}}
    return job_of(pipeline, "flight_delays_rollback").execute_in_process(
        instance=instance, run_config={**CONSOLE, "ops": ops}, raise_on_error=False
    )


def latest(instance: dg.DagsterInstance, key: dg.AssetKey) -> dg.EventLogRecord:
    filters = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[DAY])
    (record,) = instance.fetch_materializations(filters, limit=1).records
    return record


def data_version(record: dg.EventLogRecord) -> str:
    materialization = record.asset_materialization
    assert materialization is not None
    return (materialization.tags or {})["dagster/data_version"]


def test_an_empty_window_is_published_and_taken_back(
    project: Project, quiet: Pipeline, instance: dg.DagsterInstance
) -> None:
    spec, window = quiet.spec, quiet.spec.window.window(DAY)
    path = project.landing / "flights" / f"{DAY}.parquet"
    rows = pq.read_table(path)
    seen: list[str | None] = []
    for landed in (rows, rows.slice(0, 0)):
        pq.write_table(landed, path)
        report = run_job(job_of(quiet, spec.name), instance, [window], lambda *_said: None)
        assert (report.succeeded, report.refused, report.failure) == (True, {}, None)
        seen.append(published_revision(project, spec, window))
    table = predictions_table(project, spec)
    assert (seen[1], table.files_of(window)) not in [(None, ()), (seen[0], ())]
    assert table.files_of(window) == ()

    result = take_back(quiet, instance)
    assert result.success
    assert published_revision(project, spec, window) == seen[0]
    assert table.row_counts()[DAY] == rows.num_rows
    key = dg.AssetKey(["flight_delays", "published"])
    (record,) = instance.fetch_observations(key, limit=1).records
    observation = record.asset_observation
    assert observation is not None
    assert (observation.partition, observation.metadata["reason"].value) == (DAY, "Nothing landed")
    attempt = Ledger(project.lake).latest(spec.name)[DAY]
    assert (attempt.state, attempt.run_id) == ("rolled_back", result.run_id)
    shown = latest(instance, key)
    assert (shown.run_id, data_version(shown)) == (result.run_id, seen[0])
    raced = take_back(quiet, instance, seen=seen[1])
    assert not raced.success
    assert published_revision(project, spec, window) == seen[0]

    again = take_back(quiet, instance)
    assert not again.success
    (failed,) = [event for event in again.all_events if event.is_step_failure]
    said = failed.step_failure_data.user_failure_data
    assert said is not None
    assert "no other revision of window 2013-07-03" in str(said.description)
    retried = run_job(job_of(quiet, spec.name), instance, [window], lambda *_said: None)
    assert not retried.succeeded
    assert "ann condemned it on" in retried.refused[DAY]
    assert published_revision(project, spec, window) == seen[0]

    assert take_back(quiet, instance, withdraw=True).success
    assert published_revision(project, spec, window) is None
    assert data_version(latest(instance, key)) == "withdrawn"
