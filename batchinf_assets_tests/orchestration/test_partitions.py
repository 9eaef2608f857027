"""Dagster's partitions are our windows: the same keys, the same instants."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from batchinf_assets.orchestration.partitions import partitions_of
from batchinf_assets.windows import WindowSpec

NEW_YORK = "America/New_York"


def spec(every: str, start: date, end: date | None, timezone: str = NEW_YORK) -> WindowSpec:
    return WindowSpec.model_validate(
        {"every": every, "start": start, "end": end, "timezone": timezone}
    )


GRIDS = {
    "days over both clock changes": spec("day", date(2013, 1, 1), date(2014, 1, 1)),
    "weeks over both clock changes": spec("week", date(2013, 1, 6), date(2014, 1, 5)),
    "months over both clock changes": spec("month", date(2013, 1, 1), date(2015, 1, 1)),
    "days where midnight is skipped": spec(
        "day", date(2013, 10, 1), date(2013, 11, 1), "America/Sao_Paulo"
    ),
    "days where midnight comes twice": spec(
        "day", date(2013, 11, 1), date(2013, 11, 10), "America/Havana"
    ),
    "days with a clock change of half an hour": spec(
        "day", date(2013, 4, 1), date(2013, 10, 31), "Australia/Lord_Howe"
    ),
    "hours in UTC": spec("hour", date(2013, 3, 9), date(2013, 3, 12), "UTC"),
}
COUNTS = {
    "days over both clock changes": 365,
    "weeks over both clock changes": 52,
    "months over both clock changes": 24,
    "hours in UTC": 72,
}


@pytest.mark.parametrize("grid", GRIDS)
def test_keys_and_bounds_are_those_of_the_windows(grid: str) -> None:
    windows, partitions = GRIDS[grid], partitions_of(GRIDS[grid])
    keys = partitions.get_partition_keys()
    ours = windows.between(keys[0], keys[-1])
    assert [window.key for window in ours] == list(keys)
    assert len(keys) == COUNTS.get(grid, len(keys))
    assert ours == windows.starting_in(windows.start, windows.end or date.max)
    for window in ours:
        theirs = partitions.time_window_for_partition_key(window.key)
        bounds = (theirs.start.astimezone(UTC), theirs.end.astimezone(UTC))
        assert (window.start.astimezone(UTC), window.end.astimezone(UTC)) == bounds, window.key


@pytest.mark.parametrize("grid", GRIDS)
def test_both_know_the_same_keys(grid: str) -> None:
    windows, partitions = GRIDS[grid], partitions_of(GRIDS[grid])
    keys = partitions.get_partition_keys()
    last = windows.window(keys[-1])
    after = (last.end + timedelta(hours=1)).strftime(partitions.fmt)
    for key in (keys[0], keys[-1], after, "2012-12-31", "nonsense"):
        assert windows.has(key) == (key in keys), key


def newest(windows: WindowSpec, now: datetime) -> str | None:
    with dg.partition_loading_context(now):
        return partitions_of(windows).get_last_partition_key()


OPEN = spec("day", date(2013, 1, 1), None)
MIDNIGHT = datetime(2013, 7, 4, 4, tzinfo=UTC)  # in New York


def test_a_window_is_due_once_it_is_over() -> None:
    assert newest(OPEN, MIDNIGHT - timedelta(seconds=1)) == "2013-07-02"
    assert newest(OPEN, MIDNIGHT) == "2013-07-03"


def test_a_forecast_is_due_as_soon_as_its_window_begins() -> None:
    forecast = OPEN.model_copy(update={"due": "start"})
    assert newest(forecast, MIDNIGHT - timedelta(seconds=1)) == "2013-07-03"
    assert newest(forecast, MIDNIGHT) == "2013-07-04"


def test_no_window_is_due_before_the_first() -> None:
    assert newest(OPEN, datetime(2012, 12, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("due", ["start", "end"])
def test_the_last_declared_window_stays_the_last(due: str) -> None:
    closed = GRIDS["days over both clock changes"].model_copy(update={"due": due})
    assert newest(closed, datetime(2020, 1, 1, tzinfo=UTC)) == "2013-12-31"


def test_equal_declarations_give_equal_partitions() -> None:
    # Parent and child share a backfill run only if Dagster holds their partitions for the same.
    assert partitions_of(OPEN) == partitions_of(OPEN.model_copy())
    assert partitions_of(OPEN) != partitions_of(OPEN.model_copy(update={"due": "start"}))
