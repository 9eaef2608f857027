"""What outcomes say of two sides' scores of the same rows, and of each segment of them.

How far two metrics lie apart is measured in `promotion.bootstrap`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.evaluation.comparison.deltas import mean_of, row_distance, signed_mean
from batchinf_assets.evaluation.comparison.held import HeldRows
from batchinf_assets.evaluation.comparison.labels import LabelState
from batchinf_assets.evaluation.metrics.flips import Flips
from batchinf_assets.evaluation.metrics.segments import segment_codes
from batchinf_assets.evaluation.metrics.task import Labels
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.promotion.bootstrap import Difference, paired_differences
from batchinf_assets.scoring.said import score_array
from batchinf_assets.spec.evaluation import Metric
from batchinf_assets.spec.pipeline import PipelineSpec

SEED = 0
"""Of the bootstrap: the same two sides always get the same intervals."""

CONFIDENCE = 0.95

MOST_RESAMPLED = 20_000
"""Labelled rows that are resampled at most; a thousand resamples of them took 2 s."""

MOST_RESAMPLED_OF_SEGMENT = 2_000

QualityState = Literal["measured", "no labels"] | LabelState


@dataclass(frozen=True, kw_only=True)
class MetricDifference:
    """One metric of both sides on the same rows; what is undefined is None, never 0.

    Attributes:
        a: The figure of a.
        b: The figure of b.
        difference: b - a.
        low: Lower end of the 95 % interval of the difference.
        high: Its upper end.
        reason: Why a figure or the interval is undefined; None if nothing is.
    """

    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class ComparedQuality:
    """Metrics of both sides on the labelled rows that both have.

    Attributes:
        state: `measured`, or why nothing is.
        labelled: Rows with a label.
        positives: Of these, those whose label is true; None of numbers and of several classes.
        metrics: By name; empty unless measured.
        problem: What is wrong with the outcomes that landed; None where nothing is.
    """

    state: QualityState
    labelled: int
    positives: int | None
    metrics: Mapping[Metric, MetricDifference]
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class SegmentComparison:
    """The rows that share a value, or a range of values, of one feature in b.

    Attributes:
        column: The feature.
        value: The value or range in words.
        rows: Rows that both sides have.
        mean: Mean of b - a over their scores; None of several classes.
        mean_absolute: Mean of how far rows moved.
        flips: Rows whose label flips; None of numbers, which have none.
        quality: What outcomes say of them.
    """

    column: str
    value: str
    rows: int
    mean: float | None
    mean_absolute: float | None
    flips: Flips | None
    quality: ComparedQuality


def compare_quality(
    held: HeldRows,
    spec: PipelineSpec,
    state: LabelState,
    problem: str | None = None,
    *,
    most: int = MOST_RESAMPLED,
) -> ComparedQuality:
    """Measure both sides where outcomes have landed.

    Intervals are those of a paired bootstrap. Above `most` labelled rows so many of them are
    resampled, chosen with a fixed seed, and the distances of the ends from their difference are
    narrowed by the square root of their share, as errors of means shrink (Politis, Romano and Wolf
    1999, Subsampling).

    Args:
        held: The paired rows.
        spec: Declares what is measured and the number of resamples.
        state: Whether outcomes have landed.
        problem: Why those that landed are not used.
        most: Rows to resample.
    """
    rows = held.labelled
    kind = spec.prediction.of
    labels = task_of(spec).labels_of(rows.labels)
    if state != "landed" or not len(labels):
        why = "no labels" if state == "landed" else state
        return ComparedQuality(state=why, labelled=0, positives=0, metrics={}, problem=problem)
    return ComparedQuality(
        state="measured",
        labelled=len(labels),
        positives=int(np.count_nonzero(labels)) if kind.has_classes else None,
        metrics=_differences(rows, labels, spec, most),
        problem=problem,
    )


def compare_segments(
    held: HeldRows, spec: PipelineSpec, state: LabelState
) -> tuple[SegmentComparison, ...]:
    """Compare both sides segment by segment, those whose scores changed most first."""
    found = (
        _segment(held.of(flags), spec, state, column, value)
        for column in held.segments.column_names
        for value, flags in _segments(held.segments.column(column))
    )
    return tuple(sorted(found, key=lambda each: (-(each.mean_absolute or 0), each.column)))


def _segments(column: pa.ChunkedArray) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    names, codes = segment_codes(column)
    for code, name in enumerate(names):
        flags = codes == code
        if flags.any():
            yield name, flags


def _segment(
    rows: HeldRows, spec: PipelineSpec, state: LabelState, column: str, value: str
) -> SegmentComparison:
    return SegmentComparison(
        column=column,
        value=value,
        rows=len(rows.a),
        mean=signed_mean(rows.a, rows.b),
        mean_absolute=mean_of(row_distance(rows.a, rows.b)),
        flips=task_of(spec).flips(rows.a, rows.b),
        quality=compare_quality(rows, spec, state, most=MOST_RESAMPLED_OF_SEGMENT),
    )


def _differences(
    rows: HeldRows, labels: Labels, spec: PipelineSpec, most: int
) -> dict[Metric, MetricDifference]:
    task = task_of(spec)
    every, chosen = len(labels), np.arange(len(labels))
    if every > most:
        chosen = np.sort(np.random.default_rng(SEED).choice(every, most, replace=False))
    drawn = paired_differences(
        labels[chosen],
        rows.a[chosen],
        rows.b[chosen],
        task=task,
        metrics=task.metrics,
        resamples=spec.model.promotion.resamples,
        confidence=CONFIDENCE,
        seed=SEED,
    )
    if every <= most:
        return {metric: _of(each, each.champion, each.candidate) for metric, each in drawn.items()}
    truth = pa.array(labels)
    a, b = (
        task.measure(truth, score_array(scores), intervals=False).figures
        for scores in (rows.a, rows.b)
    )
    narrower = math.sqrt(most / every)
    return {m: _of(each, a[m], b[m], narrower=narrower) for m, each in drawn.items()}


def _of(
    drawn: Difference, a: float | None, b: float | None, *, narrower: float = 1.0
) -> MetricDifference:
    difference = None if a is None or b is None else b - a
    low, high = (_end(drawn, end, difference, narrower) for end in (drawn.low, drawn.high))
    reason = drawn.reason
    if reason is not None:
        reason = reason.replace("the champion", "a").replace("the candidate", "b")
    return MetricDifference(a=a, b=b, difference=difference, low=low, high=high, reason=reason)


def _end(
    drawn: Difference, end: float | None, difference: float | None, narrower: float
) -> float | None:
    if end is None or difference is None or drawn.difference is None:
        return None
    return end if narrower == 1 else difference + narrower * (end - drawn.difference)
