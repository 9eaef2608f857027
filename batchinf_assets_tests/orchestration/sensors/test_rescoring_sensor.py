"""A promoted model scores recent windows again, under a real registry and instance."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_KEY_TAG
from dagster._core.test_utils import create_run_for_test

from batchinf_assets.definitions import defs
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.orchestration.sensors.rescoring import AGAIN, rescoring_sensor
from batchinf_assets.project import Project
from batchinf_assets.promotion.promote import Decision, demote, promote
from batchinf_assets.registry.keys import load_signing_key
from batchinf_assets.registry.registry import Registry
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.model import RescoreSpec
from batchinf_assets.spec.pipeline import PipelineSpec

WINDOWS = ("2013-07-05", "2013-07-06", "2013-07-07")


@pytest.fixture
def project(contested: Project) -> Project:
    """Where `environ` and `instance` point: a registry with more than one version."""
    return contested


@pytest.fixture
def spec(pipeline: Pipeline) -> PipelineSpec:
    model = pipeline.spec.model.model_copy(update={"rescore": RescoreSpec(windows=2)})
    return pipeline.spec.model_copy(update={"model": model})


def tick(
    spec: PipelineSpec, instance: dg.DagsterInstance, cursor: str | None
) -> tuple[list[dg.RunRequest], str | None]:
    sensor = rescoring_sensor(spec)
    assert sensor is not None
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"workplace": Workplace()}
    ) as context:
        found = sensor(context)
    if isinstance(found, dg.SkipReason):
        return [], cursor
    assert isinstance(found, dg.SensorResult)
    return list(found.run_requests or []), found.cursor


def launch(instance: dg.DagsterInstance, request: dg.RunRequest) -> None:
    tags = {PARTITION_NAME_TAG: request.partition_key or "", RUN_KEY_TAG: request.run_key or ""}
    status = dg.DagsterRunStatus.STARTED
    create_run_for_test(instance, job_name="flight_delays", tags=tags, status=status)


def test_a_promotion_and_a_demotion_each_ask_for_the_newest_windows_once(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline, spec: PipelineSpec
) -> None:
    windows = [spec.window.window(key) for key in WINDOWS]
    job = defs().resolve_job_def("flight_delays")
    assert run_job(job, instance, windows, lambda _window, _asset: None).succeeded
    requests, before = tick(spec, instance, None)
    assert requests == []
    registry, key = Registry.at(project, {}), load_signing_key(project.keys, {})
    decision = Decision(
        alias="champion", reason="Shorter", by="tests", at=datetime.now(UTC), force=True
    )
    version = registry.version("flight_delays", "2")
    promote(project, registry, [pipeline], key, version, decision)
    requests, cursor = tick(spec, instance, before)
    assert [each.partition_key for each in requests] == ["2013-07-07", "2013-07-06"]
    assert {k.path[-1] for each in requests for k in each.asset_selection or []} == set(AGAIN)
    for request in requests:
        launch(instance, request)
    assert tick(spec, instance, cursor)[0] == []
    assert tick(spec, instance, None)[0] == []  # a lost cursor asks for nothing twice
    demote(registry, key, "flight_delays", decision)
    assert tick(spec, instance, cursor)[0] == []  # nothing was scored by the other model yet


def test_without_a_declaration_there_is_no_sensor(pipeline: Pipeline) -> None:
    assert rescoring_sensor(pipeline.spec) is None
