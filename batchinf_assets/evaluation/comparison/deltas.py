"""How far the scores of the same rows lie apart; which labels flip is told by `metrics.flips`.

Differences are always those of `b` minus those of `a`; what they mean per segment is in `segments`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.contracts.validate import sample_keys
from batchinf_assets.evaluation.comparison.pairs import scores_of

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

QUANTILES = {f"p{percent:02}": percent / 100 for percent in (1, 5, 25, 50, 75, 95, 99)}

LARGEST = 10
"""So many of the rows that changed most are named."""


@dataclass(frozen=True, kw_only=True)
class LargestDelta:
    """One of the rows whose scores changed most.

    Attributes:
        key: Its key as text.
        a: Its score in a; of several classes that of `class_a`.
        b: Its score in b; of several classes that of `class_b`.
        moved: How far it moved, as `row_distance` says.
        class_a: Its most probable class in a; None of one score.
        class_b: Its most probable class in b.
    """

    key: str
    a: float
    b: float
    moved: float
    class_a: str | None = None
    class_b: str | None = None


@dataclass(frozen=True, kw_only=True)
class ScoreDeltas:
    """How the scores of rows that both sides have differ; without rows every mean is None.

    Of several classes there is no one score: means and signs are by class, and what is said of all
    of them together is how far rows moved.

    Attributes:
        rows: Rows that both have.
        changed: Rows of which any score differs.
        mean_a: Mean score of a; None of several classes.
        mean_b: Mean score of b; None of several classes.
        mean: Mean of b - a; None of several classes.
        mean_absolute: Mean of how far rows moved, as `row_distance` says.
        quantiles: Of b - a, or of how far rows moved, by `p01` to `p99`; each occurred.
        largest: The rows that moved most, the first one furthest.
        by_class: The same of each class's probability alone; empty of one score.
    """

    rows: int
    changed: int
    mean_a: float | None
    mean_b: float | None
    mean: float | None
    mean_absolute: float | None
    quantiles: Mapping[str, float | None]
    largest: tuple[LargestDelta, ...]
    by_class: Mapping[str, ScoreDeltas] = field(default_factory=dict[str, "ScoreDeltas"])


def score_deltas(
    a: Floats, b: Floats, largest: Sequence[LargestDelta] = (), classes: Sequence[str] = ()
) -> ScoreDeltas:
    """Measure the differences of paired scores; the order of rows is no matter.

    Args:
        a: Scores of the one side, (rows,); of several classes (rows, classes).
        b: Those of the other.
        largest: The rows that moved most.
        classes: Names of several classes.
    """
    apart, alone = row_distance(a, b), a.ndim == 1
    return ScoreDeltas(
        rows=len(a),
        changed=int(np.count_nonzero(changed_rows(a, b))),
        mean_a=mean_of(a) if alone else None,
        mean_b=mean_of(b) if alone else None,
        mean=signed_mean(a, b),
        mean_absolute=mean_of(apart),
        quantiles={
            name: _quantile(b - a if alone else apart, share) for name, share in QUANTILES.items()
        },
        largest=tuple(largest),
        by_class={
            name: score_deltas(a[:, place], b[:, place]) for place, name in enumerate(classes)
        },
    )


def row_distance(a: Floats, b: Floats) -> Floats:
    """Return how far each row moved, (rows,).

    Of one score it is |b - a|. Of several classes it is half the sum of |b - a| over them, the
    total variation distance: the part of the probability that went elsewhere (Levin and Peres 2017,
    Markov Chains and Mixing Times, proposition 4.2).
    """
    apart = np.abs(b - a)
    return apart if apart.ndim == 1 else apart.sum(axis=1) / 2


def signed_mean(a: Floats, b: Floats) -> float | None:
    """Return the mean of b - a; None without rows, and of several classes."""
    return mean_of(b - a) if a.ndim == 1 else None


def changed_rows(a: Floats, b: Floats) -> Booleans:
    """Say of each row whether any score differs, (rows,)."""
    differs = a != b
    return differs if differs.ndim == 1 else differs.any(axis=1)


def mean_of(values: Floats) -> float | None:
    """Return the mean, None without values; the sum is exact, so the rows' order is no matter."""
    return math.fsum(values.tolist()) / len(values) if len(values) else None


class LargestDeltas:
    """The rows of the largest changes in a stream of pairs; of equal ones the first counts.

    Args:
        key: The key columns.
        classes: Names of several classes, in the order of their probabilities.
    """

    def __init__(self, key: Sequence[str], classes: Sequence[str] = ()) -> None:
        self._key, self._classes = tuple(key), tuple(classes)
        self._found = list[LargestDelta]()

    def add(self, a: pa.Table, b: pa.Table) -> None:
        """Look at the next pairs of rows, with their key and `SCORE`."""
        before, after = scores_of(a), scores_of(b)
        apart = row_distance(before, after)
        order = np.argsort(-apart, kind="stable")[:LARGEST]
        chosen = order[apart[order] > self._least()]
        keys = (sample_keys(b.slice(int(row), 1), self._key)[0] for row in chosen)
        self._found.extend(
            self._delta(key, before[row], after[row], float(apart[row]))
            for row, key in zip(chosen, keys, strict=True)
        )
        self._found = most_changed(self._found)

    def rows(self) -> tuple[LargestDelta, ...]:
        """Return what was found so far, the largest first."""
        return tuple(self._found)

    def _delta(self, key: str, before: Floats, after: Floats, moved: float) -> LargestDelta:
        if not self._classes:
            return LargestDelta(key=key, a=float(before), b=float(after), moved=moved)
        return LargestDelta(
            key=key,
            a=float(before.max()),
            b=float(after.max()),
            moved=moved,
            class_a=self._classes[int(before.argmax())],
            class_b=self._classes[int(after.argmax())],
        )

    def _least(self) -> float:
        return self._found[-1].moved if len(self._found) == LARGEST else 0.0


def most_changed(rows: Iterable[LargestDelta]) -> list[LargestDelta]:
    """Return the `LARGEST` rows that changed most, the largest first; of equal ones the first."""
    return sorted(rows, key=lambda row: row.moved, reverse=True)[:LARGEST]


def _quantile(values: Floats, share: float) -> float | None:
    return float(np.quantile(values, share, method="inverted_cdf")) if len(values) else None
