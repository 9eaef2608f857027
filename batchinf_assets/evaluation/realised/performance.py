"""Realised performance: published predictions of one window against the outcomes landed since.

The label is the pipeline's own SQL condition. What several windows show together is in `trailing`
and `trend`; `measure` puts all of it on record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import pyarrow as pa

from batchinf_assets.evaluation.metrics.figures import Metrics
from batchinf_assets.evaluation.metrics.segments import SegmentMetrics
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.features.labels import KNOWN_AT, LABEL, timed_labels
from batchinf_assets.lake.query import query, quoted
from batchinf_assets.spec.pipeline import PipelineSpec

State = Literal["measured", "no outcomes yet", "no labels", "withdrawn"]

SCORE, DELAY = "_score", "_delay"
"""Columns of labelled rows beside the label; declared names start with a letter."""


@dataclass(frozen=True, kw_only=True)
class LabelDelay:
    """How long after the window's end its labels became known; below zero for earlier ones.

    Attributes:
        rows: Labelled rows whose outcome says when it became known.
        median: In seconds; like the percentile a delay that occurred (Hyndman and Fan 1996,
            definition 1).
        percentile_95: In seconds.
    """

    rows: int
    median: float
    percentile_95: float


@dataclass(frozen=True, kw_only=True)
class Performance:
    """What outcomes say about one window's predictions.

    Attributes:
        state: `no outcomes yet` before anything landed; `no labels` while no prediction has one;
            `withdrawn` where readers see nothing of the window any more.
        rows: Predictions.
        labelled: Predictions whose outcome gives a label.
        metrics: Over the labelled rows; None unless measured.
        segments: The same by declared segment.
        delay: None where no labelled row says when its label became known.
    """

    state: State
    rows: int
    labelled: int
    metrics: Metrics | None
    segments: tuple[SegmentMetrics, ...] = ()
    delay: LabelDelay | None = None


def label_predictions(
    predictions: pa.Table,
    outcomes: pa.Table,
    *,
    spec: PipelineSpec,
    window_end: datetime,
    segments: pa.Table | None = None,
) -> pa.Table:
    """Join predictions to their outcomes and keep those that have a label.

    Of several outcomes of one key the one known last counts, so a correction replaces what it
    corrects. A prediction without outcome, or whose label is NULL, is left out.

    Args:
        predictions: Rows with the key and the score; keys unique.
        outcomes: Rows with the key and the declared outcome columns.
        spec: Declares key, score, label condition and `performance.segments`.
        window_end: What delays count from.
        segments: Rows with the key and the declared segments; None where none are declared.

    Returns:
        Columns `label`, `_score` (float64, of several classes a list of them), `_delay` (seconds,
        null where nobody knows) and the segments, each with its own type.

    Raises:
        FeatureSqlFailed: DuckDB refuses `outcomes.label`.
    """
    key = ", ".join(quoted(name) for name in spec.source.key)
    chosen = "".join(f", s.{quoted(name)}" for name in _segments(segments, spec))
    joined = f"LEFT JOIN segments AS s USING ({key})" if segments is not None else ""
    return query(
        f"""
        SELECT
            l.{LABEL},
            {_score(spec)} AS {SCORE},
            epoch(l.{KNOWN_AT}) - $window_end AS {DELAY}
            {chosen}
        FROM predictions AS p JOIN labels AS l USING ({key}) {joined}
        """,  # noqa: S608 - every name is quoted
        {
            "predictions": predictions,
            "labels": timed_labels(spec, outcomes),
            **({"segments": segments} if segments is not None else {}),
        },
        {"window_end": window_end.timestamp()},
    )


def realised_performance(
    labelled: pa.Table | None, rows: int, *, spec: PipelineSpec
) -> Performance:
    """Measure labelled predictions, all together and by declared segment.

    Args:
        labelled: As `label_predictions` returns them; None if no outcome landed.
        rows: Predictions, the unlabelled ones included.
        spec: Declares what is measured, and segments.
    """
    if labelled is None:
        return Performance(state="no outcomes yet", rows=rows, labelled=0, metrics=None)
    if labelled.num_rows == 0:
        return Performance(state="no labels", rows=rows, labelled=0, metrics=None)
    labels, scores = labelled.column(LABEL), labelled.column(SCORE)
    task = task_of(spec)
    return Performance(
        state="measured",
        rows=rows,
        labelled=labelled.num_rows,
        metrics=task.measure(labels, scores),
        segments=task.by_segment(labels, scores, labelled.select(spec.performance.segments)),
        delay=label_delay(labelled.column(DELAY)),
    )


def label_delay(seconds: pa.ChunkedArray) -> LabelDelay | None:
    """Summarise delays in seconds; nulls do not count, and nothing but nulls has no delay."""
    known = seconds.drop_null().to_numpy()
    if not len(known):
        return None
    median, late = np.quantile(known, [0.5, 0.95], method="inverted_cdf")
    return LabelDelay(rows=len(known), median=float(median), percentile_95=float(late))


def _score(spec: PipelineSpec) -> str:
    given = [f"CAST(p.{quoted(name)} AS DOUBLE)" for name in spec.prediction.given]
    return f"array_value({', '.join(given)})" if spec.prediction.classes else given[0]


def _segments(segments: pa.Table | None, spec: PipelineSpec) -> Sequence[str]:
    return spec.performance.segments if segments is not None else ()
