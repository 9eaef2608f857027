"""The sensor that asks for a challenger, ticked as Dagster's daemon does."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.remote_representation.external import RemoteSensor
from dagster._core.scheduler.instigation import InstigatorState, SensorInstigatorData
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.errors import UsageError
from batchinf_assets.evaluation.records.figure_records import METRIC_SCHEMA
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.manifest.inputs import FeaturesRecord, SnapshotRecord, WindowRecord
from batchinf_assets.manifest.judgement import EvaluationRecord
from batchinf_assets.manifest.means import CodeRecord, ModelRecord, SettingsRecord
from batchinf_assets.manifest.work import CountsRecord
from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.resources import Workplace, shared
from batchinf_assets.orchestration.sensors.retraining import retraining_sensor
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.scoring.predictions import manifests
from batchinf_assets.spec.evaluation import RetrainingSpec
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.model import ChallengerSpec
from batchinf_assets.spec.pipeline import PipelineSpec

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
def instance(environ: dict[str, str]) -> Iterator[dg.DagsterInstance]:
    """One that queues what the sensor asks for: here nobody takes it off the queue."""
    home = Path(environ["DAGSTER_HOME"])
    (home / "dagster.yaml").write_text((CHECKOUT / "deploy" / "local" / "dagster.yaml").read_text())
    with dg.DagsterInstance.get() as instance:
        yield instance


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


@pytest.fixture
def loadable(definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch) -> None:
    """The definitions as a module, as Dagster's daemon loads them."""
    module = ModuleType("pipeline_of_this_test")
    module.definitions = definitions  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, module.__name__, module)


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
    evaluate(project, declaring.spec, "2013-07-03", "major")
    (second,), later = tick(definitions, instance, over)
    assert second.run_key != request.run_key
    assert later != over
    evaluate(project, declaring.spec, "2013-07-04", "stable")
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


def daemon_ticks(instance: dg.DagsterInstance, cursor: str | None) -> InstigatorState:
    """Let Dagster's daemon evaluate the sensor once, from a cursor, and submit what it asks for."""
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(module_name="pipeline_of_this_test", attribute="definitions")
    )
    target = InProcessWorkspaceLoadTarget(origin)
    # As Dagster itself does: it warns of what it reads from its own schedules.
    with disable_dagster_warnings(), WorkspaceProcessContext(instance, target) as context:
        (entry,) = context.create_request_context().get_code_location_entries().values()
        assert entry.code_location is not None, entry.load_error
        (repository,) = entry.code_location.get_repositories().values()
        sensor = repository.get_sensor("flight_delays_retraining")
        instance.start_sensor(sensor)
        set_cursor(instance, sensor, cursor)
        logger = logging.getLogger("test.sensors")
        list(execute_sensor_iteration(context, logger, None, None))
        state = instance.get_instigator_state(sensor.get_remote_origin_id(), sensor.selector_id)
    assert state is not None
    return state


def set_cursor(instance: dg.DagsterInstance, sensor: RemoteSensor, cursor: str | None) -> None:
    """Put a cursor where the UI does; the next tick is due at once."""
    origin_id = sensor.get_remote_origin_id()
    state = instance.get_instigator_state(origin_id, sensor.selector_id)
    assert state is not None
    data = SensorInstigatorData(cursor=cursor, min_interval=0)
    instance.update_instigator_state(state.with_data(data))


def cursor_of(state: InstigatorState) -> datetime | None:
    data = state.instigator_data
    assert isinstance(data, SensorInstigatorData)
    return datetime.fromisoformat(data.cursor) if data.cursor else None


@pytest.mark.usefixtures("loadable")
def test_a_cursor_that_was_reset_loses_no_request(
    instance: dg.DagsterInstance, project: Project, declaring: Pipeline
) -> None:
    drift(project, declaring)
    asked = cursor_of(daemon_ticks(instance, None))
    (run,) = instance.get_runs()
    assert run.job_name == "flight_delays_challenger"
    assert asked is not None

    # Reset in the UI: these windows had their challenger. The cool-down is that of this one.
    found = cursor_of(daemon_ticks(instance, None))
    assert [each.run_id for each in instance.get_runs()] == [run.run_id]
    assert found is not None
    assert abs(found - asked) < timedelta(minutes=1)
    assert found <= datetime.now(UTC)

    evaluate(project, declaring.spec, "2013-07-03", "major")
    daemon_ticks(instance, None)
    assert len(instance.get_runs()) == 2


@pytest.mark.usefixtures("loadable")
def test_windows_that_had_their_challenger_hold_the_next_ones_back_no_longer_than_declared(
    instance: dg.DagsterInstance, project: Project, declaring: Pipeline
) -> None:
    drift(project, declaring)
    over = (datetime.now(UTC) - COOLDOWN).isoformat()
    daemon_ticks(instance, None)
    (record,) = instance.get_run_records()
    # The cool-down is over and no window came: Dagster skips the key, and no new one begins.
    assert cursor_of(daemon_ticks(instance, over)) == record.create_timestamp
    assert len(instance.get_runs()) == 1


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
