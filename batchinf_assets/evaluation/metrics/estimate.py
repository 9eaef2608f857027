"""What quality to expect before any outcome is known, if the scores mean what they say.

The scores were counted while they were made, by `scoring.score_histogram`; what outcomes say later
is `realised.performance`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from batchinf_assets.scoring.score_histogram import bin_edges

Floats = npt.NDArray[np.float64]

ESTIMATED = ("precision", "recall", "f1", "accuracy", "auroc", "log_loss", "brier")
"""What can be estimated; the error of calibration cannot, as it is taken to be none."""


def estimated_metrics(histogram: Sequence[int], *, decision: float) -> dict[str, float | None]:
    """Estimate the metrics of a binary label from nothing but how often each score was given.

    Confidence-based performance estimation (Białek, Kuberski, Perrakis and Bifet 2024,
    arXiv:2401.08348). It holds for calibrated scores: of the rows scored s a share s is positive.
    Each row then counts as s of a positive and 1 - s of a negative. With sums over rows,
    `+` the rows with s >= decision and `-` the others:

    - TP = sum over `+` of s, FP = sum over `+` of 1 - s, FN = sum over `-` of s, TN likewise.
    - precision = TP / (TP + FP) and accuracy = (TP + TN) / rows are exact expectations, as how many
      are predicted is known.
    - recall = TP / (TP + FN) and f1 = 2 TP / (2 TP + FP + FN) are ratios of expectations; they come
      near the expectation of the ratio as rows grow.
    - auroc = expected pairs of a positive above a negative, ties half, by expected pairs of a
      positive and a negative. Two rows i and j are such a pair with chance s_i (1 - s_j); no row
      makes a pair with itself. A ratio of expectations too.
    - log_loss = mean of -(s ln s + (1 - s) ln(1 - s)), in nats.
    - brier = mean of s (1 - s), as s (1 - s)² + (1 - s) s² is that.

    Rows of a bin count with the bin's midpoint as their score. With bins of width w that moves the
    sums by at most w / 2 per row, and for scores spread evenly inside a bin by w² / 12 at most. A
    bin that the decision cuts counts as two, its rows shared by width; where the decision is an
    edge, as hundredths are with 200 bins, nothing is shared.

    Args:
        histogram: Rows by equal bin of [0, 1], of any number; then, last, the rows whose score is
            outside [0, 1] or NaN.
        decision: The score that counts as positive, itself included.

    Returns:
        By name, in the order of `ESTIMATED`. Every figure is None where nothing was scored or some
        score is no probability; precision also where no row is predicted positive; auroc where
        there is but one row.
    """
    *inside, outside = histogram
    rows = sum(inside)
    if outside or not rows:
        return dict.fromkeys(ESTIMATED)
    bins = _equal_bins(np.asarray(inside, dtype=np.float64))
    return {
        **_of_predictions(_cut(bins, decision), decision),
        "auroc": _auroc(bins),
        "log_loss": float((bins.rows * _entropy(bins.score)).sum()) / rows,
        "brier": float((bins.positives * (1 - bins.score)).sum()) / rows,
    }


@dataclass(frozen=True, kw_only=True)
class _Bins:
    """Bins of [0, 1] in ascending order: their edges, one more than bins, and their rows."""

    edges: Floats
    rows: Floats

    @property
    def score(self) -> Floats:
        return (self.edges[:-1] + self.edges[1:]) / 2

    @property
    def positives(self) -> Floats:
        return self.rows * self.score

    @property
    def negatives(self) -> Floats:
        return self.rows * (1 - self.score)


def _equal_bins(rows: Floats) -> _Bins:
    return _Bins(edges=bin_edges(len(rows)), rows=rows)


def _cut(bins: _Bins, decision: float) -> _Bins:
    """Part the bin that the decision lies in, if it lies inside one."""
    upper = int(np.searchsorted(bins.edges, decision))
    high = bins.edges[upper]
    if high == decision:
        return bins
    low, shared = bins.edges[upper - 1], bins.rows[upper - 1]
    below = shared * (decision - low) / (high - low)
    parts = np.concatenate([bins.rows[: upper - 1], [below, shared - below], bins.rows[upper:]])
    return _Bins(edges=np.insert(bins.edges, upper, decision), rows=parts)


def _of_predictions(bins: _Bins, decision: float) -> dict[str, float | None]:
    predicted = bins.edges[:-1] >= decision
    true_positives = float(bins.positives[predicted].sum())
    false_positives = float(bins.negatives[predicted].sum())
    false_negatives = float(bins.positives[~predicted].sum())
    true_negatives = float(bins.negatives[~predicted].sum())
    right, wrong = true_positives + true_negatives, false_positives + false_negatives
    found = true_positives + false_positives
    return {
        "precision": true_positives / found if found else None,
        "recall": true_positives / (true_positives + false_negatives),
        "f1": 2 * true_positives / (2 * true_positives + wrong),
        "accuracy": right / (right + wrong),
    }


def _auroc(bins: _Bins) -> float | None:
    """Add up pairs of different rows; two rows of one bin are tied."""
    if float(bins.rows.sum()) < 2:
        return None
    with_itself = bins.positives * (1 - bins.score)
    tied = bins.positives * bins.negatives - with_itself
    below = np.cumsum(bins.negatives) - bins.negatives
    pairs = float(bins.positives.sum() * bins.negatives.sum() - with_itself.sum())
    return float((bins.positives * below).sum() + tied.sum() / 2) / pairs


def _entropy(score: Floats) -> Floats:
    return -(score * np.log(score) + (1 - score) * np.log1p(-score))
