"""Where a local time lies on the one line of instants, also around changes of the clock.

Dagster cuts time by cron and decides by its own rules what a local time means that comes twice or
never; what stands here decides likewise, or two parts of a platform would mean two windows by one
key. Cutting time into windows is for `windows`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

FORESEEN = date(2038, 1, 1)
"""How far changes of clocks are looked at: time zone files list them until 2037."""

_ADJUSTED_HOURS = (1, 2, 3)
"""Hours in which Dagster looks for changes of the clock (`DAYLIGHT_SAVINGS_HOURS` there)."""


def instant_of(naive: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant at which Dagster's daily, weekly and monthly crons fire, in UTC.

    From 1:00 to 3:59, of a time that comes twice the second counts, and a time that is skipped
    counts as the time after the gap. At other hours the first counts, and a skipped time is as
    long after the change as it would have been.
    """
    local = naive.replace(tzinfo=zone)
    if naive.hour not in _ADJUSTED_HOURS:
        return local.astimezone(UTC)
    if _exists(naive, zone):
        return local.replace(fold=1).astimezone(UTC)
    saved = zone.dst(local + HOUR) or timedelta(0)
    # The fold is Dagster's: a gap that is no summer time leads before itself there. Nobody can
    # want that, so `windows` refuses such grids.
    return (local.replace(minute=0) + saved).replace(fold=1).astimezone(UTC)


def on_the_clock(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return an instant as the zone's clocks show it, with the offset of that moment.

    Python compares and subtracts two times of one zone by their hands alone, so that an hour which
    comes twice would count once; times with plain offsets compare as the instants that they are.
    """
    local = instant.astimezone(zone)
    offset = local.utcoffset() or timedelta(0)
    return local.replace(tzinfo=timezone(offset), fold=0)


def comes_again(instant: datetime, zone: ZoneInfo) -> bool:
    """Say whether the clocks show this local time for the second time."""
    return instant.astimezone(zone).fold == 1


def days_around_changes(zone: str, since: date) -> Iterator[date]:
    """Yield the days since one on which a zone's clocks may have changed, and some beside them."""
    offsets = _weekly_offsets(zone)
    for (week, before), (_, after) in pairwise(offsets):
        if after != before:
            days = (week + each * DAY for each in range(-1, 9))
            yield from (day for day in days if day >= since)


def keeps_its_minutes(zone: str, since: date) -> bool:
    """Say whether a zone's clocks, since a day, only ever change by whole hours.

    Where they do not, such as on Lord Howe Island, hours that follow one another start at the full
    hour in one half of the year and at the half hour in the other.
    """
    offsets = [offset for week, offset in _weekly_offsets(zone) if week > since - 7 * DAY]
    return len({offset % HOUR for offset in offsets}) <= 1


def goes_back_by_an_hour_at_most(zone: str, since: date) -> bool:
    """Say whether a zone's clocks, since a day, never show more than one hour for a second time.

    Of two hours shown again, the first would be named like the one shown last, and sort before it.
    """
    offsets = [offset for week, offset in _weekly_offsets(zone) if week > since - 7 * DAY]
    return all(before - after <= HOUR for before, after in pairwise(offsets))


@cache
def _weekly_offsets(zone: str) -> tuple[tuple[date, timedelta], ...]:
    """Return the offset of each week: clocks are never changed for less than that."""
    known, found = ZoneInfo(zone), list[tuple[date, timedelta]]()
    noon = datetime(1970, 1, 1, 12, tzinfo=UTC)
    while noon.date() < FORESEEN:
        found.append((noon.date(), known.utcoffset(noon.astimezone(known)) or timedelta(0)))
        noon += 7 * DAY
    return tuple(found)


def _exists(naive: datetime, zone: ZoneInfo) -> bool:
    there = naive.replace(tzinfo=zone).astimezone(UTC)
    return there.astimezone(zone).replace(tzinfo=None, fold=0) == naive
