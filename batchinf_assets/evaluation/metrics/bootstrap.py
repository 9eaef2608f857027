"""Measure binary metrics on many resamples at once, in memory that the rows do not decide.

A resample is held as how often it has each cell: a row, or rows of one label and about one score.
Intervals of the figures are `metrics.binary`'s, those of differences `promotion.bootstrap`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from batchinf_assets.spec.evaluation import Loss, Metric, Quality

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

Named = TypeVar("Named", bound=str)

RESAMPLES = 1000
SEED = 20130101

HELD_AT_ONCE = 1 << 19
"""Cells times resamples: an array of them takes 4 MB, and about ten are alive."""

MOST_CELLS = 512
"""Scores, losses or rows up to which resamples draw each by itself."""

SCORE_GROUPS = 64
"""Groups of equally many rows, one score or loss about each, that they draw from otherwise."""

DRAWS_PER_CELL = 8
"""Up to here drawing row by row is faster than drawing a binomial number for each cell."""

LOG_LOSS_EPSILON = float(np.finfo(np.float64).eps)
"""What scikit-learn's `log_loss` keeps between a float64 probability and 0 or 1."""

CALIBRATION_BINS = 10
"""Bins of the calibration error, as in Naeini, Cooper and Hauskrecht 2015."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredLabels:
    """Labelled scores, to be measured on many resamples at once.

    Attributes:
        labels: Booleans, (cells,).
        scores: Finite for every figure, between 0 and 1 for the losses, (cells,).
        decision: The score that counts as positive, itself included.
        mean_log_losses: Of each cell's rows; None if its score is that of every one, (cells,).
        mean_squares: Distances of score and label, squared, likewise, (cells,).
    """

    labels: Booleans
    scores: Floats
    decision: float
    mean_log_losses: Floats | None = None
    mean_squares: Floats | None = None

    def resampled(self, metric: Metric, counts: Floats) -> Floats:
        """Measure resamples; NaN where the metric is undefined, or none of a binary label.

        Args:
            metric: What to measure.
            counts: How often each resample holds each cell, whole numbers, (resamples, cells).

        Returns:
            The metric by resample, (resamples,).
        """
        match metric:
            case "auroc":
                return self._auroc(counts)
            case "average_precision":
                return self._average_precision(counts)
            case "log_loss" | "brier" | "calibration_error":
                return ratio(self._loss(metric, counts), counts.sum(axis=1))
            case "precision" | "recall" | "f1" | "accuracy":
                return self._decided(metric, counts)
            case _:
                return np.full(len(counts), np.nan)

    def calibration_strays(self, counts: Floats, once: Floats) -> Floats:
        """Measure how far the bins of resamples stray from those of the rows themselves.

        Args:
            counts: How often each resample holds each cell, (resamples, cells).
            once: The rows of each cell, (1, cells).

        Returns:
            The mean, weighted by rows, of the distances between each bin's gap of mean score and
            share of positives there and here, (resamples,).
        """
        return np.abs(weighted_sums(counts - once, self._gaps)).sum(axis=1) / once.sum()

    def _decided(self, metric: Quality, counts: Floats) -> Floats:
        predicted = self.scores >= self.decision
        kinds = np.stack([self.labels & predicted, predicted, self.labels], axis=1)
        hits, said, true = weighted_sums(counts, kinds.astype(np.float64)).T
        match metric:
            case "precision":
                return ratio(hits, said)
            case "recall":
                return ratio(hits, true)
            case "f1":
                return ratio(2 * hits, said + true)
            case _:
                rows = counts.sum(axis=1)
                return ratio(rows - said - true + 2 * hits, rows)

    def _loss(self, metric: Loss, counts: Floats) -> Floats:
        match metric:
            case "log_loss":
                return weighted_sums(counts, self._log_losses)
            case "brier":
                return weighted_sums(counts, self._squares)
            case "calibration_error":
                return np.abs(weighted_sums(counts, self._gaps)).sum(axis=1)

    def _auroc(self, counts: Floats) -> Floats:
        """Count the pairs lost, a tie as half a pair, over scores in descending order.

        All sums are whole numbers below 2**53, so they are exact.
        """
        rows, positives = self._by_score(counts)
        negatives = rows - positives
        lost_twice = (positives * (2 * np.cumsum(negatives, axis=1) - negatives)).sum(axis=1)
        pairs_twice = 2 * positives.sum(axis=1) * negatives.sum(axis=1)
        return ratio(pairs_twice - lost_twice, pairs_twice)

    def _average_precision(self, counts: Floats) -> Floats:
        rows, positives = self._by_score(counts)
        through = np.cumsum(rows, axis=1)
        precisions = np.divide(
            np.cumsum(positives, axis=1), through, out=np.zeros_like(rows), where=through > 0
        )
        return ratio(np.einsum("rs,rs->r", positives, precisions), positives.sum(axis=1))

    def _by_score(self, counts: Floats) -> tuple[Floats, Floats]:
        """Return rows and positives of each resample by distinct score, the highest first."""
        order, tie_starts = self._ranking
        ranked = np.take(counts, order, axis=1)
        positives = ranked * self.labels[order]
        if len(tie_starts) == len(order):
            return ranked, positives
        rows = np.add.reduceat(ranked, tie_starts, axis=1)
        return rows, np.add.reduceat(positives, tie_starts, axis=1)

    @cached_property
    def _ranking(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        order = np.argsort(-self.scores, kind="stable")
        descending = self.scores[order]
        is_new = np.concatenate([[True], descending[1:] != descending[:-1]])
        return order, np.flatnonzero(is_new)

    @cached_property
    def _log_losses(self) -> Floats:
        if self.mean_log_losses is not None:
            return self.mean_log_losses
        likelihood = np.where(self.labels, self.scores, 1 - self.scores)
        return -np.log(np.clip(likelihood, LOG_LOSS_EPSILON, 1 - LOG_LOSS_EPSILON))

    @cached_property
    def _squares(self) -> Floats:
        return (self.scores - self.labels) ** 2 if self.mean_squares is None else self.mean_squares

    @cached_property
    def _gaps(self) -> Floats:
        bins = np.minimum(np.floor(self.scores * CALIBRATION_BINS), CALIBRATION_BINS - 1)
        is_in = bins[:, np.newaxis] == np.arange(CALIBRATION_BINS)
        return is_in * (self.labels - self.scores)[:, np.newaxis]


def resample_counts(
    weights: npt.NDArray[np.int64], resamples: int, *, seed: int
) -> Iterator[Floats]:
    """Draw resamples of n rows and count how often each cell is in each, in pieces of bounded size.

    Args:
        weights: The rows of each cell, at least one; n in all, (cells,).
        resamples: How many to draw.
        seed: Of the draws.

    Yields:
        Whole numbers, (some resamples, cells); each row of them adds up to n.
    """
    random = np.random.default_rng(seed)
    cells, rows = len(weights), int(weights.sum())
    by_row = rows <= DRAWS_PER_CELL * cells
    at_once = max(1, HELD_AT_ONCE // (rows if by_row else cells))
    draw = _drawn_rows if by_row else _drawn_cells
    for start in range(0, resamples, at_once):
        yield draw(random, weights, min(at_once, resamples - start)).astype(np.float64)


def resampled_figures(
    measure: Callable[[Named, Floats], Floats],
    weights: npt.NDArray[np.int64],
    metrics: Sequence[Named],
) -> dict[Named, Floats]:
    """Measure `RESAMPLES` resamples of weighted cells, drawn with the fixed seed.

    Args:
        measure: Returns a metric by resample from counts, (resamples, cells).
        weights: The rows of each cell, (cells,).
        metrics: What to measure.

    Returns:
        Each metric by resample, NaN where it is undefined, (resamples,).
    """
    parts: dict[Named, list[Floats]] = {metric: [] for metric in metrics}
    for counts in resample_counts(weights, RESAMPLES, seed=SEED):
        for metric, found in parts.items():
            found.append(measure(metric, counts))
    return {metric: np.concatenate(found) for metric, found in parts.items()}


def _drawn_rows(
    random: np.random.Generator, weights: npt.NDArray[np.int64], number: int
) -> npt.NDArray[np.int64]:
    cells, rows = len(weights), int(weights.sum())
    drawn = random.integers(rows, size=(number, rows))
    if rows > cells:
        drawn = np.repeat(np.arange(cells), weights)[drawn]
    drawn += cells * np.arange(number)[:, np.newaxis]
    return np.bincount(drawn.ravel(), minlength=number * cells).reshape(number, cells)


def _drawn_cells(
    random: np.random.Generator, weights: npt.NDArray[np.int64], number: int
) -> npt.NDArray[np.int64]:
    rows = int(weights.sum())
    return random.multinomial(rows, weights / rows, size=number)


def weighted_sums(counts: Floats, values: Floats) -> Floats:
    """Add up what each resample holds of one or several values.

    Not by BLAS, whose threads wait for the next product by spinning: for products as small as these
    they took more of a core from whoever scores than they saved.

    Args:
        counts: How often each resample holds each cell, (resamples, cells).
        values: Of each cell, (cells,) or (cells, values).

    Returns:
        (resamples,) or (resamples, values).
    """
    return np.einsum("rc,...c->r...", counts, np.ascontiguousarray(values.T))


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide, NaN where the denominator is not positive; both (n,)."""
    undefined = np.full(len(denominator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)
