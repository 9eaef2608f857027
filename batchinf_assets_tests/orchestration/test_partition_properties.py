"""Windows of any grid in any zone are Dagster's partitions: the same keys for the same instants."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import dagster as dg
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from batchinf_assets.orchestration.partitions import partitions_of
from batchinf_assets.windows import Window, WindowSpec

ZONES = (
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",  # half an hour of summer time
    "Asia/Kathmandu",  # a quarter of an hour from all others
    "America/St_Johns",  # changed clocks at a minute past midnight
    "America/Sao_Paulo",  # had days that began at one o'clock
    "America/Havana",  # has days with two midnights
    "Antarctica/Troll",  # two hours of summer time
    "Africa/Casablanca",  # summer time but for a month that moves
    "Pacific/Apia",  # had no 2011-12-30
)
LENGTHS = {"hour": 4, "day": 30, "week": 120, "month": 400}
"""Days of a grid: few enough partitions to look at each."""

AFTER_ALL = datetime(2040, 1, 1, tzinfo=UTC)


@st.composite
def grids(draw: st.DrawFn) -> WindowSpec:
    """Draw a grid; those that the declaration refuses are not drawn."""
    every = draw(st.sampled_from(sorted(LENGTHS)))
    zone = draw(st.sampled_from(ZONES))
    start = draw(st.dates(date(1999, 1, 1), date(2035, 1, 1)))
    changes = _changes_of(zone, start)
    if changes and draw(st.booleans()):  # else few grids would see a change of the clock
        start = draw(st.sampled_from(changes)) - timedelta(days=draw(st.integers(0, 3)))
    minute = draw(st.integers(0, 59))
    hour = 0 if every == "hour" else draw(st.integers(0, 23))
    days = draw(st.integers(1, LENGTHS[every]))
    declared = {
        "every": every,
        "start": start if every != "month" else start.replace(day=min(start.day, 28)),
        "end": start + timedelta(days=days),
        "timezone": zone,
        "starts_at": draw(st.sampled_from(["00:00", f"{hour:02}:{minute:02}"])),
    }
    try:
        return WindowSpec.model_validate(declared)
    except ValidationError:
        assume(False)
        raise


def _changes_of(zone: str, since: date) -> list[date]:
    """Return the days of the year after a date at whose end the offset is not that of before."""
    known = ZoneInfo(zone)
    noons = [
        datetime(since.year, since.month, since.day, 12, tzinfo=UTC) + timedelta(days=each)
        for each in range(366)
    ]
    offsets = [(noon.date(), noon.astimezone(known).utcoffset()) for noon in noons]
    return [day for (_, before), (day, after) in pairwise(offsets) if before != after]


def hours(zone: str, start: date, end: date, starts_at: str = "00:00") -> WindowSpec:
    return WindowSpec.model_validate(
        {"every": "hour", "start": start, "end": end, "timezone": zone, "starts_at": starts_at}
    )


def windows_of(grid: WindowSpec) -> list[Window]:
    assert grid.end is not None
    return grid.starting_in(grid.start, grid.end)


@given(grid=grids())
@example(grid=hours("America/New_York", date(2013, 11, 3), date(2013, 11, 4)))
@example(grid=hours("America/New_York", date(2013, 3, 10), date(2013, 3, 11), "00:15"))
@example(grid=hours("Europe/London", date(2013, 10, 27), date(2013, 10, 28)))
@example(grid=hours("America/Sao_Paulo", date(2013, 10, 20), date(2013, 10, 21)))
@example(grid=hours("Pacific/Apia", date(2011, 12, 29), date(2012, 1, 1)))
@example(grid=WindowSpec(start=date(2011, 12, 31), end=date(2012, 1, 3), timezone="Pacific/Apia"))
@settings(max_examples=300, suppress_health_check=[HealthCheck.filter_too_much])
def test_windows_are_the_partitions_with_the_same_keys(grid: WindowSpec) -> None:
    partitions = partitions_of(grid)
    found = windows_of(grid)
    with dg.partition_loading_context(AFTER_ALL):
        keys = partitions.get_partition_keys()
        assert [window.key for window in found] == list(keys)
        assert all(partitions.has_partition_key(key) for key in keys)
        assert partitions.get_num_partitions() == len(keys)
    for window in found:
        theirs = partitions.time_window_for_partition_key(window.key)
        bounds = (theirs.start.timestamp(), theirs.end.timestamp())
        assert (window.start.timestamp(), window.end.timestamp()) == bounds, window.key
        assert grid.window(window.key) == window


@given(grid=grids())
@example(grid=hours("Europe/London", date(2013, 10, 27), date(2013, 10, 28)))
@settings(max_examples=200, suppress_health_check=[HealthCheck.filter_too_much])
def test_windows_tile_time_and_their_names_sort_as_they_follow(grid: WindowSpec) -> None:
    found = windows_of(grid)
    assert all(one.end.timestamp() == other.start.timestamp() for one, other in pairwise(found))
    assert all(window.start < window.end for window in found)
    assert found == sorted(found)
    names = [window.folder_name for window in found]
    assert names == sorted(set(names))
    assert not any(set(name) - set("0123456789-+") for name in names)


@given(grid=grids(), place=st.integers(0, 400), count=st.integers(0, 30))
@settings(max_examples=200, suppress_health_check=[HealthCheck.filter_too_much])
def test_every_window_has_the_ones_before_it_before_it(
    grid: WindowSpec, place: int, count: int
) -> None:
    found = windows_of(grid)
    place %= len(found)
    assert grid.before(found[place], count) == found[max(place - count, 0) : place]
    first, last = found[0].key, found[place].key
    assert grid.between(first, last) == found[: place + 1]
    named = partitions_of(grid).get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
    assert list(named) == [window.key for window in found[: place + 1]]
    for day in {window.start.date() for window in found[: place + 1]}:
        assert grid.starting_on(day) == [each for each in found if each.start.date() == day]


@given(grid=grids(), seconds=st.integers(0, 3 * 86_400))
@settings(max_examples=100, suppress_health_check=[HealthCheck.filter_too_much])
def test_the_newest_partition_is_the_last_window_that_is_due(
    grid: WindowSpec, seconds: int
) -> None:
    found = windows_of(grid)
    now = found[0].start + timedelta(seconds=seconds)
    for due in ("start", "end"):
        with dg.partition_loading_context(now.astimezone(UTC)):
            newest = partitions_of(grid.model_copy(update={"due": due})).get_last_partition_key()
        over = [each.key for each in found if getattr(each, due) <= now]
        assert newest == (over[-1] if over else None)
