"""Evaluation results as rows of the tables `evaluation` and `performance`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, TypedDict

import pyarrow as pa

from batchinf_assets.evaluation.drift import Drift
from batchinf_assets.evaluation.golden import BinaryMetrics
from batchinf_assets.evaluation.performance import Performance

METRIC_SCHEMA = pa.schema(
    [
        pa.field("revision", pa.string(), nullable=False),
        pa.field("subject_kind", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("verdict", pa.string()),
        pa.field("rows", pa.int64(), nullable=False),
    ]
)


class _Record(TypedDict):
    subject_kind: Literal["golden", "drift", "performance"]
    subject: str
    value: float | None
    verdict: str | None
    rows: int


def metric_rows(
    revision: str,
    *,
    golden: BinaryMetrics | None = None,
    drifts: Iterable[Drift] = (),
    performance: Performance | None = None,
) -> pa.Table:
    """Write what was evaluated of one revision as rows, one per figure.

    - golden: precision, recall, auroc, log_loss, brier and positives; an undefined figure has no
      value and the verdict `undefined`.
    - drift: the population stability index by subject, with its verdict.
    - performance: `labelled` with the state as verdict, also before any outcome landed; then, if
      measured, the same figures as golden over the labelled rows.

    Args:
        revision: Id of the revision.
        golden: Its metrics on the golden set.
        drifts: Its drift.
        performance: Its realised performance.

    Returns:
        Rows of `METRIC_SCHEMA`, in the order above.
    """
    records = [
        *(_figures("golden", golden) if golden else ()),
        *(_drift(drift) for drift in drifts),
        *(_performance(performance) if performance else ()),
    ]
    return pa.Table.from_pylist(
        [{"revision": revision, **record} for record in records], schema=METRIC_SCHEMA
    )


def _figures(kind: Literal["golden", "performance"], metrics: BinaryMetrics) -> Iterator[_Record]:
    for name, value in {**metrics.figures, "positives": float(metrics.positives)}.items():
        yield _Record(
            subject_kind=kind,
            subject=name,
            value=value,
            verdict="undefined" if value is None else None,
            rows=metrics.rows,
        )


def _drift(drift: Drift) -> _Record:
    return _Record(
        subject_kind="drift",
        subject=drift.subject,
        value=drift.psi,
        verdict=drift.verdict,
        rows=drift.rows,
    )


def _performance(performance: Performance) -> Iterator[_Record]:
    yield _Record(
        subject_kind="performance",
        subject="labelled",
        value=float(performance.labelled),
        verdict=performance.state,
        rows=performance.rows,
    )
    if performance.metrics is not None:
        yield from _figures("performance", performance.metrics)
