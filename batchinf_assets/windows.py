"""Windows: the batch intervals of a pipeline, named exactly as Dagster names its partitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, time
from itertools import takewhile
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from batchinf_assets.clock_changes import (
    DAY,
    HOUR,
    comes_again,
    days_around_changes,
    goes_back_by_an_hour_at_most,
    instant_of,
    keeps_its_minutes,
    on_the_clock,
)
from batchinf_assets.errors import UnknownWindow

Every = Literal["hour", "day", "week", "month"]

KEY_FORMATS: dict[Every, str] = {
    "hour": "%Y-%m-%d-%H:%M",
    "day": "%Y-%m-%d",
    "week": "%Y-%m-%d",
    "month": "%Y-%m-%d",
}

LAST_DAY_OF_EVERY_MONTH = 28


@dataclass(frozen=True, kw_only=True, order=True)
class Window:
    """One batch interval.

    Attributes:
        start: First instant inside, with the offset of the pipeline's time zone at that moment.
        end: First instant after, likewise.
        key: The partition key, such as `2013-07-01`; an hour that the clocks show for the second
            time carries its offset, such as `2013-11-03-01:00-0500`.
    """

    start: datetime
    end: datetime
    key: str

    def __str__(self) -> str:
        return self.key

    @property
    def folder_name(self) -> str:
        """What folders and files of this window are called."""
        return folder_name_of(self.key)


def folder_name_of(key: str) -> str:
    """Return what folders and files of the window with this key are called: it, without a colon."""
    return key.replace(":", "")


class WindowSpec(BaseModel):
    """How a pipeline cuts time into windows.

    Days, weeks and months follow the clock on the wall and are as long as it makes them; hours last
    an hour each. A key tells the local start: the date, or for hours the date and the time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: Every = "day"
    start: date = Field(
        description="First window. Weeks start on its weekday, months on its day of the month."
    )
    end: date | None = Field(
        default=None, description="No window starts on this day or later; open if absent."
    )
    timezone: str = "UTC"
    starts_at: str = Field(
        default="00:00",
        pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
        description="Local time at which windows start; of hours the minute counts, as in 00:15.",
    )
    due: Literal["start", "end"] = Field(
        default="end", description="Scored when the window starts (a forecast) or when it is over."
    )

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"unknown time zone {value!r}") from error
        return value

    @model_validator(mode="after")
    def _has_windows(self) -> WindowSpec:
        if self.end is not None and self.end <= self.start:
            raise ValueError("window.end must be after window.start")
        if self.every == "month" and self.start.day > LAST_DAY_OF_EVERY_MONTH:
            raise ValueError("monthly windows start on a day that every month has: 1 to 28")
        if self.every == "hour" and self.clock_time.hour:
            raise ValueError("hourly windows start every hour: starts_at is a minute, as in 00:15")
        return self

    @model_validator(mode="after")
    def _is_cut_by_dagster_alike(self) -> WindowSpec:
        if self.every == "hour":
            if not keeps_its_minutes(self.timezone, self.start):
                raise ValueError(
                    f"clocks of {self.timezone} do not change by whole hours: hourly windows need "
                    "another time zone, such as UTC"
                )
            if not goes_back_by_an_hour_at_most(self.timezone, self.start):
                raise ValueError(
                    f"clocks of {self.timezone} go back by more than an hour, so hours would not "
                    "follow one another by name: hourly windows need another time zone, such as UTC"
                )
            return self
        for day in days_around_changes(self.timezone, self.start):
            declared = datetime.combine(day, self.clock_time)
            if self._is_declared(declared) and not self._starts_when_declared(declared):
                raise ValueError(
                    f"clocks of {self.timezone} skip {day} {self.starts_at} in a way that leaves "
                    "no window to start then: declare another start, starts_at or timezone"
                )
        return self

    def _starts_when_declared(self, local: datetime) -> bool:
        shown = self._shown(local).replace(tzinfo=None)
        return shown.date() == local.date() and shown >= local

    @property
    def clock_time(self) -> time:
        """When windows start, by the local clock; of hours the minute counts."""
        return time.fromisoformat(self.starts_at)

    @property
    def first_start(self) -> datetime:
        """When the first window starts."""
        return self._shown(self._first_tick(self.start))

    @property
    def last_end(self) -> datetime | None:
        """When the last window ends, which is `end` or up to a window's length after it."""
        if self.end is None:
            return None
        return self._shown(self._first_tick(self.end))

    def window(self, key: str) -> Window:
        """Return the window with this key.

        Raises:
            UnknownWindow: The key is no date, off the grid, or outside the declared range.
        """
        named = self._time_in(key)
        if named is None:
            raise UnknownWindow(
                f"'{key[:40]}' is not a window.",
                next_step=f"Windows look like {self._window(self._first_tick(self.start)).key}.",
            )
        found = self._window(self._tick(named)) if self._is_declared(named) else None
        if found is None or found.key != key:  # of hours, only the second of two has an offset
            raise UnknownWindow(
                f"Window {key} is not one of this pipeline's.",
                next_step=f"Windows run every {self.every} from {self.start} {self.starts_at} "
                f"{self.timezone} to {self.end or 'now'} (end excluded).",
            )
        return found

    def due_at(self, window: Window) -> datetime:
        """Return from when on a window is scored."""
        return window.start if self.due == "start" else window.end

    def require_due(self, windows: Sequence[Window], now: datetime) -> None:
        """Require that windows are over, or have begun where that is when they are scored.

        What landed of one that is not is a part of it, and would be published as the whole.

        Raises:
            UnknownWindow: One of them is not there yet.
        """
        early = next((window for window in windows if self.due_at(window) > now), None)
        if early is None:
            return
        what = "has not begun" if self.due == "start" else "is not over"
        due, clock = self.due_at(early), now.astimezone(early.end.tzinfo)
        raise UnknownWindow(
            f"Window {early} {what}: it is due at {due:%Y-%m-%d %H:%M} "
            f"{self.timezone}, and the clock says {clock:%Y-%m-%d %H:%M}.",
            next_step="Run it then, or set the clock right if it is wrong.",
        )

    def has(self, key: str) -> bool:
        """Say whether a window with this key is declared."""
        try:
            self.window(key)
        except UnknownWindow:
            return False
        return True

    def key_of_folder(self, name: str) -> str:
        """Return the key of the window whose folder has this name; the name where it is no hour."""
        date_and_hour = 13  # characters before the colon of an hour's key
        is_hour = self.every == "hour" and len(name) > date_and_hour
        return f"{name[:date_and_hour]}:{name[date_and_hour:]}" if is_hour else name

    def between(self, first: str, last: str) -> list[Window]:
        """Return the windows from `first` to `last`, both included.

        Raises:
            UnknownWindow: One of the two is unknown, or they stand in the wrong order.
        """
        start, stop = self.window(first), self.window(last)
        if stop.start < start.start:
            raise UnknownWindow(
                f"The range {first} to {last} is empty.", next_step="Name the earlier window first."
            )
        return list(takewhile(lambda window: window.start <= stop.start, self._from(start)))

    def starting_in(self, first: date, end: date) -> list[Window]:
        """Return the windows that start on `first` or later and before `end`, by the local date.

        Raises:
            UnknownWindow: No window starts on `first`.
        """
        start = self._window(self._first_tick(first))
        if start.start.date() != first or not self.has(start.key):
            raise UnknownWindow(
                f"No window starts on {first}.",
                next_step=f"Windows run every {self.every} from {self.start} "
                f"to {self.end or 'now'} (end excluded).",
            )
        return list(takewhile(lambda window: window.start.date() < end, self._from(start)))

    def starting_on(self, day: date) -> list[Window]:
        """Return the windows that start on a local date; none where none does."""
        try:
            return self.starting_in(day, day + DAY)
        except UnknownWindow:
            return []

    def before(self, window: Window, count: int) -> list[Window]:
        """Return up to `count` declared windows that end at or before this one's start."""
        earlier: list[Window] = []
        tick = self._tick(window.start)
        for _ in range(count):
            tick = self._step(tick, -1)
            if not self._is_declared(self._wall(tick)):
                break
            earlier.append(self._window(tick))
        return earlier[::-1]

    def _from(self, window: Window) -> Iterator[Window]:
        tick = self._tick(window.start)
        while self._is_declared(self._wall(tick)):
            yield self._window(tick)
            tick = self._step(tick, 1)

    def _time_in(self, key: str) -> datetime | None:
        """Return the local time that a key spells, naive; with an offset where it has one."""
        form = KEY_FORMATS[self.every]
        for each in (form, f"{form}%z") if self.every == "hour" else (form,):
            try:
                found = datetime.strptime(key, each)  # noqa: DTZ007 - _tick adds the zone
            except ValueError:
                continue
            return found if found.strftime(each) == key else None
        return None

    def _is_declared(self, local: datetime) -> bool:
        on_grid = {
            "hour": local.minute == self.clock_time.minute,
            "day": True,
            "week": local.weekday() == self.start.weekday(),
            "month": local.day == self.start.day,
        }[self.every]
        end = self.end or date(MAXYEAR, 1, 1)  # a later window's own end would be no date
        return on_grid and self.start <= local.date() < end

    # A tick is what windows are counted by: of hours the instant of their start, in UTC, and of
    # other windows the local time that it is declared to be at, naive.

    def _tick(self, local: datetime) -> datetime:
        if self.every != "hour":
            return datetime.combine(local.date(), self.clock_time)
        here = local if local.tzinfo else local.replace(tzinfo=ZoneInfo(self.timezone))
        return here.astimezone(UTC)

    def _first_tick(self, day: date) -> datetime:
        """Return the first tick on this day or later, whether windows are declared then or not."""
        if self.every == "week":
            day += (self.start.weekday() - day.weekday()) % 7 * DAY
        if self.every == "month":
            later = day.day > self.start.day
            day = _months_later(day.replace(day=self.start.day), 1 if later else 0)
        return self._tick(datetime.combine(day, self.clock_time))

    def _step(self, tick: datetime, count: int) -> datetime:
        match self.every:
            case "hour":
                return tick + count * HOUR
            case "day":
                return tick + count * DAY
            case "week":
                return tick + 7 * count * DAY
            case "month":
                return datetime.combine(_months_later(tick.date(), count), tick.time())

    def _wall(self, tick: datetime) -> datetime:
        return tick.astimezone(ZoneInfo(self.timezone)) if tick.tzinfo else tick

    def _shown(self, tick: datetime) -> datetime:
        zone = ZoneInfo(self.timezone)
        return on_the_clock(tick if tick.tzinfo else instant_of(tick, zone), zone)

    def _window(self, tick: datetime) -> Window:
        key = self._wall(tick).strftime(KEY_FORMATS[self.every])
        if tick.tzinfo and comes_again(tick, ZoneInfo(self.timezone)):
            key += self._wall(tick).strftime("%z")
        return Window(start=self._shown(tick), end=self._shown(self._step(tick, 1)), key=key)


def _months_later(day: date, count: int) -> date:
    months = day.year * 12 + day.month - 1 + count
    return day.replace(year=months // 12, month=months % 12 + 1)
