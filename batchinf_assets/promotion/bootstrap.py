"""How far two models' golden metrics lie apart, with a paired bootstrap interval.

The metrics are those of `evaluation.binary`; what a difference means is judged in
`promotion.clauses`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pyarrow as pa

from batchinf_assets.evaluation.binary import binary_metrics
from batchinf_assets.evaluation.bootstrap import (
    Booleans,
    Floats,
    ScoredLabels,
    resample_counts,
)
from batchinf_assets.evaluation.intervals import percentiles
from batchinf_assets.evaluation_spec import Loss
from batchinf_assets.spec import Metric


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
    hard for both cancels out. The interval is that of `evaluation.intervals.percentiles`; a single
    row, which always resamples to itself, has none.

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
    points = {name: _point(model) for name, model in models.items()}
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


def _point(model: ScoredLabels) -> dict[str, float | None]:
    """Measure all rows as every other part of the platform does."""
    labels, scores = pa.array(model.labels, pa.bool_()), pa.array(model.scores, pa.float64())
    return binary_metrics(labels, scores, decision=model.decision, intervals=False).figures


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
    once_each = np.ones(len(champion.labels), np.int64)
    for counts in resample_counts(once_each, resamples, seed=seed):
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
    ends = reason = None
    if undefined:
        reason = _why_undefined(metric, undefined[0], models[undefined[0]])
    elif drawn is None:
        reason = "one row has no spread"
    elif (ends := percentiles(drawn, confidence)) is None:
        lacking = int(np.count_nonzero(np.isnan(drawn)))
        reason = f"undefined in {lacking} of {len(drawn)} resamples"
    return Difference(
        champion=champion,
        candidate=candidate,
        difference=None if champion is None or candidate is None else candidate - champion,
        low=ends[0] if ends else None,
        high=ends[1] if ends else None,
        resamples=0 if drawn is None else int(np.count_nonzero(~np.isnan(drawn))),
        reason=reason,
    )


def _why_undefined(metric: Metric, name: str, model: ScoredLabels) -> str:
    if not len(model.labels):
        return "there are no rows"
    missing = int(np.count_nonzero(np.isnan(model.scores)))
    if missing:
        return f"{missing} of the {name}'s {len(model.scores)} scores are NaN"
    if metric in get_args(Loss):
        return f"the {name} has scores outside 0 to 1"
    unsaid = f"the {name} has no score of at least {model.decision:g}"
    if metric == "precision":
        return unsaid
    if metric == "f1":
        return f"all labels are false, and {unsaid}"
    return "all labels are true" if model.labels.all() else "all labels are false"
