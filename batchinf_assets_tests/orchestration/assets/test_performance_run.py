"""What Dagster shows of realised performance, and what follows where it is bad."""

from __future__ import annotations

from dataclasses import asdict, replace

import dagster as dg
import pyarrow.parquet as pq
import pytest
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.evaluation.metrics.figures import Figure
from batchinf_assets.evaluation.realised.measure import Realised, measure_performance
from batchinf_assets.evaluation.realised.measured import measured
from batchinf_assets.evaluation.realised.performance_check import said
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.resources import shared
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.project import Project
from batchinf_assets.publishing.tickets.tickets import read_tickets
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

DAY = "2013-07-01"
PERFORMANCE = dg.AssetKey(["flight_delays", "performance"])
PUBLISHED = dg.AssetKey(["flight_delays", "published"])


@pytest.fixture
def window(pipeline: Pipeline) -> Window:
    return pipeline.spec.window.window(DAY)


def demanding(pipeline: Pipeline, *, automatic: bool) -> Pipeline:
    """The pipeline with a bound that no model keeps."""
    spec = pipeline.spec
    return replace(
        pipeline,
        spec=spec.model_copy(
            update={
                "performance": spec.performance.model_copy(update={"at_least": {"auroc": 0.99}}),
                "rollback": spec.rollback.model_copy(update={"automatic": automatic}),
            }
        ),
    )


def run(instance: dg.DagsterInstance, pipeline: Pipeline, window: Window) -> None:
    with disable_dagster_warnings():
        own = dg.Definitions.merge(pipeline_definitions(pipeline), shared())
        job = own.resolve_job_def(pipeline.name)
    report = run_job(job, instance, [window], lambda _window, _asset: None)
    assert report.succeeded, report.failure


def last(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, object]:
    """The metadata of an asset's last materialization."""
    event = instance.get_latest_materialization_event(key)
    assert event is not None
    assert event.asset_materialization is not None
    return {
        name: [record.data for record in shown.records]
        if isinstance(shown, dg.TableMetadataValue)
        else shown.value
        for name, shown in event.asset_materialization.metadata.items()
    }


def checks(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, bool]:
    found = instance.event_log_storage.get_asset_check_summary_records
    names = ("golden_quality", "golden_set", "drift", "performance")
    records = found([dg.AssetCheckKey(key, name) for name in names])
    evaluations = {
        each.name: record.last_check_execution_record for each, record in records.items()
    }
    return {
        name: record.event.asset_check_evaluation.passed  # pyright: ignore
        for name, record in evaluations.items()
        if record is not None
    }


def measured_auroc(realised: Realised) -> Figure:
    assert realised.performance.metrics is not None
    return realised.performance.metrics.measured_figures["auroc"]


def data_version(instance: dg.DagsterInstance) -> str | None:
    event = instance.get_latest_materialization_event(PERFORMANCE)
    assert event is not None
    assert event.asset_materialization is not None
    return (event.asset_materialization.tags or {}).get(DATA_VERSION_TAG)


def correct_the_source(project: Project) -> None:
    path = project.landing / f"flights/{DAY}.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)


def test_figures_stand_beside_their_intervals_their_estimate_and_their_trend(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline, window: Window
) -> None:
    run(instance, pipeline, window)
    shown = last(instance, PERFORMANCE)
    assert shown["state"] == "measured"
    assert 0.9 < shown["labelled_share"] <= 1  # pyright: ignore
    assert isinstance(shown["auroc"], float)
    assert shown["label_delay_hours/median"] <= shown["label_delay_hours/95th"]  # pyright: ignore
    table = {row["metric"]: row for row in shown["metrics"]}  # pyright: ignore
    assert set(table["auroc"]) == {
        *("metric", "realised", "estimated", "trailing_7", "trailing_28", "change_per_window")
    }
    assert table["auroc"]["realised"].startswith(f"{shown['auroc']:.4f} (")
    assert table["auroc"]["change_per_window"] == "insufficient data"
    evaluated = last(instance, dg.AssetKey(["flight_delays", "evaluation"]))
    drift = evaluated["drift_by_column"]
    assert isinstance(drift, list)
    assert {row["column"] for row in drift} == {
        *pipeline.spec.features.columns,
        pipeline.spec.prediction.column,
    }
    assert {"psi", "wasserstein", "jensen_shannon", "q_value", "verdict"} <= set(drift[0])
    assert project.lake.is_dir()
    assert checks(instance, PERFORMANCE) == {}  # no bound is declared


def test_bad_performance_opens_a_ticket_and_changes_nothing_for_readers(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline, window: Window
) -> None:
    strict = demanding(pipeline, automatic=False)
    run(instance, strict, window)
    assert checks(instance, PERFORMANCE) == {"performance": False}
    tickets = [kept.ticket for kept in read_tickets(project, strict.spec)]
    assert [ticket.check for ticket in tickets if ticket.check == "performance"] == ["performance"]
    assert published_revision(project, strict.spec, window) is not None
    assert not [name for name in last(instance, PERFORMANCE) if name.startswith("rollback/")]


def test_a_condemned_revision_goes_back_to_the_one_before_by_itself(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline, window: Window
) -> None:
    run(instance, pipeline, window)
    first = published_revision(project, pipeline.spec, window)
    correct_the_source(project)
    strict = demanding(pipeline, automatic=True)
    run(instance, strict, window)

    assert published_revision(project, strict.spec, window) == first
    shown = last(instance, PERFORMANCE)
    assert shown["rollback/state"] == "rolled_back"
    assert shown["rollback/revision"] == first != shown["rollback/revision_before"]
    told = instance.fetch_observations(PUBLISHED, limit=1).records[0].asset_observation
    assert told is not None
    assert (told.partition, told.metadata["revision"].value) == (DAY, first)
    assert shown["then/rollback/state"] == "nothing_to_go_back_to"
    assert checks(instance, PERFORMANCE) == {"performance": False}
    seen = measure_performance(project, strict.spec, window)
    assert seen.performance.metrics is not None
    assert shown["predictions"] == seen.performance.rows
    assert shown["auroc"] == seen.performance.metrics.auroc
    (broken,) = shown["rollback/violations"]  # pyright: ignore
    assert broken["rule"] == "auroc at least 0.99 over this window"
    assert broken["found"] == shown["rollback/auroc window"] != said(measured_auroc(seen))
    assert data_version(instance) == json_sha256(asdict(seen.performance))
    rows = metric_table(project, strict.spec, "performance").read(window)
    assert rows is not None
    assert rows.column("revision").unique().to_pylist() == [first]


def test_with_nothing_to_go_back_to_the_revision_stays_and_the_state_says_so(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline, window: Window
) -> None:
    strict = demanding(pipeline, automatic=True)
    run(instance, strict, window)
    assert published_revision(project, strict.spec, window) is not None
    assert last(instance, PERFORMANCE)["rollback/state"] == "nothing_to_go_back_to"


def test_labels_that_still_come_in_take_nothing_back(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline, window: Window
) -> None:
    run(instance, pipeline, window)
    correct_the_source(project)
    outcomes = project.landing / f"outcomes/{DAY}.parquet"
    rows = pq.read_table(outcomes)
    pq.write_table(rows.slice(rows.num_rows // 4), outcomes)
    strict = demanding(pipeline, automatic=True)
    run(instance, strict, window)
    shown = last(instance, PERFORMANCE)
    assert shown["rollback/state"] == "too early: labels are still coming in"
    assert checks(instance, PERFORMANCE) == {"performance": False}
    kept = measured(project, strict.spec, window)
    assert kept is not None
    assert (kept.revision, kept.followed_up) == (
        published_revision(project, strict.spec, window),
        True,
    )
