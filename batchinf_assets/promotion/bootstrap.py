"""How far two models' golden metrics lie apart, with a paired bootstrap interval.

The metrics are those of `metrics.tasks`; what a difference means is judged in
`promotion.clauses`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from batchinf_assets.evaluation.metrics.bootstrap import Floats, resample_counts
from batchinf_assets.evaluation.metrics.intervals import percentiles
from batchinf_assets.evaluation.metrics.task import Labels, Resampled, Task
from batchinf_assets.scoring.said import score_array
from batchinf_assets.spec.evaluation import Metric


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
    labels: Labels,
    champion: Floats,
    candidate: Floats,
    *,
    task: Task,
    metrics: Sequence[Metric],
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[Metric, Difference]:
    """Compare two models on the same labelled rows.

    Each resample draws n rows with replacement, the same ones for both models, so what makes a row
    hard for both cancels out. The interval is that of `metrics.intervals.percentiles`; a single
    row, which always resamples to itself, has none.

    The rows' order does not matter; the same seed gives the same interval.

    Args:
        labels: What the task measures against, (n,).
        champion: Its scores, as `scoring.said` has them, n.
        candidate: Its scores, of the same shape.
        task: What both are measured by.
        metrics: Which to compare.
        resamples: How many to draw.
        confidence: Of the interval, such as 0.95.
        seed: Of the draws.

    Returns:
        One difference per metric, in the order asked for.

    Raises:
        ValueError: The three differ in shape, or the labels are not of the task's type.
    """
    _require_paired(labels, champion, candidate)
    order = np.lexsort((labels, *_columns(candidate), *_columns(champion)))
    truth = labels[order]
    models = {"champion": champion[order], "candidate": candidate[order]}
    points = {
        name: task.measure(pa.array(truth), score_array(scores), intervals=False).figures
        for name, scores in models.items()
    }
    drawn = _drawn_differences(
        task.paired(truth, models["champion"]),
        task.paired(truth, models["candidate"]),
        [m for m in metrics if len(truth) > 1 and None not in (p[m] for p in points.values())],
        len(truth),
        resamples=resamples,
        seed=seed,
    )
    return {
        metric: _summed_up(
            {name: figures[metric] for name, figures in points.items()},
            drawn.get(metric),
            confidence,
            why=partial(_why_undefined, task, metric, truth, models),
        )
        for metric in metrics
    }


def _require_paired(labels: Labels, champion: Floats, candidate: Floats) -> None:
    rows = {len(each) for each in (labels, champion, candidate)}
    if len(rows) != 1 or champion.shape != candidate.shape or labels.ndim != 1:
        raise ValueError(
            f"labels {labels.shape}, champion {champion.shape} and candidate {candidate.shape} "
            "must be of one shape (n,)"
        )


def label_values(labels: pa.ChunkedArray) -> Labels:
    """Return labels as an array that can be sorted, (n,): classes are texts of a fixed width."""
    values = labels.to_numpy()
    return values.astype(np.str_) if values.dtype == np.object_ else values


def _columns(scores: Floats) -> Floats:
    return np.atleast_2d(scores.T)


def _drawn_differences(
    champion: Resampled,
    candidate: Resampled,
    metrics: Sequence[Metric],
    rows: int,
    *,
    resamples: int,
    seed: int,
) -> dict[Metric, Floats]:
    if not metrics:
        return {}
    parts: dict[Metric, list[Floats]] = {metric: [] for metric in metrics}
    for counts in resample_counts(np.ones(rows, np.int64), resamples, seed=seed):
        for metric, found in parts.items():
            found.append(candidate.resampled(metric, counts) - champion.resampled(metric, counts))
    return {metric: np.concatenate(found) for metric, found in parts.items()}


def _summed_up(
    points: Mapping[str, float | None],
    drawn: Floats | None,
    confidence: float,
    *,
    why: Callable[[str], str],
) -> Difference:
    champion, candidate = points["champion"], points["candidate"]
    undefined = [name for name, point in points.items() if point is None]
    ends = reason = None
    if undefined:
        reason = why(undefined[0])
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


def _why_undefined(
    task: Task, metric: Metric, labels: Labels, models: Mapping[str, Floats], name: str
) -> str:
    if not len(labels):
        return "there are no rows"
    return task.why_undefined(metric, name, labels, models[name])
