"""The charts of a window's page: how its values are spread, and how well scores are calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from batchinf_assets.evaluation.metrics.calibration import CalibrationBin
from batchinf_assets.evaluation.report.sheet import (
    BLUE,
    FAINT,
    INK,
    PALE,
    RED,
    Sheet,
    sheet,
)
from batchinf_assets.evaluation.report.spreads import Spread
from batchinf_assets.spec.prediction import Kind

PANEL, ROW, HEAD, GAP = 344.0, 13.0, 18.0, 16.0
_LABELS, _BARS = 122.0, 176.0
_THIN = 0.6
_SIZE, _LEFT, _TOP = 200.0, 44.0, 10.0


def spread_chart(spreads: Sequence[Spread], titles: Sequence[str]) -> Markup:
    """Draw shares by bin, the window's over those of training, two subjects abreast."""
    pairs = [spreads[at : at + 2] for at in range(0, len(spreads), 2)]
    heights = [HEAD + GAP + ROW * max(len(each.labels) for each in pair) for pair in pairs]

    def draw(area: Sheet) -> None:
        top, at = 0.0, 0
        for pair, height in zip(pairs, heights, strict=True):
            for column, spread in enumerate(pair):
                _spread(area, column * (PANEL + GAP), top, spread, titles[at])
                at += 1
            top += height

    said = f"Shares by bin of {', '.join(each.subject for each in spreads)}"
    return sheet(2 * PANEL + GAP, sum(heights), said, draw)


def _spread(area: Sheet, left: float, top: float, spread: Spread, title: str) -> None:
    largest = max(*spread.window, *(spread.training or ()), 0.05)
    scale, start = _BARS / largest, left + _LABELS
    rows = [top + HEAD + ROW * at for at in range(len(spread.labels))]
    area.text(left, top + 11, title, bold=True)
    for y, label, share in zip(rows, spread.labels, spread.window, strict=True):
        area.text(start - 5, y + 9, label, anchor="end")
        area.text(left + PANEL, y + 9, f"{share:.1%}", anchor="end", color=FAINT)
    if spread.training is not None:
        learned = [(start, y + 1, s * scale, 9) for y, s in zip(rows, spread.training, strict=True)]
        area.bars(learned, fill=PALE, edge=FAINT, width=_THIN)
    found = [(start, y + 3.5, s * scale, 4) for y, s in zip(rows, spread.window, strict=True)]
    area.bars(found, fill=BLUE)
    area.lines([[(start, rows[0]), (start, rows[-1] + ROW)]], color=FAINT, width=_THIN)


def calibration_chart(
    golden: Sequence[CalibrationBin], realised: Sequence[CalibrationBin], kind: Kind
) -> Markup:
    """Draw what was realised over the mean score, each with its interval."""
    area_of = _Square.around((*golden, *realised), kind)

    def draw(area: Sheet) -> None:
        _grid(area, area_of, kind)
        for bins, color, half in ((golden, BLUE, 2.5), (realised, RED, 3.0)):
            if not bins:
                continue
            dashes, fill = ("solid", color) if bins is golden else ("dashed", "white")
            spans = [
                [area_of.at(each, each.interval.low), area_of.at(each, each.interval.high)]
                for each in bins
                if each.interval
            ]
            points = [area_of.at(each, each.mean_label) for each in bins]
            area.lines(spans, color=color, width=0.8)
            area.lines([points], color=color, width=1.4, dashes=dashes)
            marks = [(x - half, y - half, 2 * half, 2 * half) for x, y in points]
            area.bars(marks, fill=fill, edge=color)

    return sheet(_LEFT + _SIZE + 12, _TOP + _SIZE + 34, _said(kind), draw)


@dataclass(frozen=True, kw_only=True)
class _Square:
    """Where values lie on the sheet: both axes go from low to high."""

    low: float
    high: float

    @classmethod
    def around(cls, bins: Sequence[CalibrationBin], kind: Kind) -> _Square:
        """Return the unit square for probabilities, else one that holds every bin."""
        if kind.has_classes:
            return cls(low=0.0, high=1.0)
        intervals = [each.interval for each in bins if each.interval]
        values = [
            *(value for each in bins for value in (each.mean_score, each.mean_label)),
            *(end for each in intervals for end in (each.low, each.high)),
        ]
        low, high = min(values), max(values)
        return cls(low=low, high=high if high > low else low + 1.0)

    def x(self, value: float) -> float:
        return _LEFT + _SIZE * (value - self.low) / (self.high - self.low)

    def y(self, value: float) -> float:
        return _TOP + _SIZE * (self.high - value) / (self.high - self.low)

    def at(self, bin_: CalibrationBin, label: float) -> tuple[float, float]:
        return self.x(bin_.mean_score), self.y(label)

    def ticks(self) -> list[float]:
        return [self.low + quarter / 4 * (self.high - self.low) for quarter in range(5)]


def _grid(area: Sheet, square: _Square, kind: Kind) -> None:
    right, bottom, ticks = _LEFT + _SIZE, _TOP + _SIZE, square.ticks()
    grid = [[(_LEFT, square.y(t)), (right, square.y(t))] for t in ticks]
    grid += [[(square.x(t), _TOP), (square.x(t), bottom)] for t in ticks]
    area.lines(grid, color=PALE, width=_THIN)
    area.lines([[(_LEFT, bottom), (right, _TOP)]], color=INK, width=0.8, dashes="dotted")
    for tick in ticks:
        area.text(square.x(tick), bottom + 11, f"{tick:.3g}", anchor="middle")
        area.text(_LEFT - 4, square.y(tick) + 3, f"{tick:.3g}", anchor="end")
    across, up = _axes_of(kind)
    area.text(_LEFT + _SIZE / 2, bottom + 25, across, anchor="middle", color=FAINT)
    area.text(10, _TOP + _SIZE / 2, up, anchor="middle", color=FAINT, turned=True)


def _axes_of(kind: Kind) -> tuple[str, str]:
    return ("mean score", "share of positives") if kind.has_classes else ("predicted", "realised")


def _said(kind: Kind) -> str:
    if kind.has_classes:
        return "Observed share of positives by mean score"
    return "Mean of what came by mean of what was predicted"
