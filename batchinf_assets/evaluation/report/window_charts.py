"""The charts of a window's page: how its values are spread, and how well scores are calibrated."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from batchinf_assets.evaluation.calibration import CalibrationBin
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

PANEL, ROW, HEAD, GAP = 344.0, 13.0, 18.0, 16.0
_LABELS, _BARS = 122.0, 176.0
_THIN = 0.6


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
    golden: Sequence[CalibrationBin], realised: Sequence[CalibrationBin]
) -> Markup:
    """Draw the observed share of positives over the mean score, each with its interval."""
    size, left, top = 200.0, 44.0, 10.0

    def at(bin_: CalibrationBin, share: float) -> tuple[float, float]:
        return left + size * bin_.mean_score, top + size * (1 - share)

    def draw(area: Sheet) -> None:
        _unit_square(area, left, top, size)
        for bins, color, half in ((golden, BLUE, 2.5), (realised, RED, 3.0)):
            if not bins:
                continue
            dashes, fill = ("solid", color) if bins is golden else ("dashed", "white")
            spans = [
                [at(each, each.interval.low), at(each, each.interval.high)]
                for each in bins
                if each.interval
            ]
            points = [at(each, each.positive_share) for each in bins]
            area.lines(spans, color=color, width=0.8)
            area.lines([points], color=color, width=1.4, dashes=dashes)
            marks = [(x - half, y - half, 2 * half, 2 * half) for x, y in points]
            area.bars(marks, fill=fill, edge=color)

    said = "Observed share of positives by mean score"
    return sheet(left + size + 12, top + size + 34, said, draw)


def _unit_square(area: Sheet, left: float, top: float, size: float) -> None:
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    grid = [[(left, top + size * t), (left + size, top + size * t)] for t in ticks]
    grid += [[(left + size * t, top), (left + size * t, top + size)] for t in ticks]
    area.lines(grid, color=PALE, width=_THIN)
    diagonal = [(left, top + size), (left + size, top)]
    area.lines([diagonal], color=INK, width=0.8, dashes="dotted")
    for tick in ticks:
        area.text(left + size * tick, top + size + 11, f"{tick:g}", anchor="middle")
        area.text(left - 4, top + size * (1 - tick) + 3, f"{tick:g}", anchor="end")
    area.text(left + size / 2, top + size + 25, "mean score", anchor="middle", color=FAINT)
    area.text(10, top + size / 2, "share of positives", anchor="middle", color=FAINT, turned=True)
