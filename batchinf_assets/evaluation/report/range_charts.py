"""The charts of a range's page: quality, drift, scores and labels over its windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from batchinf_assets.evaluation.metrics.figures import Figure
from batchinf_assets.evaluation.report.drawing import chart
from batchinf_assets.evaluation.report.sheet import BLUE, INK, ORANGE, PALE, RED
from batchinf_assets.windows import Window

WIDTH = 720.0
MOST_WITH_INTERVALS = 62
"""With more windows, the intervals of single ones would hide each other."""

FEWEST_MONTHS = 3
"""With fewer, windows are named by their own keys."""

MIDDLE = "#86a8ce"

Series = Sequence[Figure | None]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MetricSeries:
    """One metric over the windows of a range; None where it is not known.

    Attributes:
        metric: Its name.
        golden: On the golden set.
        estimated: Before outcomes were known.
        realised: On each window's outcomes.
        pooled: Over several windows up to each one.
        pooled_name: What that is called.
        bounds: What is declared, by what it is required of.
    """

    metric: str
    golden: Series
    estimated: Series
    realised: Series
    pooled: Series
    pooled_name: str
    bounds: tuple[tuple[str, float], ...]


def trend_chart(series: MetricSeries, windows: Sequence[Window]) -> Markup:
    """Draw a metric over windows, as it was expected, promised and realised."""
    places = np.arange(len(windows), dtype=np.float64)

    def draw(canvas: Canvas) -> None:
        axes = _axes(canvas, windows, height=190)
        _line(axes, places, series.golden, "golden set", color=BLUE)
        _line(axes, places, series.estimated, "estimated", color=ORANGE, linestyle="--")
        _single_windows(axes, places, series.realised)
        _line(axes, places, series.pooled, f"realised, {series.pooled_name}", color=RED)
        for what, bound in series.bounds:
            axes.axhline(bound, color=INK, linewidth=0.9, linestyle=":")
            axes.text(len(windows) - 0.4, bound, f" {what}", va="center", fontsize=7.5)
        axes.set_title(series.metric.replace("_", " "))
        _legend(axes)

    return chart(WIDTH, 190, f"{series.metric} by window", draw)


def score_chart(
    quantiles: Sequence[tuple[float, ...] | None], windows: Sequence[Window], score: str
) -> Markup:
    """Draw the middle half and nine tenths of the scores over windows, and their median.

    Args:
        quantiles: The 5th, 25th, 50th, 75th and 95th percentile of each window, if known.
        windows: The windows.
        score: The score's name.
    """
    unknown = (np.nan,) * 5
    found = np.array([each if each is not None else unknown for each in quantiles])
    places = np.arange(len(windows), dtype=np.float64)

    def draw(canvas: Canvas) -> None:
        axes = _axes(canvas, windows, height=170)
        for low, high, color, label in ((0, 4, PALE, "5 % to 95 %"), (1, 3, MIDDLE, "half")):
            axes.fill_between(
                places, found[:, low], found[:, high], step="mid", color=color, lw=0, label=label
            )
        axes.plot(
            places, found[:, 2], color=INK, linewidth=1.2, drawstyle="steps-mid", label="median"
        )
        axes.set_title(score)
        _legend(axes)

    return chart(WIDTH, 170, f"{score} by window", draw)


def label_chart(shares: Sequence[float | None], windows: Sequence[Window]) -> Markup:
    """Draw which share of the predictions has a label by now."""
    found = np.array([np.nan if share is None else share for share in shares], dtype=np.float64)
    places = np.arange(len(windows), dtype=np.float64)

    def draw(canvas: Canvas) -> None:
        axes = _axes(canvas, windows, height=110)
        axes.fill_between(places, 0, found, step="mid", color=MIDDLE, linewidth=0)
        axes.plot(places, found, color=BLUE, linewidth=0.9, drawstyle="steps-mid")
        axes.set_ylim(0, 1)
        axes.set_title("labelled share of the predictions")

    return chart(WIDTH, 110, "Labelled share by window", draw)


def ticks(windows: Sequence[Window]) -> Iterator[tuple[int, str]]:
    """Yield which windows to name below a chart: the first of each month, or every few."""
    months = groupby(range(len(windows)), key=lambda place: windows[place].key[:7])
    firsts = [(next(places), month) for month, places in months]
    if len(firsts) < FEWEST_MONTHS:
        room = 9 if len(windows[0].key) <= len("2013-07-01") else 6
        step = max(1, -(-len(windows) // room))
        yield from ((place, windows[place].key) for place in range(0, len(windows), step))
        return
    if firsts[1][0] < len(windows) / 15:  # the names of both would overlap
        del firsts[0]
    yield from firsts[:: max(1, -(-len(firsts) // 12))]


def _axes(canvas: Canvas, windows: Sequence[Window], *, height: float) -> Axes:
    axes = canvas.add_axes((46 / WIDTH, 24 / height, 1 - 100 / WIDTH, 1 - 52 / height))
    axes.set_xlim(-0.6, len(windows) - 0.4)
    places, labels = zip(*ticks(windows), strict=True)
    axes.set_xticks(places, labels)
    axes.grid(axis="y", color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def _line(
    axes: Axes, places: Floats, series: Series, label: str, *, color: str, linestyle: str = "-"
) -> None:
    value, low, high = _ends(series)
    if np.isnan(value).all():
        return
    axes.fill_between(places, low, high, color=color, alpha=0.18, linewidth=0)
    width = 1.4 if linestyle == "-" else 0.9
    axes.plot(places, value, linewidth=width, label=label, color=color, linestyle=linestyle)


def _single_windows(axes: Axes, places: Floats, series: Series) -> None:
    value, low, high = _ends(series)
    if np.isnan(value).all():
        return
    few = len(places) <= MOST_WITH_INTERVALS
    if few:
        axes.vlines(places, low, high, color=RED, linewidth=0.8)
    axes.plot(
        places,
        value,
        linestyle="",
        marker="s",
        markersize=4 if few else 2.2,
        markerfacecolor="white",
        markeredgecolor=RED,
        markeredgewidth=0.9 if few else 0.5,
        label="realised",
    )


def _ends(series: Series) -> tuple[Floats, Floats, Floats]:
    """Return values and the ends of their intervals; NaN where they are not known."""
    found = [each if each is not None else Figure(value=None, interval=None) for each in series]
    return (
        np.array([np.nan if each.value is None else each.value for each in found]),
        np.array([each.interval.low if each.interval else np.nan for each in found]),
        np.array([each.interval.high if each.interval else np.nan for each in found]),
    )


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1.01),
            ncols=5,
            frameon=False,
            borderaxespad=0,
            handlelength=1.8,
            columnspacing=1.4,
        )
