"""Calibration curves: the share of positives among rows whose scores are about the same.

That of realised outcomes comes from `evaluation.labelled_scores`. That of the golden set is kept in
the table `evaluation` under the kind `calibration`: subject is the bin's number, measure
`mean_score` or `positive_share`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from batchinf_assets.evaluation.figures import Interval
from batchinf_assets.evaluation.intervals import wilson_interval

CALIBRATION, MEAN_SCORE, POSITIVE_SHARE = "calibration", "mean_score", "positive_share"
BINS = 10
"""Equal bins of [0, 1], as `calibration_error` has them."""


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Rows whose scores lie in one bin.

    Attributes:
        number: Of the bin, from 0.
        mean_score: Of its rows.
        positive_share: Of its rows; what a calibrated model's mean score equals.
        interval: Of that share.
        rows: How many there are, at least one.
    """

    number: int
    mean_score: float
    positive_share: float
    interval: Interval | None
    rows: int


def calibration_curve(counts: pa.Table) -> tuple[CalibrationBin, ...]:
    """Put scores into bins and hold the share of positives of each against its mean score.

    Args:
        counts: Labelled rows by score, columns `score`, `positives` and `negatives`.

    Returns:
        The bins that have rows, in order; none where a score is no probability.
    """
    names = ("score", "positives", "negatives")
    score, positives, negatives = (
        counts.column(name).to_numpy().astype(np.float64) for name in names
    )
    if not np.all((score >= 0) & (score <= 1)):  # NaN is no probability either
        return ()
    number, rows = np.minimum((score * BINS).astype(int), BINS - 1), positives + negatives
    total, found, scored = (
        np.bincount(number, weights=weights, minlength=BINS)
        for weights in (rows, positives, score * rows)
    )
    return tuple(
        CalibrationBin(
            number=at,
            mean_score=float(scored[at] / total[at]),
            positive_share=float(found[at] / total[at]),
            interval=wilson_interval(float(found[at] / total[at]), int(total[at])),
            rows=int(total[at]),
        )
        for at in np.flatnonzero(total).tolist()
    )


def calibration_of(rows: Iterable[Mapping[str, Any]]) -> tuple[CalibrationBin, ...]:
    """Read a curve back from the rows of one revision, its bins in order; empty without any."""
    found: dict[int, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["subject_kind"] == CALIBRATION:
            found.setdefault(int(row["subject"]), {})[row["measure"]] = row
    return tuple(_bin(number, found[number]) for number in sorted(found))


def _bin(number: int, rows: Mapping[str, Mapping[str, Any]]) -> CalibrationBin:
    share = rows[POSITIVE_SHARE]
    low, high = share["low"], share["high"]
    return CalibrationBin(
        number=number,
        mean_score=rows[MEAN_SCORE]["value"],
        positive_share=share["value"],
        interval=None if low is None or high is None else Interval(low=low, high=high),
        rows=share["rows"],
    )
