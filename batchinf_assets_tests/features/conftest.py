"""A world of ten rows, small enough to work out every feature by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.project import Project
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.spec.contract import ColumnSpec
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

START = datetime(2013, 7, 2, 4, tzinfo=UTC)  # midnight in New York
INSTANT = timedelta(microseconds=1)
EARLIER = START - timedelta(hours=1)


@dataclass(frozen=True)
class Upstream:
    """Drops files for the window 2013-07-02; an earlier drop of the same name is replaced."""

    project: Project
    pipeline: Pipeline

    @property
    def window(self) -> Window:
        return self.pipeline.spec.window.window("2013-07-02")

    def flights(
        self, *rows: tuple[datetime, str, int, str | None, str, str, int, int, int]
    ) -> None:
        """As (departure, carrier, flight, tail, origin, destination, miles, local times)."""
        self._drop(f"flights/{self.window}.parquet", self.pipeline.spec.source.columns, rows)

    def outcomes(
        self, day: str, *rows: tuple[datetime, str, int, str, str, float | None, datetime]
    ) -> None:
        """As (departure, carrier, flight, origin, destination, delay, recorded)."""
        declared = self.pipeline.spec.outcomes
        assert declared is not None
        self._drop(f"outcomes/{day}.parquet", declared.columns, rows)

    def weather(self, *rows: tuple[str, datetime, float | None]) -> None:
        """As (origin, observed, temperature); other figures are missing."""
        columns = self.pipeline.spec.references["weather"].columns
        self._drop("weather.parquet", columns, [(*row, None, None, None, None) for row in rows])

    def planes(self, *rows: tuple[str, int | None]) -> None:
        """As (tail, year)."""
        self._drop("planes.parquet", self.pipeline.spec.references["planes"].columns, rows)

    def _drop(
        self, name: str, columns: Mapping[str, ColumnSpec], rows: Sequence[tuple[object, ...]]
    ) -> None:
        path = self.project.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        records = [dict(zip(columns, row, strict=True)) for row in rows]
        pq.write_table(pa.Table.from_pylist(records, schema=arrow_schema(columns)), path)


@pytest.fixture
def upstream(tmp_path: Path, pipeline: Pipeline) -> Upstream:
    """Ten outcomes of two days, four flights of the next, weather, planes; the flights frozen."""
    project = Project(
        root=tmp_path,
        lake=tmp_path / "lake",
        landing=tmp_path / "landing",
        dagster_home=tmp_path / "dagster",
        keys=tmp_path / "keys",
    )
    made = Upstream(project, pipeline)
    ten, noon = START + timedelta(hours=10), START + timedelta(hours=8)
    made.flights(
        (ten, "UA", 1, "N1", "JFK", "BOS", 187, 1000, 1130),
        (ten + timedelta(hours=1), "AA", 2, "N2", "EWR", "ATL", 746, 1100, 1359),
        (ten + timedelta(hours=2), "DL", 4, "N9", "LGA", "SFO", 2586, 1200, 2400),
        (ten + timedelta(hours=3), "B6", 3, None, "JFK", "SFO", 2586, 1301, 5),
    )
    past = START - timedelta(days=2)
    made.outcomes(
        "2013-06-30",
        (past, "UA", 1, "JFK", "BOS", 20.0, EARLIER),
        (past, "UA", 5, "JFK", "BOS", 0.0, EARLIER),
        (past, "UA", 6, "EWR", "ATL", None, EARLIER),
        (past, "AA", 2, "JFK", "BOS", 15.0, EARLIER),
        (past, "AA", 7, "LGA", "SFO", 14.0, EARLIER),
    )
    yesterday = START - timedelta(hours=9)
    made.outcomes(
        "2013-07-01",
        (yesterday, "UA", 1, "JFK", "BOS", 30.0, EARLIER),
        (yesterday, "UA", 6, "EWR", "ATL", -5.0, START - INSTANT),
        (yesterday, "DL", 4, "LGA", "SFO", 100.0, EARLIER),
        (yesterday, "AA", 2, "JFK", "BOS", 0.0, START),
        (yesterday, "UA", 5, "JFK", "BOS", 500.0, START + INSTANT),
    )
    made.weather(
        ("JFK", noon, 70.0),
        ("JFK", noon + timedelta(hours=1), 71.0),
        ("JFK", noon + timedelta(hours=1) + INSTANT, 99.0),
        ("EWR", noon, 60.0),
        ("LGA", noon + timedelta(hours=1) - INSTANT, 50.0),
    )
    made.planes(("N1", 1999), ("N2", None))
    freeze_snapshot(project, pipeline.spec, made.window)
    return made
