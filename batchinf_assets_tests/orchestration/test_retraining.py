"""The sensor that asks for a challenger, ticked as Dagster's daemon does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.errors import UsageError
from batchinf_assets.evaluation.metric_tables import metric_table
from batchinf_assets.evaluation.records import METRIC_SCHEMA
from batchinf_assets.evaluation_spec import RetrainingSpec
from batchinf_assets.manifest import (
    CodeRecord,
    CountsRecord,
    EvaluationRecord,
    FeaturesRecord,
    FileRecord,
    Manifest,
    ModelRecord,
    SettingsRecord,
    SnapshotRecord,
    WindowRecord,
)
from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.resources import Workplace, shared
from batchinf_assets.orchestration.retraining import retraining_sensor
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.scoring.predictions import manifests
from batchinf_assets.spec import ChallengerSpec, Pipeline, PipelineSpec

COOLDOWN = timedelta(days=14)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty lake; nothing here is scored."""
    return Project(
        root=CHECKOUT,
        lake=tmp_path / "lake",
        landing=tmp_path / "landing",
        dagster_home=tmp_path,
        keys=tmp_path / "keys",
    )


@pytest.fixture
def declaring(pipeline: Pipeline) -> Pipeline:
    """The demo pipeline, trained again after two windows of major drift."""
    spec = pipeline.spec
    model = spec.model.model_copy(update={"challenger": ChallengerSpec(windows=5, holdout=2)})
    retraining = RetrainingSpec(drift_windows=2, cooldown=COOLDOWN)
    changed = spec.model_copy(update={"model": model, "retraining": retraining})
    return Pipeline(spec=changed, folder=pipeline.folder)


@pytest.fixture
def definitions(declaring: Pipeline) -> dg.Definitions:
    with disable_dagster_warnings():  # as Dagster itself does where it loads a defs.yaml
        return dg.Definitions.merge(pipeline_definitions(declaring), shared())


def evaluate(project: Project, spec: PipelineSpec, key: str, verdict: str) -> None:
    """Leave what evaluation leaves of a window: a draft with its verdict, and a row."""
    window, zeros = spec.window.window(key), "0" * 64
    landed = FileRecord(path=f"flights/{key}.parquet", sha256=zeros, bytes=1)
    manifest = Manifest(
        pipeline=spec.name,
        owner=spec.owner,
        window=WindowRecord(key=key, start=window.start, end=window.end),
        revision="0" * 16,
        snapshot=SnapshotRecord(digest=zeros, rows=0, source=landed),
        features=FeaturesRecord(
            digest=zeros, rows=0, definition=zeros, row_group_rows=1, references=(), absent=()
        ),
        model=ModelRecord(name="m", version="1", alias="champion", digest=zeros, scorer="trees/1"),
        code=CodeRecord(version="1", source=zeros, python="3.11", libraries={}),
        settings=SettingsRecord(prediction_column="p", shard_rows=1, postprocess=zeros),
        counts=CountsRecord(rows_in=0, scored=0, quarantined=0),
        outputs=(),
        checks=(),
        evaluation=EvaluationRecord(golden={}, psi={}, drift_verdict=verdict),
        run_id="run",
        scored_at=window.end,
    )
    manifests(project, spec).write_draft(window, manifest)
    row = {"revision": "0" * 16, "subject_kind": "golden", "subject": "auroc", "rows": 0}
    rows = pa.Table.from_pylist([row], schema=METRIC_SCHEMA)
    metric_table(project, spec, "evaluation").keep_figures(window, rows, {})


def tick(
    definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None
) -> tuple[list[dg.RunRequest], str | None]:
    with dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        definitions=definitions,
        resources={"workplace": Workplace()},
    ) as context:
        sensor = definitions.resolve_sensor_def("flight_delays_retraining")
        evaluated = sensor.evaluate_tick(context)
    return list(evaluated.run_requests or []), evaluated.cursor or cursor


def drift(project: Project, pipeline: Pipeline) -> None:
    for key in ("2013-07-01", "2013-07-02"):
        evaluate(project, pipeline.spec, key, "major")


def test_drift_that_lasts_is_one_request_per_cool_down(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    project: Project,
    declaring: Pipeline,
) -> None:
    assert tick(definitions, instance, None) == ([], None)
    evaluate(project, declaring.spec, "2013-07-01", "major")
    assert tick(definitions, instance, None) == ([], None)
    evaluate(project, declaring.spec, "2013-07-02", "major")
    before = datetime.now(UTC)
    (request,), cursor = tick(definitions, instance, None)
    assert request.tags["batchinf/retraining"] == (
        "2 windows in a row, 2013-07-01 to 2013-07-02, with major drift against training."
    )
    assert cursor is not None
    assert datetime.fromisoformat(cursor) >= before
    assert tick(definitions, instance, cursor) == ([], cursor)

    over = (datetime.now(UTC) - COOLDOWN).isoformat()
    (second,), later = tick(definitions, instance, over)
    assert second.run_key != request.run_key
    assert later != over
    evaluate(project, declaring.spec, "2013-07-03", "stable")
    assert tick(definitions, instance, over) == ([], over)


def test_a_tick_that_died_is_repeated_under_the_same_run_key(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    project: Project,
    declaring: Pipeline,
) -> None:
    drift(project, declaring)
    for cursor in (None, (datetime.now(UTC) - 2 * COOLDOWN).isoformat()):
        (first,), _ = tick(definitions, instance, cursor)
        (second,), _ = tick(definitions, instance, cursor)
        assert first.run_key == second.run_key


def test_it_requests_the_job_that_trains_and_promotes_nothing(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,  # noqa: ARG001 - definitions ask the one that was entered last
) -> None:
    sensor = definitions.resolve_sensor_def("flight_delays_retraining")
    assert sensor.job_name == "flight_delays_challenger"
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    job = definitions.resolve_job_def(sensor.job_name)
    assert job.asset_layer.executable_asset_keys == {dg.AssetKey(["flight_delays", "challenger"])}


def test_a_cursor_that_is_no_time_is_refused(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    for cursor in ("yesterday", "2013-07-01T00:00:00"):
        with pytest.raises(UsageError, match=cursor):
            tick(definitions, instance, cursor)


def test_without_a_declaration_there_is_no_sensor(pipeline: Pipeline) -> None:
    spec = pipeline.spec.model_copy(update={"retraining": None})
    assert retraining_sensor(spec) is None
