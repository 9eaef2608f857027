"""The heat map of drift: how far each column moved in each window, or month, of a range.

The other charts of the page are in `range_charts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from markupsafe import Markup

from batchinf_assets.checks import quoted
from batchinf_assets.evaluation.report.range_charts import WIDTH
from batchinf_assets.evaluation.report.sheet import FAINT, Sheet, sheet

LONGEST_NAME = 24

PSI_COLORS = ("#f1f4f8", "#c3d3e6", "#86a8ce", "#3f6fae", "#12305e")
"""From hardly moved to far beyond `major`; each clearly darker than the one before."""


@dataclass(frozen=True, kw_only=True)
class DriftCell:
    """One column in one window, or in one month.

    Attributes:
        psi: Population stability index; None where it is not known or undefined.
        major: Whether the verdict was `major`.
    """

    psi: float | None
    major: bool


def drift_chart(
    cells: Sequence[tuple[str, Sequence[DriftCell]]],
    labels: Sequence[tuple[int, str]],
    *,
    said: str,
    moderate: float,
    major: float,
) -> Markup:
    """Draw how far each column moved.

    Darker is further; what was judged `major` is hatched, what is not known is left blank.

    Args:
        cells: Columns from top to bottom, each with as many cells as the others, at least one.
        labels: What to name below it: the place of the cell, and its name.
        said: What it shows, for who cannot see it.
        moderate: Where the second colour ends.
        major: Where the third ends.
    """
    bounds = (moderate / 2, moderate, major, 2 * major)
    left, top, row = 150.0, 30.0, 14.0
    wide = (WIDTH - left) / len(cells[0][1])

    def draw(area: Sheet) -> None:
        _key(area, bounds)
        boxes: dict[tuple[int | None, bool], list[tuple[float, float, float, float]]] = {}
        for at, (name, line) in enumerate(cells):
            y = top + row * at
            area.text(left - 6, y + row - 4, quoted(name, longest=LONGEST_NAME), anchor="end")
            for look, start, count in _runs(line, bounds):
                box = (left + wide * start, y + 0.75, wide * count, row - 1.5)
                boxes.setdefault(look, []).append(box)
        for (band, hatched), same in sorted(boxes.items(), key=str):
            if band is not None:
                area.bars(same, fill=PSI_COLORS[band])
            if hatched:
                area.hatch(same, color="white")
        bottom = top + row * len(cells)
        area.lines([[(left, bottom), (WIDTH, bottom)]], color=FAINT, width=0.6)
        for place, label in labels:
            x = left + wide * (place + 0.5)
            area.lines([[(x, bottom), (x, bottom + 4)]], color=FAINT, width=0.6)
            area.text(x, bottom + 14, label, anchor="middle")

    return sheet(WIDTH, top + row * len(cells) + 20, said, draw)


def _runs(
    line: Sequence[DriftCell], bounds: Sequence[float]
) -> Iterator[tuple[tuple[int | None, bool], int, int]]:
    """Yield the look, the start and the length of each run of cells that look the same."""
    looks = [
        (None if c.psi is None else int(np.searchsorted(bounds, c.psi, "right")), c.major)
        for c in line
    ]
    start = 0
    for look, same in groupby(looks):
        count = len(list(same))
        yield look, start, count
        start += count


def _key(area: Sheet, bounds: Sequence[float]) -> None:
    words = ["PSI below", *[""] * 3, "from"]
    ends = [
        f"{bounds[0]:g}",
        *(f"{low:g} to {high:g}" for low, high in pairwise(bounds)),
        f"{bounds[-1]:g}",
    ]
    x = 96.0
    for color, word, end in zip(PSI_COLORS, words, ends, strict=True):
        area.bars([(x, 6, 18, 10)], fill=color, edge=FAINT, width=0.5)
        label = f"{word} {end}".strip()
        area.text(x + 22, 14.5, label)
        x += 34 + 4.7 * len(label)
    area.bars([(x, 6, 18, 10)], fill=PSI_COLORS[3])
    area.hatch([(x, 6, 18, 10)], color="white")
    area.text(x + 22, 14.5, "judged major")
    x += 34 + 4.7 * len("judged major")
    area.bars([(x, 6, 18, 10)], fill="none", edge=FAINT, width=0.5)
    area.text(x + 22, 14.5, "not known")
