"""How far two models' golden metrics lie apart, with a paired bootstrap interval.

The metrics are those of `evaluation.golden`; what a difference means is judged in
`promotion.clauses`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.evaluation.golden import LOG_LOSS_EPSILON, binary_metrics
from batchinf_assets.spec import Metric

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

CELLS = 1 << 19
"""Rows times resamples held at once: an array of them takes 4 MB, and about ten are alive."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of both models on the same rows; what is undefined is None, never 0.

    Attributes:
        champion: The champion's figure on all rows.
        candidate: The candidate's.
        difference: candidate - champion.
        low: Lower end of the interval of the difference.
        high: Its upper end.
        resamples: Resamples in which the metric was defined for both models.
        reason: Why a figure or the interval is undefined; None if nothing is.
    """

    champion: float | None
    candidate: float | None
    difference: float | None
    low: float | None
    high: float | None
    resamples: int
    reason: str | None = None


def paired_differences(
    labels: Booleans,
    champion: Floats,
    candidate: Floats,
    *,
    metrics: Sequence[Metric],
    decision: float,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[Metric, Difference]:
    """Compare two models on the same labelled rows.

    Each resample draws n rows with replacement, the same ones for both models, so what makes a row
    hard for both cancels out. The interval is the percentile interval (Efron and Tibshirani 1993,
    An Introduction to the Bootstrap, chapter 13), with quantiles interpolated linearly. It stays
    undefined where more resamples lack the metric than the interval leaves out at one end: those
    could have been the worst ones. So it does for a single row, which always resamples to itself.

    The rows' order does not matter; the same seed gives the same interval.

    Args:
        labels: Booleans, (n,).
        champion: Its scores, (n,).
        candidate: Its scores, (n,).
        metrics: Which to compare.
        decision: The score that counts as positive, itself included.
        resamples: How many to draw.
        confidence: Of the interval, such as 0.95.
        seed: Of the draws.

    Returns:
        One difference per metric, in the order asked for.

    Raises:
        ValueError: The three differ in shape, or the labels are no booleans.
    """
    _require_paired(labels, champion, candidate)
    models = _in_canonical_order(labels, champion, candidate, decision)
    points = {name: model.point for name, model in models.items()}
    drawn = _drawn_differences(
        models["champion"],
        models["candidate"],
        [m for m in metrics if len(labels) > 1 and None not in (p[m] for p in points.values())],
        resamples=resamples,
        seed=seed,
    )
    return {
        metric: _summed_up(metric, models, points, drawn.get(metric), confidence)
        for metric in metrics
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredLabels:
    """One model's scores of labelled rows, to be measured on many resamples at once.

    Attributes:
        labels: Booleans, (n,).
        scores: Finite for every figure, between 0 and 1 for log loss and Brier score, (n,).
        decision: The score that counts as positive, itself included.
    """

    labels: Booleans
    scores: Floats
    decision: float

    @property
    def point(self) -> dict[str, float | None]:
        """The figures on all rows, as every other part of the platform reports them."""
        metrics = binary_metrics(
            pa.array(self.labels, pa.bool_()),
            pa.array(self.scores, pa.float64()),
            decision=self.decision,
        )
        return metrics.figures

    def resampled(self, metric: Metric, counts: Floats) -> Floats:
        """Measure resamples; NaN where the metric is undefined.

        Args:
            metric: What to measure.
            counts: How often each resample holds each row, whole numbers, (resamples, n).

        Returns:
            The metric by resample, (resamples,).
        """
        predicted = self.scores >= self.decision
        match metric:
            case "auroc":
                return self._auroc(counts)
            case "precision":
                return _ratio(counts @ (predicted & self.labels), counts @ predicted)
            case "recall":
                return _ratio(counts @ (predicted & self.labels), counts @ self.labels)
            case "log_loss":
                return _ratio(counts @ self._log_losses, counts.sum(axis=1))
            case "brier":
                return _ratio(counts @ (self.scores - self.labels) ** 2, counts.sum(axis=1))

    def _auroc(self, counts: Floats) -> Floats:
        """Count the pairs won, a tie as half a pair, over scores in ascending order.

        All sums are whole numbers below 2**53, so they are exact.
        """
        order, tie_starts = self._ranking
        ranked = np.take(counts, order, axis=1)
        rows = np.add.reduceat(ranked, tie_starts, axis=1)
        positives = np.add.reduceat(ranked * self.labels[order], tie_starts, axis=1)
        negatives = rows - positives
        negatives_below = np.cumsum(negatives, axis=1) - negatives
        won_twice = (positives * (2 * negatives_below + negatives)).sum(axis=1)
        return _ratio(won_twice, 2 * positives.sum(axis=1) * negatives.sum(axis=1))

    @cached_property
    def _ranking(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        order = np.argsort(self.scores, kind="stable")
        ascending = self.scores[order]
        is_new = np.concatenate([[True], ascending[1:] != ascending[:-1]])
        return order, np.flatnonzero(is_new)

    @cached_property
    def _log_losses(self) -> Floats:
        likelihood = np.where(self.labels, self.scores, 1 - self.scores)
        return -np.log(np.clip(likelihood, LOG_LOSS_EPSILON, 1 - LOG_LOSS_EPSILON))


def resample_counts(rows: int, resamples: int, *, seed: int) -> Iterator[Floats]:
    """Draw resamples of n rows and count how often each row is in each, in pieces of bounded size.

    Args:
        rows: n, at least 1.
        resamples: How many to draw.
        seed: Of the draws.

    Yields:
        Whole numbers, (some resamples, n); each row of them adds up to n.
    """
    random = np.random.default_rng(seed)
    at_once = max(1, CELLS // rows)
    for start in range(0, resamples, at_once):
        number = min(at_once, resamples - start)
        drawn = random.integers(rows, size=(number, rows))
        drawn += rows * np.arange(number)[:, np.newaxis]
        counts = np.bincount(drawn.ravel(), minlength=number * rows)
        yield counts.reshape(number, rows).astype(np.float64)


def _require_paired(labels: Booleans, champion: Floats, candidate: Floats) -> None:
    if labels.dtype != np.bool_:
        raise ValueError(f"labels must be booleans, not {labels.dtype}")
    if not labels.shape == champion.shape == candidate.shape or labels.ndim != 1:
        raise ValueError(
            f"labels {labels.shape}, champion {champion.shape} and candidate {candidate.shape} "
            "must be of one shape (n,)"
        )


def _in_canonical_order(
    labels: Booleans, champion: Floats, candidate: Floats, decision: float
) -> dict[str, ScoredLabels]:
    order = np.lexsort((labels, candidate, champion))
    return {
        name: ScoredLabels(labels=labels[order], scores=scores[order], decision=decision)
        for name, scores in (("champion", champion), ("candidate", candidate))
    }


def _drawn_differences(
    champion: ScoredLabels,
    candidate: ScoredLabels,
    metrics: Sequence[Metric],
    *,
    resamples: int,
    seed: int,
) -> dict[Metric, Floats]:
    if not metrics:
        return {}
    parts: dict[Metric, list[Floats]] = {metric: [] for metric in metrics}
    for counts in resample_counts(len(champion.labels), resamples, seed=seed):
        for metric, found in parts.items():
            found.append(candidate.resampled(metric, counts) - champion.resampled(metric, counts))
    return {metric: np.concatenate(found) for metric, found in parts.items()}


def _summed_up(
    metric: Metric,
    models: Mapping[str, ScoredLabels],
    points: Mapping[str, Mapping[str, float | None]],
    drawn: Floats | None,
    confidence: float,
) -> Difference:
    champion, candidate = points["champion"][metric], points["candidate"][metric]
    undefined = [name for name in models if points[name][metric] is None]
    low = high = reason = None
    if undefined:
        reason = _why_undefined(metric, undefined[0], models[undefined[0]])
    elif drawn is None:
        reason = "one row has no spread"
    else:
        low, high, reason = _interval(drawn, confidence)
    return Difference(
        champion=champion,
        candidate=candidate,
        difference=None if champion is None or candidate is None else candidate - champion,
        low=low,
        high=high,
        resamples=0 if drawn is None else int(np.count_nonzero(~np.isnan(drawn))),
        reason=reason,
    )


def _interval(drawn: Floats, confidence: float) -> tuple[float | None, float | None, str | None]:
    tail = (1 - confidence) / 2
    defined = drawn[~np.isnan(drawn)]
    lacking = len(drawn) - len(defined)
    if lacking > tail * len(drawn):
        return None, None, f"undefined in {lacking} of {len(drawn)} resamples"
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high), None


def _why_undefined(metric: Metric, name: str, model: ScoredLabels) -> str:
    if not len(model.labels):
        return "there are no rows"
    missing = int(np.count_nonzero(np.isnan(model.scores)))
    if missing:
        return f"{missing} of the {name}'s {len(model.scores)} scores are NaN"
    if metric in ("log_loss", "brier"):
        return f"the {name} has scores outside 0 to 1"
    if metric == "precision":
        return f"the {name} has no score of at least {model.decision:g}"
    return "all labels are true" if model.labels.all() else "all labels are false"


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    undefined = np.full(len(denominator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)
