"""Windows: the batch intervals of a pipeline, named exactly as Dagster names its partitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, date, datetime, time, timedelta
from itertools import takewhile
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from batchinf_assets.errors import UnknownWindow

Every = Literal["hour", "day", "week", "month"]

KEY_FORMATS: dict[Every, str] = {
    "hour": "%Y-%m-%d-%H:%M",
    "day": "%Y-%m-%d",
    "week": "%Y-%m-%d",
    "month": "%Y-%m-%d",
}

LENGTHS: dict[Every, timedelta] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}


@dataclass(frozen=True, kw_only=True, order=True)
class Window:
    """One batch interval.

    Attributes:
        start: First instant inside; carries the pipeline's time zone.
        end: First instant after.
        key: The partition key, such as `2013-07-01`.
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
    """How a pipeline cuts time into windows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: Every = "day"
    start: date = Field(description="First window.")
    end: date | None = Field(default=None, description="Day after the last window; open if absent.")
    timezone: str = "UTC"
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
    def _starts_on_a_boundary(self) -> WindowSpec:
        if self.end is not None and self.end <= self.start:
            raise ValueError("window.end must be after window.start")
        if self.every == "hour" and self.timezone != "UTC":
            raise ValueError("hourly windows need timezone UTC: local hours repeat in autumn")
        if self.every == "week" and self.start.isoweekday() != 7:
            raise ValueError("weekly windows start on a Sunday, as Dagster's do")
        if self.every == "month" and self.start.day != 1:
            raise ValueError("monthly windows start on the first of a month")
        return self

    def window(self, key: str) -> Window:
        """Return the window with this key.

        Raises:
            UnknownWindow: The key is no date, off the grid, or outside the declared range.
        """
        form = KEY_FORMATS[self.every]
        try:
            naive = datetime.strptime(key, form)  # noqa: DTZ007 - _starting_at adds the zone
        except ValueError:
            naive = None
        if naive is None or naive.strftime(form) != key:
            example = datetime.combine(self.start, time()).strftime(form)
            raise UnknownWindow(
                f"'{key[:40]}' is not a window.", next_step=f"Windows look like {example}."
            )
        if not self._declares(naive):
            raise UnknownWindow(
                f"Window {key} is not one of this pipeline's.",
                next_step=f"Windows run every {self.every} from {self.start} "
                f"to {self.end or 'now'} (end excluded).",
            )
        return self._starting_at(naive)

    def has(self, key: str) -> bool:
        """Say whether a window with this key is declared."""
        try:
            self.window(key)
        except UnknownWindow:
            return False
        return True

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
        """Return the windows that start on `first` or later and before `end`.

        Raises:
            UnknownWindow: No window starts on `first`.
        """
        start = self.window(datetime.combine(first, time()).strftime(KEY_FORMATS[self.every]))
        return list(takewhile(lambda window: window.start.date() < end, self._from(start)))

    def before(self, window: Window, count: int) -> list[Window]:
        """Return up to `count` declared windows that end at or before this one's start."""
        earlier: list[Window] = []
        naive = window.start.replace(tzinfo=None)
        for _ in range(count):
            naive = self._step(naive, -1)
            if not self._declares(naive):
                break
            earlier.append(self._starting_at(naive))
        return earlier[::-1]

    def _from(self, window: Window) -> Iterator[Window]:
        naive = window.start.replace(tzinfo=None)
        while self._declares(naive):
            yield self._starting_at(naive)
            naive = self._step(naive, 1)

    def _declares(self, naive: datetime) -> bool:
        on_grid = {
            "hour": naive.minute == 0,
            "day": True,
            "week": naive.isoweekday() == 7,
            "month": naive.day == 1,
        }[self.every]
        end = self.end or date(MAXYEAR, 1, 1)  # a later window's own end would be no date
        return on_grid and self.start <= naive.date() < end

    def _starting_at(self, naive: datetime) -> Window:
        zone = ZoneInfo(self.timezone)
        return Window(
            start=naive.replace(tzinfo=zone),
            end=self._step(naive, 1).replace(tzinfo=zone),
            key=naive.strftime(KEY_FORMATS[self.every]),
        )

    def _step(self, naive: datetime, count: int) -> datetime:
        if self.every == "month":
            months = naive.year * 12 + naive.month - 1 + count
            return naive.replace(year=months // 12, month=months % 12 + 1)
        return naive + count * LENGTHS[self.every]
