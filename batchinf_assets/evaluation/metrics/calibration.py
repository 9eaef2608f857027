"""Calibration curves: what was realised of rows whose scores are about the same.

That of realised outcomes comes from `realised.labelled_scores`. That of the golden set is kept in
the table `evaluation` under the kind `calibration`: subject is the bin's number, measure
`mean_score`, and `positive_share` or, of a regression, `mean_label`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.evaluation.metrics.figures import Interval
from batchinf_assets.evaluation.metrics.intervals import mean_interval, wilson_interval

CALIBRATION, MEAN_SCORE, POSITIVE_SHARE = "calibration", "mean_score", "positive_share"
MEAN_LABEL = "mean_label"
Floats = npt.NDArray[np.float64]

BINS = 10
"""Equal bins of [0, 1], as `calibration_error` has them."""


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Rows whose scores lie in one bin.

    Attributes:
        number: Of the bin, from 0.
        mean_score: Of its rows.
        mean_label: Of its rows, what a calibrated model's mean score equals; of labels that are
            true or false the share of positives.
        interval: Of that mean.
        rows: How many there are, at least one.
        measure: What the mean of the labels is called on record.
    """

    number: int
    mean_score: float
    mean_label: float
    interval: Interval | None
    rows: int
    measure: str = POSITIVE_SHARE


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
            mean_label=float(found[at] / total[at]),
            interval=wilson_interval(float(found[at] / total[at]), int(total[at])),
            rows=int(total[at]),
        )
        for at in np.flatnonzero(total).tolist()
    )


def prediction_curve(labels: Floats, predictions: Floats) -> tuple[CalibrationBin, ...]:
    """Put predicted numbers into bins at their deciles and hold the mean label against their mean.

    The interval of a mean is that of Student's t; a single row has none.

    Args:
        labels: Numbers, (n,).
        predictions: Numbers, (n,).

    Returns:
        The bins that have rows, in order; none where a label or prediction is no finite number.
    """
    if not len(labels) or not np.isfinite([labels, predictions]).all():
        return ()
    deciles = np.quantile(predictions, np.arange(1, BINS) / BINS, method="inverted_cdf")
    number = np.searchsorted(np.unique(deciles), predictions, side="left")
    return tuple(
        _number_bin(at, labels[number == at], predictions[number == at])
        for at in np.unique(number).tolist()
    )


def _number_bin(number: int, labels: Floats, predictions: Floats) -> CalibrationBin:
    return CalibrationBin(
        number=number,
        mean_score=float(predictions.mean()),
        mean_label=float(labels.mean()),
        interval=mean_interval(labels),
        rows=len(labels),
        measure=MEAN_LABEL,
    )


def calibration_of(rows: Iterable[Mapping[str, Any]]) -> tuple[CalibrationBin, ...]:
    """Read a curve back from the rows of one revision, its bins in order; empty without any."""
    found: dict[int, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["subject_kind"] == CALIBRATION:
            found.setdefault(int(row["subject"]), {})[row["measure"]] = row
    return tuple(_bin(number, found[number]) for number in sorted(found))


def _bin(number: int, rows: Mapping[str, Mapping[str, Any]]) -> CalibrationBin:
    measure = MEAN_LABEL if MEAN_LABEL in rows else POSITIVE_SHARE
    share = rows[measure]
    low, high = share["low"], share["high"]
    return CalibrationBin(
        number=number,
        mean_score=rows[MEAN_SCORE]["value"],
        mean_label=share["value"],
        interval=None if low is None or high is None else Interval(low=low, high=high),
        rows=share["rows"],
        measure=measure,
    )
