"""Figures with their intervals, and what the metrics of every kind of label share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar


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


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a confusion matrix.

    Attributes:
        label: The class that came.
        predicted: The class that was predicted.
        rows: How many rows have both.
    """

    label: str
    predicted: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Quality of some rows; an undefined figure is None, never 0.

    A kind of label adds a field for each figure.

    Attributes:
        names: Of the figures, in the order in which they are shown.
        rows: Rows with a label.
        intervals: By figure; empty if they were not asked for.
    """

    names: ClassVar[tuple[str, ...]] = ()

    rows: int
    intervals: Mapping[str, Interval | None] = field(
        default_factory=dict[str, Interval | None], hash=False
    )

    @property
    def counts(self) -> dict[str, int]:
        """What is counted of the rows beside their number."""
        return {}

    @property
    def cells(self) -> Iterable[Cell]:
        """The confusion matrix, row by row; empty unless labels are of several classes."""
        return ()

    def tells(self, name: str) -> bool:  # noqa: ARG002 - every kind of label has its own limits
        """Whether these rows can say anything of a figure."""
        return True

    @property
    def figures(self) -> dict[str, float | None]:
        """The figures by name."""
        return {name: getattr(self, name) for name in self.names}

    @property
    def measured_figures(self) -> dict[str, Figure]:
        """The figures with their intervals."""
        return {
            name: Figure(value=value, interval=self.intervals.get(name))
            for name, value in self.figures.items()
        }
