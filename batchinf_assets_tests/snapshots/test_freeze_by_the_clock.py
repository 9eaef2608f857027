"""Rows of long and short days, and of hours that come twice, end up in the window of their time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import WindowRefused
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.project import Project
from batchinf_assets.snapshots.freeze import (
    freeze_snapshot,
    load_snapshot,
    rows_before,
    snapshot_table,
)
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

FLIGHTS = load_pipeline("flight_delays").spec
INSTANT = timedelta(microseconds=1)


def cut(volume: dict[str, object] | None = None, **window: object) -> PipelineSpec:
    """Few columns under a contract of its own, cut into other windows."""
    document = FLIGHTS.model_dump(mode="json")
    document["window"] = {"start": "2013-01-01", "timezone": "America/New_York", **window}
    document["source"] = {
        "files": "flights/{window}.parquet",
        "key": ["at"],
        "time": "at",
        "columns": {"at": {"type": "timestamp"}},
        "volume": volume,
    }
    document |= {"outcomes": None, "references": {}}
    return PipelineSpec.model_validate(document)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "landing" / "flights").mkdir(parents=True)
    return Project(
        root=tmp_path,
        lake=tmp_path / "lake",
        landing=tmp_path / "landing",
        dagster_home=tmp_path / "dagster",
        keys=tmp_path / "keys",
    )


def land(project: Project, spec: PipelineSpec, window: Window, times: list[datetime]) -> None:
    rows = pa.table(
        {"at": [time.astimezone(UTC) for time in times]}, arrow_schema(spec.source.columns)
    )
    pq.write_table(rows, project.landing / "flights" / f"{window}.parquet")


def every_half_hour(window: Window) -> list[datetime]:
    count = (window.end - window.start) // timedelta(minutes=30)
    return [window.start + timedelta(minutes=30 * each) for each in range(count)]


@pytest.mark.parametrize(
    ("window", "key", "rows"),
    [
        ({}, "2013-03-10", 46),
        ({}, "2013-11-03", 50),
        ({"starts_at": "04:00"}, "2013-11-02", 50),
        ({"every": "week", "start": "2013-01-07"}, "2013-10-28", 2 * (7 * 24 + 1)),
        ({"every": "hour"}, "2013-11-03-01:00", 2),
        ({"every": "hour"}, "2013-11-03-01:00-0500", 2),
    ],
)
def test_a_window_holds_exactly_the_rows_of_its_time(
    project: Project, window: dict[str, object], key: str, rows: int
) -> None:
    spec = cut(**window)
    found = spec.window.window(key)
    times = every_half_hour(found)
    land(project, spec, found, [*times, found.end - INSTANT])
    freeze_snapshot(project, spec, found)
    frozen = load_snapshot(project, spec, found)
    assert frozen.record.rows == rows + 1
    assert frozen.rows.column("at").to_pylist() == [*times, found.end - INSTANT]
    for outside in (found.start - INSTANT, found.end):
        land(project, spec, found, [*times, outside])
        with pytest.raises(WindowRefused) as refusal:
            freeze_snapshot(project, spec, found)
        assert [c.name for c in refusal.value.checks if not c.passed] == ["in_window"]


def test_the_passes_of_an_hour_that_comes_twice_are_kept_apart(project: Project) -> None:
    spec = cut(every="hour")
    passes = spec.window.between("2013-11-03-01:00", "2013-11-03-01:00-0500")
    for window in passes:
        land(project, spec, window, [window.start + timedelta(minutes=40)])
        freeze_snapshot(project, spec, window)
    assert snapshot_table(project, spec).row_counts() == {window.key: 1 for window in passes}
    first, second = (load_snapshot(project, spec, window) for window in passes)
    assert first.path != second.path
    assert first.rows.column("at")[0].as_py() == datetime(2013, 11, 3, 5, 40, tzinfo=UTC)
    assert second.rows.column("at")[0].as_py() == datetime(2013, 11, 3, 6, 40, tzinfo=UTC)


def test_an_hour_is_held_against_the_same_hour_of_earlier_days(project: Project) -> None:
    volume: dict[str, object] = {"windows": 2, "min_windows": 2}
    spec = cut(every="hour", volume={**volume, "alike": "hour"})
    counts = {
        "2013-07-01-17:00": 30,
        "2013-07-02-17:00": 40,
        "2013-07-03-17:00": 50,
        "2013-07-04-15:00": 1,
        "2013-07-04-16:00": 2,
    }
    for key, count in counts.items():
        window = spec.window.window(key)
        land(project, spec, window, [window.start + timedelta(minutes=n) for n in range(count)])
        freeze_snapshot(project, cut(every="hour"), window)
    now = spec.window.window("2013-07-04-17:00")
    assert rows_before(project, spec, now) == [40, 50]
    assert rows_before(project, cut(every="hour", volume=volume), now) == [1, 2]
    land(project, spec, now, [now.start])
    with pytest.raises(WindowRefused) as refusal:
        freeze_snapshot(project, spec, now)
    assert [c.name for c in refusal.value.checks if not c.passed] == ["volume"]
