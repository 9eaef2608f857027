"""Rows of one label and about one score, counted together: what resamples are drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.evaluation.metrics.bootstrap import (
    CALIBRATION_BINS,
    LOG_LOSS_EPSILON,
    MOST_CELLS,
    SCORE_GROUPS,
    Floats,
    ScoredLabels,
)

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreCells:
    """The cells of some rows.

    Attributes:
        scored: Label, mean score and mean losses of each.
        weights: The rows of each, at least one, (cells,).
    """

    scored: ScoredLabels
    weights: Counts


def score_cells(
    by_score: pa.Table, wanted: Sequence[int], *, decision: float
) -> Iterator[ScoreCells]:
    """Yield the cells of some segments.

    At most `MOST_CELLS` scores keep a cell each for either label; more are put into `SCORE_GROUPS`
    groups of about equally many rows, cut at the decision and at the edges of the calibration bins.

    Args:
        by_score: Columns `segment`, `score`, `positives` and `negatives`, a score once in a
            segment; in any order, which changes no bit.
        wanted: The segments, each with rows, and no label or score missing.
        decision: The score that counts as positive, itself included.
    """
    names = ("segment", "score", "positives", "negatives")
    segments, scores, positives, negatives = (by_score.column(n).to_numpy() for n in names)
    order = np.lexsort((scores, segments))
    ranked = segments[order]
    for segment in wanted:
        own = order[slice(*np.searchsorted(ranked, [segment, segment + 1]))]
        yield _cells(scores[own], positives[own], negatives[own], decision)


def _cells(scores: Floats, positives: Counts, negatives: Counts, decision: float) -> ScoreCells:
    """Count rows together whose scores ascend."""
    rows = positives + negatives
    below = np.cumsum(rows) - rows
    group = below if len(scores) <= MOST_CELLS else below * SCORE_GROUPS // rows.sum()
    inside = np.clip(scores, 0, 1)  # what else is there has no loss, but a rank
    calibration_bin = np.minimum(np.floor(inside * CALIBRATION_BINS), CALIBRATION_BINS - 1)
    changes = [np.diff(each) != 0 for each in (group, scores >= decision, calibration_bin)]
    starts = np.concatenate([[0], np.flatnonzero(np.any(changes, axis=0)) + 1])
    lasts = np.append(starts[1:], len(scores)) - 1
    mean = np.add.reduceat(inside * rows, starts) / np.add.reduceat(rows, starts)
    mean = np.clip(mean, scores[starts], scores[lasts])  # rounding leads over no edge
    counts = np.stack([negatives, positives], axis=1)
    likelihoods = np.stack([1 - inside, inside], axis=1)  # of either label
    weights = np.add.reduceat(counts, starts)
    held = weights > 0
    return ScoreCells(
        scored=ScoredLabels(
            labels=np.broadcast_to([False, True], weights.shape)[held],
            scores=np.repeat(mean[:, np.newaxis], 2, axis=1)[held],
            decision=decision,
            mean_log_losses=_mean(_log_losses(likelihoods), counts, starts, weights)[held],
            mean_squares=_mean((1 - likelihoods) ** 2, counts, starts, weights)[held],
        ),
        weights=weights[held],
    )


def _mean(losses: Floats, counts: Counts, starts: npt.NDArray[np.intp], weights: Counts) -> Floats:
    return np.add.reduceat(losses * counts, starts) / np.maximum(weights, 1)


def _log_losses(likelihoods: Floats) -> Floats:
    return -np.log(np.clip(likelihoods, LOG_LOSS_EPSILON, 1 - LOG_LOSS_EPSILON))
