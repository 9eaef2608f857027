"""How long two models take for the rows of each segment, measured there and then.

Scoring itself times no segment: its rows go through the scorer in blocks of a hundred thousand,
whatever they are. So rows of each segment are scored by themselves, in blocks of one size: what a
call costs is in every figure alike, and what differs is the rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from batchinf_assets.evaluation.metrics.segments import segment_codes
from batchinf_assets.scoring.scorer import Scorer

MOST_SAMPLED = 65_536
BLOCK = 4_096
TRIES = 3

Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class SegmentTime:
    """What the rows of one segment took; the fastest of `TRIES` counts.

    Attributes:
        column: The feature that parts the rows.
        value: The value or range in words.
        rows: Different rows among the `BLOCK` that were scored; fewer were repeated to fill it.
        a: Seconds per row of the one model.
        b: Of the other.
    """

    column: str
    value: str
    rows: int
    a: float
    b: float


@dataclass
class FeatureSample:
    """The first rows of what is compared, `MOST_SAMPLED` at most."""

    _parts: list[pa.Table] = field(default_factory=list[pa.Table])

    def add(self, features: pa.Table) -> None:
        """Take what there is room for."""
        room = MOST_SAMPLED - sum(part.num_rows for part in self._parts)
        if room > 0:
            self._parts.append(features.slice(0, room))

    def rows(self) -> pa.Table:
        """Return them."""
        return pa.concat_tables(self._parts, promote_options="default")


def segment_times(
    a: Scorer,
    b: Scorer,
    features: pa.Table,
    columns: Sequence[str],
    *,
    clock: Clock = time.perf_counter,
) -> tuple[SegmentTime, ...]:
    """Time both models segment by segment, the slowest segment first.

    Args:
        a: The one model's scorer.
        b: The other's.
        features: Rows that both can score.
        columns: The features to part them by, each by itself, as `segment_codes` does.
        clock: In seconds.

    Returns:
        The segments that have rows.

    Raises:
        ModelRefused: A model cannot read the rows.
    """
    found = [
        SegmentTime(
            column=column,
            value=value,
            rows=rows,
            a=_per_row(a, block, clock),
            b=_per_row(b, block, clock),
        )
        for column in columns
        for value, rows, block in _blocks(features, column)
    ]
    return tuple(sorted(found, key=lambda each: -max(each.a, each.b)))


def _blocks(features: pa.Table, column: str) -> list[tuple[str, int, pa.Table]]:
    names, codes = segment_codes(_plain(features.column(column)))
    places = ((name, np.flatnonzero(codes == code)) for code, name in enumerate(names))
    return [
        (name, min(len(found), BLOCK), features.take(pa.array(np.resize(found, BLOCK))))
        for name, found in places
        if len(found)
    ]


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    is_coded = pa.types.is_dictionary(column.type)
    return column.cast(column.type.value_type) if is_coded else column


def _per_row(scorer: Scorer, block: pa.Table, clock: Clock) -> float:
    scorer.outputs(block)  # what is set up once is not the segment's
    taken = list[float]()
    for _ in range(TRIES):
        started = clock()
        scorer.outputs(block)
        taken.append(clock() - started)
    return min(taken) / block.num_rows
