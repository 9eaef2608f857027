"""Point in time: what is not known yet is not in a view."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import LandedFileMissing, LandedFileUnreadable, WindowRefused
from batchinf_assets.features.views import Views, build_views
from batchinf_assets.snapshots.freeze import landing_of, load_snapshot
from batchinf_assets.spec.pipeline import PipelineSpec

if TYPE_CHECKING:
    from batchinf_assets_tests.features.conftest import Upstream

START = datetime(2013, 7, 2, 4, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
DEPARTURE = START + timedelta(hours=10)
LAG, MAX_AGE = timedelta(hours=1), timedelta(hours=3)


def views(upstream: Upstream, spec: PipelineSpec | None = None) -> Views:
    spec = spec or upstream.pipeline.spec
    rows = load_snapshot(upstream.project, upstream.pipeline.spec, upstream.window).rows
    return build_views(landing_of(upstream.project), spec, upstream.window, rows)


def outcome(recorded: datetime | None, delay: float = 77.0) -> tuple[object, ...]:
    return (START - timedelta(days=1), "UA", 1, "JFK", "BOS", delay, recorded)


def visible_delays(upstream: Upstream) -> list[float]:
    return views(upstream).tables["outcomes"]["arrival_delay"].to_pylist()


def temperature(upstream: Upstream) -> object:
    """The temperature that the flight leaving JFK at `DEPARTURE` sees; 'no row' without one."""
    rows = views(upstream).tables["weather"].to_pylist()
    return next((row["temperature"] for row in rows if row["flight"] == 1), "no row")


def test_sql_sees_the_snapshot_the_references_and_the_outcomes(upstream: Upstream) -> None:
    found = views(upstream)
    assert sorted(found.tables) == ["outcomes", "planes", "snapshot", "weather"]
    assert found.tables["snapshot"].num_rows == 4


@pytest.mark.parametrize(
    ("recorded", "visible"),
    [
        (START - timedelta(days=1), True),
        (START - INSTANT, True),
        (START, False),
        (START + INSTANT, False),
        (START + timedelta(days=1), False),
    ],
)
def test_an_outcome_is_visible_if_it_was_known_before_the_window_began(
    upstream: Upstream, recorded: datetime, visible: bool
) -> None:
    upstream.outcomes("2013-06-30")
    upstream.outcomes("2013-07-01", outcome(recorded))
    assert visible_delays(upstream) == ([77.0] if visible else [])


def test_an_outcome_that_nobody_knows_the_time_of_is_refused(upstream: Upstream) -> None:
    columns = {
        "scheduled_departure": pa.array([DEPARTURE], pa.timestamp("us", tz="UTC")),
        "carrier": ["UA"],
        "flight": pa.array([1], pa.int32()),
        "origin": ["JFK"],
        "destination": ["BOS"],
        "arrival_delay": [77.0],
        "recorded_at": pa.array([None], pa.timestamp("us", tz="UTC")),
    }
    upstream.outcomes("2013-06-30")
    pq.write_table(pa.table(columns), upstream.project.landing / "outcomes/2013-07-01.parquet")
    with pytest.raises(WindowRefused, match="column recorded_at: expected not null, found 1 null"):
        visible_delays(upstream)


@pytest.mark.parametrize("day", ["2013-07-02", "2013-07-03", "2013-06-03"])
def test_outcomes_of_the_window_itself_of_later_and_of_too_early_ones_are_not_visible(
    upstream: Upstream, day: str
) -> None:
    # All claim to have been known long before: the file they lie in decides.
    before = visible_delays(upstream)
    upstream.outcomes(day, outcome(START - timedelta(days=9)))
    assert visible_delays(upstream) == before
    assert 77.0 not in before


def test_the_declared_history_reaches_its_first_day(upstream: Upstream) -> None:
    # 28 windows before 2 July begin on 4 June.
    upstream.outcomes("2013-06-04", outcome(START - timedelta(days=9)))
    assert 77.0 in visible_delays(upstream)


def test_outcome_files_that_have_not_landed_are_named(upstream: Upstream) -> None:
    found = views(upstream)
    assert len(found.absent) == 26
    assert found.absent[0] == "outcomes/2013-06-04.parquet"
    assert "outcomes/2013-06-30.parquet" not in found.absent


def test_without_any_outcome_file_the_view_is_empty_with_its_columns(upstream: Upstream) -> None:
    for path in (upstream.project.landing / "outcomes").iterdir():
        path.unlink()
    found = views(upstream).tables["outcomes"]
    assert (found.num_rows, "arrival_delay" in found.column_names) == (0, True)


def test_every_file_behind_a_view_is_on_record(upstream: Upstream) -> None:
    assert [record.path for record in views(upstream).files] == [
        "planes.parquet",
        "weather.parquet",
        "outcomes/2013-06-30.parquet",
        "outcomes/2013-07-01.parquet",
    ]


@pytest.mark.parametrize(
    ("observed", "seen"),
    [
        (DEPARTURE, "no row"),
        (DEPARTURE - LAG + INSTANT, "no row"),
        (DEPARTURE - LAG, 42.0),
        (DEPARTURE - MAX_AGE, 42.0),
        (DEPARTURE - MAX_AGE - INSTANT, "no row"),
        (DEPARTURE + timedelta(days=1), "no row"),
    ],
)
def test_weather_is_visible_from_its_lag_to_its_age(
    upstream: Upstream, observed: datetime, seen: object
) -> None:
    upstream.weather(("JFK", observed, 42.0))
    assert temperature(upstream) == seen


def test_of_several_observations_the_last_one_known_is_visible(upstream: Upstream) -> None:
    upstream.weather(
        ("JFK", DEPARTURE - LAG - timedelta(minutes=30), 1.0),
        ("JFK", DEPARTURE - LAG - timedelta(minutes=10), 2.0),
        ("JFK", DEPARTURE - LAG - timedelta(minutes=20), 3.0),
        ("JFK", DEPARTURE - LAG + timedelta(minutes=10), 4.0),
    )
    assert temperature(upstream) == 2.0


def test_an_observation_without_a_figure_is_not_filled_from_an_older_one(
    upstream: Upstream,
) -> None:
    upstream.weather(
        ("JFK", DEPARTURE - LAG, None), ("JFK", DEPARTURE - LAG - timedelta(minutes=1), 1.0)
    )
    assert temperature(upstream) is None


def test_an_observation_of_another_place_is_not_visible(upstream: Upstream) -> None:
    upstream.weather(("EWR", DEPARTURE - LAG, 42.0))
    assert temperature(upstream) == "no row"


def test_a_row_sees_one_observation_under_its_own_key(upstream: Upstream) -> None:
    found = views(upstream).tables["weather"]
    assert found.column_names[:3] == list(upstream.pipeline.spec.source.key)
    # By hand: JFK at 14:00 sees 13:00, EWR at 15:00 sees 12:00 three hours before; LGA at 16:00
    # has only an observation a microsecond too old, JFK at 17:00 one of four hours before.
    assert {row["flight"]: row["temperature"] for row in found.to_pylist()} == {1: 71.0, 2: 60.0}


def test_without_a_greatest_age_the_oldest_observation_counts(upstream: Upstream) -> None:
    spec = upstream.pipeline.spec
    weather = spec.references["weather"]
    assert weather.as_of is not None
    ageless = weather.model_copy(
        update={"as_of": weather.as_of.model_copy(update={"max_age": None})}
    )
    changed = spec.model_copy(update={"references": {**spec.references, "weather": ageless}})
    found = views(upstream, changed).tables["weather"].to_pylist()
    assert {row["flight"]: row["temperature"] for row in found} == {
        1: 71.0,
        2: 60.0,
        3: 99.0,
        4: 50.0,
    }


def test_a_reference_without_time_is_seen_whole(upstream: Upstream) -> None:
    assert views(upstream).tables["planes"].to_pylist() == [
        {"tail_number": "N1", "manufactured": 1999},
        {"tail_number": "N2", "manufactured": None},
    ]


def test_columns_that_are_not_declared_are_not_visible(upstream: Upstream) -> None:
    path = upstream.project.landing / "planes.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.append_column("crashed", pa.array([True, False])), path)
    assert views(upstream).tables["planes"].column_names == ["tail_number", "manufactured"]


def test_a_reference_that_has_not_landed_is_named(upstream: Upstream) -> None:
    (upstream.project.landing / "weather.parquet").unlink()
    with pytest.raises(LandedFileMissing, match=r"weather\.parquet has not landed"):
        views(upstream)


def test_a_half_written_outcome_file_is_no_absent_one(upstream: Upstream) -> None:
    path = upstream.project.landing / "outcomes/2013-07-01.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(LandedFileUnreadable, match=r"outcomes/2013-07-01\.parquet"):
        views(upstream)


@pytest.mark.parametrize(
    ("name", "column"),
    [("weather.parquet", "observed_at"), ("outcomes/2013-06-30.parquet", "recorded_at")],
)
def test_a_file_that_lacks_a_declared_column_is_refused(
    upstream: Upstream, name: str, column: str
) -> None:
    path: Path = upstream.project.landing / name
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(WindowRefused) as refusal:
        views(upstream)
    assert name in refusal.value.message
    assert f"column {column}: expected " in refusal.value.message
