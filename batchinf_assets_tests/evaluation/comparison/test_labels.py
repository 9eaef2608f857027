"""Labels looked up by key, and why there are none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.evaluation.comparison.labels import UNKNOWN, joint_state, read_labels
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.project import Project
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

START = datetime(2013, 7, 4, 4, tzinfo=UTC)


@pytest.fixture
def landing(tmp_path: Path) -> Project:
    (tmp_path / "outcomes").mkdir()
    folder = tmp_path / "x"
    return Project(root=folder, lake=folder, landing=tmp_path, dagster_home=folder, keys=folder)


@pytest.fixture
def window(pipeline: Pipeline) -> Window:
    return pipeline.spec.window.window("2013-07-04")


def keys(pipeline: Pipeline, flights: range) -> pa.Table:
    rows = [
        {"scheduled_departure": START + timedelta(minutes=n), "carrier": "AA", "flight": n}
        for n in flights
    ]
    return pa.Table.from_pylist(rows, arrow_schema(pipeline.spec.key_columns))


def land(project: Project, pipeline: Pipeline, delays: dict[int, float | None]) -> None:
    assert pipeline.spec.outcomes is not None
    rows = [
        {
            "scheduled_departure": START + timedelta(minutes=n),
            "carrier": "AA",
            "flight": n,
            "origin": "JFK",
            "destination": "BOS",
            "arrival_delay": delay,
            "recorded_at": START + timedelta(hours=9),
        }
        for n, delay in delays.items()
    ]
    table = pa.Table.from_pylist(rows, arrow_schema(pipeline.spec.outcomes.columns))
    pq.write_table(table, project.landing / "outcomes" / "2013-07-04.parquet")


def test_rows_get_their_own_label_wherever_a_stream_is_cut(
    landing: Project, pipeline: Pipeline, window: Window
) -> None:
    land(landing, pipeline, {7: 15.0, 2: 14.0, 5: None, 90: 99.0, 3: 20.0})
    labels = read_labels(landing, pipeline.spec, window)
    expected = {2: 0, 3: 1, 7: 1}
    assert labels.state == "landed"
    for start, end in ((0, 10), (2, 4), (4, 8), (8, 10), (3, 3)):
        found = labels.of(keys(pipeline, range(start, end)))
        np.testing.assert_array_equal(found, [expected.get(n, UNKNOWN) for n in range(start, end)])


def test_outcomes_that_have_not_landed_are_a_state(
    landing: Project, pipeline: Pipeline, window: Window
) -> None:
    found = read_labels(landing, pipeline.spec, window)
    assert (found.state, found.problem) == ("no outcomes yet", None)
    np.testing.assert_array_equal(found.of(keys(pipeline, range(3))), [UNKNOWN] * 3)


def test_damaged_outcomes_are_told_and_stop_nothing(
    landing: Project, pipeline: Pipeline, window: Window
) -> None:
    (landing.landing / "outcomes" / "2013-07-04.parquet").write_bytes(b"PAR1")
    found = read_labels(landing, pipeline.spec, window)
    assert found.state == "outcomes unreadable"
    assert found.problem is not None
    assert "2013-07-04.parquet" in found.problem


def test_a_pipeline_may_declare_no_outcomes(
    landing: Project, pipeline: Pipeline, window: Window
) -> None:
    spec = pipeline.spec.model_copy(update={"outcomes": None})
    assert read_labels(landing, spec, window).state == "no outcomes declared"


def test_over_several_windows_one_that_landed_counts() -> None:
    assert joint_state(["no outcomes yet", "landed"]) == "landed"
    assert joint_state(["no outcomes yet", "outcomes unreadable"]) == "no outcomes yet"
