from __future__ import annotations

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from batchinf_assets.definitions import defs
from batchinf_assets.orchestration.partitions import partitions_of
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.project import Project
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec.load import Pipeline

WEEK = ("2013-07-01", "2013-07-07")
BAD = "2013-07-03"
ASSETS = ("snapshot", "features", "predictions", "evaluation", "published", "performance")


def silent(_window: str, _asset: str) -> None:
    pass


def drop_column(project: Project, window: str, column: str) -> None:
    path = project.landing / "flights" / f"{window}.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.drop_columns([column]), path)


def materialized(instance: dg.DagsterInstance, asset: str) -> set[str]:
    return instance.get_materialized_partitions(dg.AssetKey(["flight_delays", asset]))


def failed(instance: dg.DagsterInstance, asset: str, pipeline: Pipeline) -> list[str]:
    partitions = partitions_of(pipeline.spec.window)
    key = dg.AssetKey(["flight_delays", asset])
    status = get_and_update_asset_status_cache_value(instance, key, partitions, None)
    assert status is not None
    return sorted(status.deserialize_failed_partition_subsets(partitions).get_partition_keys())


def check_status(instance: dg.DagsterInstance, asset: str, name: str) -> dict[str, str]:
    key = dg.AssetCheckKey(dg.AssetKey(["flight_delays", asset]), name)
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    return {str(r.partition): r.status.value for r in reversed(history) if r.partition}


def test_one_bad_window_of_a_range_neither_fails_nor_fakes_its_neighbours(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    drop_column(project, BAD, "carrier")
    windows = pipeline.spec.window.between(*WEEK)
    report = run_job(defs().resolve_job_def("flight_delays"), instance, windows, silent)
    good = {window.key for window in windows} - {BAD}
    assert not report.succeeded
    assert list(report.refused) == [BAD]
    assert "column carrier: expected string, found no such column" in report.refused[BAD]
    for asset in ASSETS:
        assert materialized(instance, asset) == good, asset
        assert failed(instance, asset, pipeline) == [BAD], asset
    for window in windows:
        published = published_revision(project, pipeline.spec, window)
        assert (published is None) == (window.key == BAD)


def test_every_check_has_the_status_of_its_own_window_after_a_range_run(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    drop_column(project, BAD, "carrier")
    windows = pipeline.spec.window.between(*WEEK)
    run_job(defs().resolve_job_def("flight_delays"), instance, windows, silent)
    schema = check_status(instance, "snapshot", "schema")
    assert schema == {w.key: "FAILED" if w.key == BAD else "SUCCEEDED" for w in windows}
    for asset, name in [
        ("features", "contract"),
        ("predictions", "row_conservation"),
        ("evaluation", "golden_quality"),
        ("published", "gate"),
    ]:
        status = check_status(instance, asset, name)
        # Dagster shows a check that stays planned in a finished run as skipped.
        expected = {w.key: "PLANNED" if w.key == BAD else "SUCCEEDED" for w in windows}
        assert status == expected, (asset, name)


def test_a_single_refused_window_fails_at_the_step_that_refused_it(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    drop_column(project, BAD, "carrier")
    job = defs().resolve_job_def("flight_delays")
    report = run_job(job, instance, [pipeline.spec.window.window(BAD)], silent)
    assert not report.succeeded
    steps = instance.get_run_step_stats(report.run_id)
    status = {s.step_key: s.status.value for s in steps if s.status is not None}
    assert status["flight_delays__snapshot"] == "FAILURE"
    assert "flight_delays__features" not in status


def test_a_refused_window_is_published_once_its_file_is_mended(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    path = project.landing / "flights" / f"{BAD}.parquet"
    original = path.read_bytes()
    drop_column(project, BAD, "carrier")
    job = defs().resolve_job_def("flight_delays")
    windows = [pipeline.spec.window.window(BAD)]
    assert not run_job(job, instance, windows, silent).succeeded
    path.write_bytes(original)
    assert run_job(job, instance, windows, silent).succeeded
    assert failed(instance, "published", pipeline) == []
    assert materialized(instance, "published") == {BAD}


def test_a_refused_file_leaves_the_published_revision_and_its_status_alone(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    job = defs().resolve_job_def("flight_delays")
    windows = [pipeline.spec.window.window(BAD)]
    assert run_job(job, instance, windows, silent).succeeded
    before = published_revision(project, pipeline.spec, windows[0])
    drop_column(project, BAD, "carrier")
    report = run_job(job, instance, windows, silent)
    assert list(report.refused) == [BAD]
    assert published_revision(project, pipeline.spec, windows[0]) == before


def test_a_violated_check_names_column_rule_count_and_ten_keys(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    path = project.landing / "flights" / f"{BAD}.parquet"
    rows = pq.read_table(path)
    distances = rows.column("distance").to_numpy().copy()
    distances[:12] = -1
    index = rows.column_names.index("distance")
    wrong = pa.array(distances, pa.int32())
    pq.write_table(rows.set_column(index, rows.schema.field(index), wrong), path)
    job = defs().resolve_job_def("flight_delays")
    run_job(job, instance, [pipeline.spec.window.window(BAD)], silent)
    key = dg.AssetCheckKey(dg.AssetKey(["flight_delays", "snapshot"]), "contract")
    record = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
    assert record.event is not None
    event = record.event.dagster_event
    assert event is not None
    table = event.asset_check_evaluation_data.metadata["violations"]
    assert isinstance(table, dg.TableMetadataValue)
    (violation,) = [dict(row.data) for row in table.records]
    assert (violation["column"], violation["count"]) == ("distance", 12)
    assert violation["rule"] == "int32 in [1, 12000]"
    assert len(str(violation["samples"]).splitlines()) == 10
    assert "carrier=" in str(violation["samples"])


@pytest.mark.parametrize("asset", ["published", "features"])
def test_metadata_has_the_names_that_the_ui_knows(
    instance: dg.DagsterInstance, pipeline: Pipeline, asset: str
) -> None:
    job = defs().resolve_job_def("flight_delays")
    assert run_job(job, instance, [pipeline.spec.window.window(BAD)], silent).succeeded
    event = instance.get_latest_materialization_event(dg.AssetKey(["flight_delays", asset]))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["dagster/row_count"].value == 983
    assert str(metadata["dagster/uri"].value).startswith("file://")
    assert isinstance(metadata["dagster/column_schema"].value, dg.TableSchema)
    if asset == "features":
        lineage = metadata["dagster/column_lineage"].value
        assert isinstance(lineage, dg.TableColumnLineage)
        (origin,) = lineage.deps_by_column["route_delay_rate"]
        assert origin.asset_key == dg.AssetKey(["flight_delays", "landing", "outcomes"])


@pytest.mark.parametrize("window", [BAD, None])
def test_checks_asked_for_without_their_asset_say_what_to_do_instead(
    instance: dg.DagsterInstance, window: str | None
) -> None:
    gate = dg.AssetCheckKey(dg.AssetKey(["flight_delays", "published"]), "gate")
    job = defs().resolve_job_def("flight_delays")
    alone = job.get_subset(asset_selection=set(), asset_check_selection={gate})
    result = alone.execute_in_process(instance=instance, partition_key=window, raise_on_error=False)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    reported = failure.step_failure_data.user_failure_data
    assert reported is not None
    assert "Materialize the window instead" in str(reported.description)


def test_a_run_observes_the_model_that_it_scores_with(
    instance: dg.DagsterInstance, pipeline: Pipeline, registry: Registry
) -> None:
    job = defs().resolve_job_def("flight_delays")
    assert run_job(job, instance, [pipeline.spec.window.window(BAD)], silent).succeeded
    key = dg.AssetKey(["flight_delays", "model"])
    (record,) = instance.fetch_observations(key, limit=2).records
    assert record.asset_observation is not None
    tags = record.asset_observation.tags
    version = registry.resolve("flight_delays", "champion")
    assert tags["dagster/data_version"] == version.digest
    shown = {name: value.value for name, value in record.asset_observation.metadata.items()}
    assert (shown["version"], shown["digest"]) == (version.version, version.digest)
    assert (shown["promotion"], shown["promoted_by"]) == (1, "tests")


def test_every_asset_of_a_window_describes_its_table_and_has_owners(
    instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    job = defs().resolve_job_def("flight_delays")
    assert run_job(job, instance, [pipeline.spec.window.window(BAD)], silent).succeeded
    graph = defs().resolve_asset_graph()
    for asset in ASSETS:
        key = dg.AssetKey(["flight_delays", asset])
        event = instance.get_latest_materialization_event(key)
        assert event is not None
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        for name in ("dagster/row_count", "dagster/uri", "dagster/column_schema"):
            assert name in metadata, (asset, name)
        assert metadata["dagster/row_count"].value > 0, asset
        assert graph.get(key).code_version, asset
    for asset in (*ASSETS, "model", "challenger"):
        node = graph.get(dg.AssetKey(["flight_delays", asset]))
        assert list(node.owners) == ["flights-ml@example.com", "team:punctuality"], asset
        assert node.kinds, asset
        assert node.description, asset
        training = "_training" if asset == "challenger" else ""
        assert node.group_name == f"flight_delays{training}", asset
