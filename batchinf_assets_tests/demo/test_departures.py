"""Departures landed by the hour, against the flights landed by the day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import BatchinfError
from batchinf_assets_tests.conftest import World
from batchinf_demo.departures import land_departures

CHANGE = date(2013, 11, 3)
"""A day of 25 hours."""


def read(folder: Path, kind: str, hour: str) -> pa.Table:
    return pq.read_table(folder / kind / f"{hour}.parquet")


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landing")
    summary = land_departures(folder, first=CHANGE - timedelta(days=1), last=CHANGE)
    assert (summary.days, summary.files_written) == (2, 1 + 2 * (24 + 25))
    return folder


def test_every_hour_has_a_file_and_every_flight_is_in_the_one_of_its_hour(
    landed: Path, world: World
) -> None:
    day = pq.read_table(world.landing / "flights" / f"{CHANGE}.parquet")
    names = sorted(path.stem for path in (landed / "departures").glob(f"{CHANGE}-*"))
    assert len(names) == 25
    assert "2013-11-03-01:00-0500" in names
    hours = [read(landed, "departures", name) for name in names]
    assert pa.concat_tables(hours).equals(day.select(hours[0].column_names))
    first = datetime(2013, 11, 3, 4, tzinfo=UTC)
    for place, rows in enumerate(hours):
        began = first + timedelta(hours=place)
        times = rows.column("scheduled_departure").to_pylist()
        assert all(began <= time < began + timedelta(hours=1) for time in times)


def test_an_hour_without_departures_is_a_file_without_rows(landed: Path) -> None:
    for kind in ("departures", "departure_outcomes"):
        assert read(landed, kind, "2013-11-03-03:00").num_rows == 0
        assert read(landed, kind, "2013-11-03-06:00").num_rows == 41


def test_an_outcome_is_recorded_when_the_flight_left(landed: Path) -> None:
    rows = read(landed, "departure_outcomes", "2013-11-02-18:00")
    assert rows.select(["scheduled_departure", "carrier", "flight"]).equals(
        read(landed, "departures", "2013-11-02-18:00").select(
            ["scheduled_departure", "carrier", "flight"]
        )
    )
    left = pc.coalesce(rows["departure_delay"], 6 * 60.0)
    expected = [
        scheduled + timedelta(minutes=delay)
        for scheduled, delay in zip(
            rows["scheduled_departure"].to_pylist(), left.to_pylist(), strict=True
        )
    ]
    assert rows["recorded_at"].to_pylist() == expected


def test_the_same_hours_again_change_no_file(landed: Path) -> None:
    again = land_departures(landed, first=CHANGE, last=CHANGE)
    assert (again.files_written, again.files_unchanged) == (0, 1 + 2 * 25)


def test_only_one_kind_may_be_dropped(tmp_path: Path) -> None:
    land_departures(tmp_path, first=CHANGE, last=CHANGE, outcomes=False)
    assert not (tmp_path / "departure_outcomes").exists()
    summary = land_departures(tmp_path / "other", first=CHANGE, last=CHANGE, flights=False)
    assert not (tmp_path / "other" / "departures").exists()
    assert (summary.flights, summary.files_written) == (0, 1 + 25)


def test_days_without_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BatchinfError, match="no flights from 2014-01-01"):
        land_departures(tmp_path, first=date(2014, 1, 1), last=date(2014, 1, 2))
