"""One figure with the interval that it lies in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % confidence interval, both ends included.

    Raises:
        ValueError: An end is NaN, or the low one is above the high one.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"{self.low} to {self.high} is no interval")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value.

    Attributes:
        value: None where it is undefined, never 0.
        interval: Holds the value; None where the value, or its spread, is undefined.
    """

    value: float | None
    interval: Interval | None
