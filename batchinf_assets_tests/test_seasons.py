"""Which earlier windows are like a window."""

from __future__ import annotations

from datetime import date

import pytest

from batchinf_assets.seasons import Season, require_season, windows_alike
from batchinf_assets.windows import Every, Window, WindowSpec

HOURS = WindowSpec(every="hour", start=date(2013, 10, 20), timezone="America/New_York")


def alike(season: Season, key: str, count: int = 1_000) -> list[str]:
    return [each.key for each in windows_alike(HOURS, season, HOURS.window(key), count)]


def test_an_hour_is_like_that_hour_of_every_day_before() -> None:
    assert alike("hour", "2013-10-23-17:00") == [
        "2013-10-20-17:00",
        "2013-10-21-17:00",
        "2013-10-22-17:00",
    ]


def test_an_hour_of_the_week_is_like_that_hour_of_every_week_before() -> None:
    assert alike("hour_of_week", "2013-11-03-17:00") == ["2013-10-20-17:00", "2013-10-27-17:00"]


def test_both_passes_of_an_hour_that_comes_twice_are_like_it() -> None:
    passes = ["2013-11-03-01:00", "2013-11-03-01:00-0500"]
    assert alike("hour", "2013-11-04-01:00")[-2:] == passes
    assert alike("hour", "2013-11-03-01:00-0500")[-1] == "2013-11-03-01:00"
    assert alike("hour", "2013-11-03-01:00")[-1] == "2013-11-02-01:00"


def test_a_day_without_the_hour_has_none_that_is_like_it() -> None:
    spring = WindowSpec(every="hour", start=date(2013, 3, 9), timezone="America/New_York")
    found = windows_alike(spring, "hour", spring.window("2013-03-11-02:00"), 10)
    assert [each.key for each in found] == ["2013-03-09-02:00"]


def test_the_newest_count() -> None:
    assert alike("hour", "2013-11-03-17:00", 2) == ["2013-11-01-17:00", "2013-11-02-17:00"]
    assert alike("hour", "2013-11-03-17:00", 0) == []


@pytest.mark.parametrize("season", ["hour", "weekday", "hour_of_week", "month"])
@pytest.mark.parametrize("key", ["2013-11-30-17:00", "2013-12-02-01:00"])
def test_they_are_what_a_look_at_every_earlier_hour_finds(season: Season, key: str) -> None:
    window = HOURS.window(key)

    def group(each: Window) -> tuple[int, ...]:
        return {
            "hour": (each.start.hour,),
            "weekday": (each.start.weekday(),),
            "hour_of_week": (each.start.weekday(), each.start.hour),
            "month": (each.start.month,),
        }[season]

    earlier = HOURS.before(window, 10_000)
    assert alike(season, key) == [e.key for e in earlier if group(e) == group(window)][-1_000:]


@pytest.mark.parametrize("every", ["day", "week", "month"])
@pytest.mark.parametrize("season", ["hour", "hour_of_week"])
def test_windows_that_are_no_hours_have_no_hour_in_common(every: Every, season: Season) -> None:
    grid = WindowSpec(every=every, start=date(2013, 9, 1))
    with pytest.raises(ValueError, match=rf"drift.season: {season} is for hourly windows"):
        require_season(season, grid, "drift.season")


@pytest.mark.parametrize("season", ["hour", "weekday", "hour_of_week", "month", None])
def test_hours_may_have_any_season(season: Season | None) -> None:
    require_season(season, HOURS, "drift.season")
