"""Stratified drawing: how many rows each group gives, and which.

What the rows are for is the business of `training.golden_draw`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.errors import UsageError
from batchinf_assets.evaluation.metrics.segments import MISSING, is_number, segment_codes

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class DrawnStratum:
    """What was drawn from one group of rows.

    Attributes:
        values: What its rows share, by column, as text; None is missing.
        available: Its rows.
        drawn: Positions of those drawn, ascending.
    """

    values: dict[str, str | None]
    available: int
    drawn: Positions


def draw_stratified(
    rows: pa.Table, by: Sequence[str], count: int, *, seed: int
) -> list[DrawnStratum]:
    """Draw rows without replacement, from each group as `allocate` says.

    The same rows, groups, count and seed give the same draw.

    Args:
        rows: What to draw from.
        by: Columns whose values, or quartiles of numbers, make the groups; none of them make all
            rows one group.
        count: Rows to draw.
        seed: Of NumPy's default generator, which serves the groups in the order of their values.

    Raises:
        UsageError: There are fewer rows than that, or more groups than rows to draw.
    """
    groups = _groups(rows, by)
    shares = allocate([len(positions) for _, positions in groups], count)
    generator = np.random.default_rng(seed)
    return [
        DrawnStratum(
            values=dict(zip(by, values, strict=True)),
            available=len(positions),
            drawn=np.sort(positions[generator.choice(len(positions), size=share, replace=False)]),
        )
        for (values, positions), share in zip(groups, shares, strict=True)
    ]


def allocate(available: Sequence[int], count: int) -> list[int]:
    """Share out a number of rows over groups by size, at least one to each.

    By largest remainders (Hamilton's method), the earlier group first where two are equal. A group
    whose share is below one gets one, and the rest is shared out among the others anew.

    Args:
        available: Rows of each group, none of them 0.
        count: How many to share out.

    Returns:
        As many per group, no more than it has; they add up to `count`.

    Raises:
        UsageError: There are fewer rows than that, or more groups.
    """
    if count > sum(available):
        raise UsageError(
            f"{count:,} rows cannot be drawn from {sum(available):,}.",
            next_step="Name more windows, or fewer rows.",
        )
    if count < len(available):
        raise UsageError(
            f"{count:,} rows cannot represent {len(available):,} groups.",
            next_step="Draw more rows, or by fewer segments.",
        )
    small: set[int] = set()
    while True:
        large = [place for place in range(len(available)) if place not in small]
        rest, of = count - len(small), sum(available[place] for place in large)
        below_one = {place for place in large if available[place] * rest < of}
        if not below_one:
            return _largest_remainders(available, large, rest)
        small |= below_one


def _largest_remainders(available: Sequence[int], large: Sequence[int], rest: int) -> list[int]:
    of = sum(available[place] for place in large)
    shares = [1] * len(available)
    remainders: dict[int, int] = {}
    for place in large:
        shares[place], remainders[place] = divmod(available[place] * rest, of)
    left = rest - sum(shares[place] for place in large)
    for place in sorted(large, key=lambda place: -remainders[place])[:left]:
        shares[place] += 1
    return shares


def _groups(rows: pa.Table, by: Sequence[str]) -> list[tuple[tuple[str | None, ...], Positions]]:
    """Return the positions of every group's rows, the groups in the order of their values."""
    if rows.num_rows == 0:
        return []
    ranks = np.zeros(rows.num_rows, dtype=np.int64)
    columns = [_codes(rows.column(name)) for name in by]
    for codes, texts in columns:
        ranks = np.unique(ranks * len(texts) + codes, return_inverse=True)[1]
    _, first, sizes = np.unique(ranks, return_index=True, return_counts=True)
    positions = np.split(np.argsort(ranks, kind="stable"), np.cumsum(sizes)[:-1])
    values = [tuple(texts[codes[row]] for codes, texts in columns) for row in first]
    return list(zip(values, positions, strict=True))


def _codes(values: pa.ChunkedArray) -> tuple[Positions, list[str | None]]:
    """Number the values of a column in the order of their texts, a missing one last.

    Numbers are parted at their quartiles: each by itself would be a group of hardly a row.
    """
    if is_number(values):
        names, codes = segment_codes(values)
        return codes, [None if name == MISSING else name for name in names]
    texts = values.cast(pa.string())
    known = sorted(texts.unique().to_pylist(), key=lambda text: (text is None, text))
    codes = pc.index_in(texts, value_set=pa.array(known, pa.string()))
    return codes.to_numpy().astype(np.int64), known
