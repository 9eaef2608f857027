"""Measured figures as rows, one per figure: what the rows of every kind of measurement have.

Which rows make up the table `evaluation` is in `evaluation_records`, which make up `performance` in
`performance_records`. Where they are kept, and how those of earlier versions are read, is in
`metric_tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypedDict

import pyarrow as pa

from batchinf_assets.evaluation.metrics.calibration import (
    CALIBRATION,
    MEAN_SCORE,
    CalibrationBin,
)
from batchinf_assets.evaluation.metrics.figures import Figure, Metrics
from batchinf_assets.evaluation.metrics.segments import SegmentMetrics

METRIC_SCHEMA = pa.schema(
    [
        pa.field("revision", pa.string(), nullable=False),
        pa.field("subject_kind", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("measure", pa.string()),
        pa.field("segment", pa.string()),
        pa.field("reference", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("verdict", pa.string()),
        pa.field("rows", pa.int64(), nullable=False),
    ]
)

METRIC_KEY = ("revision", "subject_kind", "subject", "measure", "segment", "reference")
"""Columns that tell one figure of a window from another; the last three may be null."""

Kind = Literal["golden", "calibration", "confusion", "drift", "estimate", "performance"]


CONFUSION: Kind = "confusion"


class Record(TypedDict, total=False):
    """A row without its revision; what is left out is null."""

    subject_kind: Kind
    subject: str
    measure: str | None
    segment: str | None
    reference: str
    value: float | None
    low: float | None
    high: float | None
    verdict: str | None
    rows: int


def metric_rows(revision: str, records: Iterable[Record]) -> pa.Table:
    """Return the records of one revision as rows of `METRIC_SCHEMA`."""
    return pa.Table.from_pylist(
        [{"revision": revision, **record} for record in records], schema=METRIC_SCHEMA
    )


def figure_records(
    kind: Kind,
    metrics: Metrics,
    *,
    measure: str | None = None,
    segment: str | None = None,
) -> Iterator[Record]:
    """Yield a row per figure with its interval, then those of what is counted of the rows."""
    for name, figure in metrics.measured_figures.items():
        yield Record(
            subject_kind=kind,
            subject=name,
            measure=measure,
            segment=segment,
            value=figure.value,
            low=figure.interval.low if figure.interval else None,
            high=figure.interval.high if figure.interval else None,
            verdict="undefined" if figure.value is None else None,
            rows=metrics.rows,
        )
    for name, count in metrics.counts.items():
        yield Record(
            subject_kind=kind,
            subject=name,
            measure=measure,
            segment=segment,
            value=float(count),
            rows=metrics.rows,
        )
    yield from _confusion_records(metrics, segment) if measure is None else ()


def _confusion_records(metrics: Metrics, segment: str | None) -> Iterator[Record]:
    """Yield the cells of the confusion matrix: the subject came, the measure was predicted."""
    for cell in metrics.cells:
        yield Record(
            subject_kind=CONFUSION,
            subject=cell.label,
            measure=cell.predicted,
            segment=segment,
            value=float(cell.rows),
            rows=metrics.rows,
        )


def segment_records(kind: Kind, segments: Iterable[SegmentMetrics]) -> Iterator[Record]:
    """Yield the rows of every segment, named `column=value`."""
    for each in segments:
        yield from figure_records(kind, each.metrics, segment=f"{each.column}={each.value}")


def calibration_records(bin_: CalibrationBin) -> Iterator[Record]:
    """Yield the two rows of one bin of the calibration curve."""
    share = Figure(value=bin_.mean_label, interval=bin_.interval)
    mean = Figure(value=bin_.mean_score, interval=None)
    for measure, figure in {MEAN_SCORE: mean, bin_.measure: share}.items():
        yield Record(
            subject_kind=CALIBRATION,
            subject=str(bin_.number),
            measure=measure,
            value=figure.value,
            low=figure.interval.low if figure.interval else None,
            high=figure.interval.high if figure.interval else None,
            rows=bin_.rows,
        )


def estimate_records(estimated: Mapping[str, float | None], rows: int) -> Iterator[Record]:
    """Yield a row per metric that is expected before any outcome is known."""
    for metric, value in estimated.items():
        verdict = "undefined" if value is None else None
        yield Record(
            subject_kind="estimate", subject=metric, value=value, verdict=verdict, rows=rows
        )
