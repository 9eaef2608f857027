"""Which earlier windows are like a window: those that share its hour, its weekday or its month.

What they are compared by is for others: `drift.references` for distributions, the contract's
`volume` for numbers of rows.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import islice
from typing import Literal

from batchinf_assets.windows import Window, WindowSpec

Season = Literal["hour", "weekday", "hour_of_week", "month"]
"""What windows share by the local clock at their start: the hour of the day, the day of the week,
both of them, or the month of the year."""


def require_season(season: Season | None, grid: WindowSpec, where: str) -> None:
    """Refuse a season that all windows of a grid share, so that it would tell none apart.

    Raises:
        ValueError: The season is about hours, and windows are not hours.
    """
    if season in ("hour", "hour_of_week") and grid.every != "hour":
        raise ValueError(f"{where}: {season} is for hourly windows, these run every {grid.every}")


def windows_alike(grid: WindowSpec, season: Season, window: Window, count: int) -> list[Window]:
    """Return up to `count` declared windows before a window that share its season, the newest.

    In order. Of an hour that comes twice on a day both are alike, and a skipped one is left out.
    """
    alike = (
        each
        for day in _days(grid, season, window.start.date())
        for each in reversed(grid.starting_on(day))
        if each.start < window.start and _same_hour(season, each, window)
    )
    return list(islice(alike, count))[::-1]


def _same_hour(season: Season, one: Window, other: Window) -> bool:
    return season in ("weekday", "month") or one.start.hour == other.start.hour


def _days(grid: WindowSpec, season: Season, day: date) -> Iterator[date]:
    """Yield a day and the declared ones before it that share its season, newest first."""
    first = grid.start
    if season == "month":
        yield from _days_of_month(first, day)
        return
    step = 1 if season == "hour" else 7
    for each in range((day - first).days // step + 1):
        yield day - timedelta(days=each * step)


def _days_of_month(first: date, last: date) -> Iterator[date]:
    for year in range(last.year, first.year - 1, -1):
        longest = calendar.monthrange(year, last.month)[1]
        days = (date(year, last.month, each) for each in range(longest, 0, -1))
        yield from (each for each in days if first <= each <= last)
