"""Where a metric is going: its change per window, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from batchinf_assets.evaluation.metrics.figures import Interval
from batchinf_assets.spec.evaluation import Error, Lean, Loss

Direction = Literal["better", "worse", "steady", "rising", "falling"]

LEAST_WINDOWS = 3
"""With two a line always fits, and nothing says how sure it is."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A metric of one window.

    Attributes:
        place: Which window it is, counted in windows from any origin; gaps count.
        value: The metric.
        rows: Labelled rows that it was measured on; at least one.
    """

    place: int
    value: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class Trend:
    """The line through a metric over windows.

    Attributes:
        slope: Change of the metric per window.
        interval: Of the slope; 95 %.
        windows: How many windows it goes through.
        rows: Labelled rows of these windows.
    """

    slope: float
    interval: Interval
    windows: int
    rows: int

    def direction(self, metric: str) -> Direction:
        """Say where the metric goes; steady as long as the interval holds 0.

        Of a metric that is the better the nearer to 0 nobody says which way is better.
        """
        if self.interval.low <= 0 <= self.interval.high:
            return "steady"
        if metric in get_args(Lean):
            return "rising" if self.slope > 0 else "falling"
        falls_for_the_better = metric in (*get_args(Loss), *get_args(Error))
        return "better" if (self.slope < 0) == falls_for_the_better else "worse"


def weighted_trend(points: Sequence[Point]) -> Trend | None:
    """Fit a line by least squares, each window weighted by its labelled rows.

    A mean over n rows varies as 1 / n, so n is its weight. The interval is that of Student's t with
    two degrees of freedom less than windows, around a residual variance that the windows themselves
    show (Weisberg 2014, Applied Linear Regression, chapters 2 and 7). It takes the windows as
    independent.

    Returns:
        None with fewer than `LEAST_WINDOWS` windows at different places.
    """
    from scipy.special import stdtrit  # takes a tenth of a second that loading definitions saves

    if len({point.place for point in points}) < LEAST_WINDOWS:
        return None
    x, y, weights = (
        np.array([getattr(point, name) for point in points], dtype=np.float64)
        for name in ("place", "value", "rows")
    )
    x, y = x - np.average(x, weights=weights), y - np.average(y, weights=weights)
    spread = float(np.sum(weights * x**2))
    slope = float(np.sum(weights * x * y)) / spread
    freedom = len(points) - 2
    variance = float(np.sum(weights * (y - slope * x) ** 2)) / freedom
    half = float(stdtrit(freedom, 0.975)) * (variance / spread) ** 0.5
    return Trend(
        slope=slope,
        interval=Interval(low=slope - half, high=slope + half),
        windows=len(points),
        rows=sum(point.rows for point in points),
    )
