"""Which windows Dagster shows as stale, asked of Dagster itself after real runs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.definitions import defs
from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.jobs.promotion import report_model
from batchinf_assets.orchestration.keys import WINDOWED
from batchinf_assets.orchestration.resources import shared
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.orchestration.steps.provenance import window_tags
from batchinf_assets.project import Project
from batchinf_assets.registry.registry import ModelVersion, Registry
from batchinf_assets.spec.load import Pipeline

DAY, OTHER_DAY = "2013-07-06", "2013-07-07"
CONSOLE = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def key(asset: str) -> dg.AssetKey:
    return dg.AssetKey(["flight_delays", asset])


def causes(
    instance: dg.DagsterInstance, window: str = DAY, graph: dg.Definitions | None = None
) -> dict[str, list[tuple[str, str | None]]]:
    """Return why assets are stale, by asset: kind of cause, and the input that it names."""
    assets = (graph or defs()).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, assets, LoadingContextForTest(instance))
    found: dict[str, list[tuple[str, str | None]]] = {}
    for name in WINDOWED:
        status = resolver.get_status(key(name), window)
        assert status is not StaleStatus.MISSING, name
        if status is StaleStatus.STALE:
            found[name] = [
                (c.category.value, c.dependency.asset_key.path[-1] if c.dependency else None)
                for c in resolver.get_stale_causes(key(name), window)
            ]
    return found


def run(instance: dg.DagsterInstance, pipeline: Pipeline, first: str, last: str) -> None:
    windows = pipeline.spec.window.between(first, last)
    job = defs().resolve_job_def("flight_delays")
    assert run_job(job, instance, windows, lambda _window, _asset: None).succeeded


def materialize(instance: dg.DagsterInstance, assets: Sequence[str], window: str = DAY) -> None:
    """Run some assets alone, as an operator does who selects them in the UI."""
    job = defs().resolve_job_def("flight_delays")
    job.execute_in_process(
        instance=instance,
        partition_key=window,
        run_config=CONSOLE,
        asset_selection=[key(name) for name in assets],
    )


def another(version: ModelVersion) -> ModelVersion:
    return ModelVersion(
        name=version.name,
        version="2",
        aliases=(),
        digest="f" * 64,
        created_at=version.created_at,
    )


def shorten(project: Project, window: str) -> None:
    """Let the last landed row of a window go, as a corrected file would."""
    path = project.landing / "flights" / f"{window}.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.slice(0, rows.num_rows - 1), path)


def tags_of(instance: dg.DagsterInstance, asset: str) -> dict[str, str]:
    event = instance.get_latest_materialization_event(key(asset))
    assert event is not None
    assert event.asset_materialization is not None
    return dict(event.asset_materialization.tags or {})


def test_another_model_makes_what_depends_on_it_stale_until_it_is_run_again(
    instance: dg.DagsterInstance, pipeline: Pipeline, registry: Registry
) -> None:
    run(instance, pipeline, DAY, OTHER_DAY)
    assert causes(instance, DAY) == causes(instance, OTHER_DAY) == {}
    tags = tags_of(instance, "snapshot")  # of an input that nobody ever observed
    assert tags["dagster/input_data_version/flight_delays/landing/source"] == "INITIAL"
    assert tags["dagster/input_event_pointer/flight_delays/landing/source"] == "NULL"
    champion = registry.resolve("flight_delays", "champion")
    report_model(instance, ["flight_delays"], another(champion))
    by_model = [("DATA", "model")]
    stale = {"predictions": by_model, "evaluation": by_model, "published": by_model}
    assert causes(instance, DAY) == causes(instance, OTHER_DAY) == stale
    report_model(instance, ["flight_delays"], champion)
    assert causes(instance, DAY) == {}


def test_a_window_names_the_model_that_scored_it_and_not_the_last_one_observed(
    instance: dg.DagsterInstance, pipeline: Pipeline, registry: Registry
) -> None:
    run(instance, pipeline, DAY, DAY)
    champion = registry.resolve("flight_delays", "champion")
    report_model(instance, ["flight_delays"], another(champion))
    materialize(instance, ["predictions", "evaluation", "published"])
    for asset in ("predictions", "evaluation", "published"):
        tags = tags_of(instance, asset)
        assert tags["dagster/input_data_version/flight_delays/model"] == champion.digest, asset
    assert set(causes(instance)) == {"predictions", "evaluation", "published"}
    report_model(instance, ["flight_delays"], champion)
    assert causes(instance) == {}


def test_other_data_in_one_window_makes_what_reads_that_window_stale(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    run(instance, pipeline, DAY, OTHER_DAY)
    materialize(instance, ["snapshot"])
    assert causes(instance) == {}  # the same rows once more are no news
    shorten(project, DAY)
    materialize(instance, ["snapshot"])
    assert causes(instance, DAY) == {"features": [("DATA", "snapshot")]}
    assert causes(instance, OTHER_DAY) == {}
    materialize(instance, ["features"])
    assert causes(instance, DAY) == {"predictions": [("DATA", "features")]}
    run(instance, pipeline, DAY, DAY)
    assert causes(instance, DAY) == causes(instance, OTHER_DAY) == {}


def test_another_declaration_makes_the_asset_stale_that_it_decides(
    instance: dg.DagsterInstance, pipeline: Pipeline, tmp_path: Path
) -> None:
    run(instance, pipeline, DAY, DAY)
    changed = Pipeline(spec=pipeline.spec, folder=tmp_path / "flight_delays")
    shutil.copytree(pipeline.folder, changed.folder)
    with (changed.folder / "postprocess.sql").open("a", encoding="utf-8") as sql:
        sql.write("\n-- other rules\n")
    with disable_dagster_warnings():  # as Dagster itself does where it loads a defs.yaml
        graph = dg.Definitions.merge(pipeline_definitions(changed), shared())
    assert causes(instance, graph=graph) == {"predictions": [("CODE", None)]}


@pytest.mark.parametrize("inputs", [{}, {"model": "digest"}])
def test_what_a_step_knows_of_its_inputs_overrides_the_event_log(inputs: dict[str, str]) -> None:
    observed = {"dagster/input_data_version/flights/model": "observed", "dagster/code_version": "1"}
    tags = window_tags(observed, dg.AssetKey(["flights", "predictions"]), "revision", inputs)
    assert tags == {
        "dagster/input_data_version/flights/model": inputs.get("model", "observed"),
        "dagster/code_version": "1",
        "dagster/data_version": "revision",
    }
