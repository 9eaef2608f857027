"""Realised performance: published predictions against the outcomes that arrived since.

The metrics are those of `evaluation.golden`; the label is the pipeline's own SQL condition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from batchinf_assets.evaluation.golden import BinaryMetrics, binary_metrics
from batchinf_assets.features.labels import LABEL, label_rows
from batchinf_assets.lake.query import query, quoted
from batchinf_assets.spec import PipelineSpec

State = Literal["measured", "no outcomes yet", "no labels"]


@dataclass(frozen=True, kw_only=True)
class Performance:
    """What outcomes say about one window's predictions.

    Attributes:
        state: `no outcomes yet` before anything landed; `no labels` while no prediction has one.
        rows: Predictions.
        labelled: Predictions whose outcome gives a label.
        metrics: Over the labelled rows; None unless measured.
    """

    state: State
    rows: int
    labelled: int
    metrics: BinaryMetrics | None


def realised_performance(
    predictions: pa.Table, outcomes: pa.Table | None, *, spec: PipelineSpec
) -> Performance:
    """Join predictions to their outcomes and measure those that have a label.

    Of several outcomes of one key the one known last counts, so a correction replaces what it
    corrects. A prediction without outcome, or whose label is NULL, is not measured.

    Args:
        predictions: Rows with the key and the score; keys unique.
        outcomes: Rows with the key and the declared outcome columns; None if nothing landed.
        spec: Declares key, score, label condition and decision.

    Raises:
        FeatureSqlFailed: DuckDB refuses `outcomes.label`.
    """
    rows = predictions.num_rows
    if outcomes is None or spec.outcomes is None:
        return Performance(state="no outcomes yet", rows=rows, labelled=0, metrics=None)
    labelled = _labelled(predictions, label_rows(spec, outcomes), spec)
    if labelled.num_rows == 0:
        return Performance(state="no labels", rows=rows, labelled=0, metrics=None)
    metrics = binary_metrics(
        labelled.column(LABEL), labelled.column("score"), decision=spec.golden.decision
    )
    return Performance(state="measured", rows=rows, labelled=labelled.num_rows, metrics=metrics)


def _labelled(predictions: pa.Table, labels: pa.Table, spec: PipelineSpec) -> pa.Table:
    key = ", ".join(quoted(name) for name in spec.source.key)
    return query(
        f"""
        SELECT labels.{LABEL}, CAST(predictions.{quoted(spec.prediction.column)} AS DOUBLE) AS score
        FROM predictions JOIN labels USING ({key})
        """,  # noqa: S608 - every name is quoted
        {"predictions": predictions, "labels": labels},
    )
