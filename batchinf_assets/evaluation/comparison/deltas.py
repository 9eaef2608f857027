"""How far the scores of the same rows lie apart, and which labels flip.

Differences are always those of `b` minus those of `a`; what they mean per segment is in `segments`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.contracts.validate import sample_keys
from batchinf_assets.evaluation.comparison.pairs import SCORE

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

QUANTILES = {f"p{percent:02}": percent / 100 for percent in (1, 5, 25, 50, 75, 95, 99)}

LARGEST = 10
"""So many of the rows that changed most are named."""


@dataclass(frozen=True, kw_only=True)
class Flips:
    """Rows whose label, score >= decision, is another in b.

    Attributes:
        count: up + down.
        share: Of the rows that both have; None without rows.
        up: From false to true.
        down: From true to false.
    """

    count: int
    share: float | None
    up: int
    down: int


@dataclass(frozen=True, kw_only=True)
class LargestDelta:
    """One of the rows whose score changed most.

    Attributes:
        key: Its key as text.
        a: Its score in a.
        b: Its score in b.
    """

    key: str
    a: float
    b: float


@dataclass(frozen=True, kw_only=True)
class ScoreDeltas:
    """How the scores of rows that both sides have differ; without rows every mean is None.

    Attributes:
        rows: Rows that both have.
        changed: Rows whose score differs.
        mean_a: Mean score of a.
        mean_b: Mean score of b.
        mean: Mean of b - a.
        mean_absolute: Mean of |b - a|.
        quantiles: Of b - a, by `p01` to `p99`; each occurred.
        largest: The rows of the largest |b - a|, the largest first.
    """

    rows: int
    changed: int
    mean_a: float | None
    mean_b: float | None
    mean: float | None
    mean_absolute: float | None
    quantiles: Mapping[str, float | None]
    largest: tuple[LargestDelta, ...]


def score_deltas(a: Floats, b: Floats, largest: Sequence[LargestDelta] = ()) -> ScoreDeltas:
    """Measure the differences of paired scores, both of shape (rows,); their order is no matter."""
    deltas = b - a
    return ScoreDeltas(
        rows=len(a),
        changed=int(np.count_nonzero(deltas)),
        mean_a=mean_of(a),
        mean_b=mean_of(b),
        mean=mean_of(deltas),
        mean_absolute=mean_of(np.abs(deltas)),
        quantiles={name: _quantile(deltas, share) for name, share in QUANTILES.items()},
        largest=tuple(largest),
    )


def label_flips(a: Floats, b: Floats, decision: float | None) -> Flips | None:
    """Count the rows that cross the decision, both ways; a score equal to it counts as positive.

    None where there is no decision: numbers have no classes to change.
    """
    if decision is None:
        return None
    before, after = a >= decision, b >= decision
    up, down = int(np.count_nonzero(after & ~before)), int(np.count_nonzero(before & ~after))
    share = (up + down) / len(a) if len(a) else None
    return Flips(count=up + down, share=share, up=up, down=down)


def mean_of(values: Floats) -> float | None:
    """Return the mean, None without values; the sum is exact, so the rows' order is no matter."""
    return math.fsum(values.tolist()) / len(values) if len(values) else None


class LargestDeltas:
    """The rows of the largest changes in a stream of pairs; of equal ones the first counts."""

    def __init__(self, key: Sequence[str]) -> None:
        self._key = tuple(key)
        self._found = list[LargestDelta]()

    def add(self, a: pa.Table, b: pa.Table) -> None:
        """Look at the next pairs of rows, with their key and `SCORE`."""
        before, after = (np.asarray(side.column(SCORE)) for side in (a, b))
        apart = np.abs(after - before)
        order = np.argsort(-apart, kind="stable")[:LARGEST]
        chosen = order[apart[order] > self._least()]
        keys = (sample_keys(b.slice(int(row), 1), self._key)[0] for row in chosen)
        self._found.extend(
            LargestDelta(key=key, a=float(before[row]), b=float(after[row]))
            for row, key in zip(chosen, keys, strict=True)
        )
        self._found = most_changed(self._found)

    def rows(self) -> tuple[LargestDelta, ...]:
        """Return what was found so far, the largest first."""
        return tuple(self._found)

    def _least(self) -> float:
        return _apart(self._found[-1]) if len(self._found) == LARGEST else 0.0


def most_changed(rows: Iterable[LargestDelta]) -> list[LargestDelta]:
    """Return the `LARGEST` rows that changed most, the largest first; of equal ones the first."""
    return sorted(rows, key=_apart, reverse=True)[:LARGEST]


def _apart(row: LargestDelta) -> float:
    return abs(row.b - row.a)


def _quantile(values: Floats, share: float) -> float | None:
    return float(np.quantile(values, share, method="inverted_cdf")) if len(values) else None
