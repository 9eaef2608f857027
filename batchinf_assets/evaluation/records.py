"""Evaluation results as rows of the tables `evaluation` and `performance`, one per figure.

Where the rows are kept, and how those of earlier versions are read, is in `metric_tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypedDict

import pyarrow as pa

from batchinf_assets.evaluation.binary import BinaryMetrics
from batchinf_assets.evaluation.calibration import (
    CALIBRATION,
    MEAN_SCORE,
    POSITIVE_SHARE,
    CalibrationBin,
)
from batchinf_assets.evaluation.drift import Drift
from batchinf_assets.evaluation.figures import Figure
from batchinf_assets.evaluation.performance import LabelDelay, Performance
from batchinf_assets.evaluation.segments import SegmentMetrics
from batchinf_assets.evaluation.trailing import Trailing
from batchinf_assets.evaluation.trend import Trend

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

DRIFT_MEASURES = (
    "psi",
    "jensen_shannon",
    "kolmogorov_smirnov",
    "wasserstein",
    "chi_squared",
    "p_value",
    "q_value",
    "missing",
    "unseen",
)
LABELLED, DELAY = "labelled", "label_delay"
"""Subjects of `performance` that are no metrics."""

TREND, DIFFERENCE = "trend", "minus_estimate"
"""Measures of `performance` beside `trailing_7` and the like."""

Kind = Literal["golden", "calibration", "drift", "estimate", "performance"]


class _Record(TypedDict, total=False):
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


def evaluation_rows(
    revision: str,
    *,
    golden: BinaryMetrics,
    segments: Iterable[SegmentMetrics] = (),
    calibration: Iterable[CalibrationBin] = (),
    drifts: Iterable[Drift] = (),
    estimated: Mapping[str, float | None] | None = None,
    scored: int = 0,
) -> pa.Table:
    """Write what was evaluated of one revision as rows, one per figure.

    - `golden`: the nine metrics with their intervals, and `positives`; over all golden rows, then
      by segment as `column=value`.
    - `calibration`: of the golden rows; the subject is a bin of scores, the measures are its
      `mean_score` and its `positive_share`.
    - `drift`: `DRIFT_MEASURES` of every subject against every reference, each with the subject's
      verdict; a measure that the subject's kind does not have is null.
    - `estimate`: the metrics that are expected before any outcome is known.

    A metric that is undefined has no value and the verdict `undefined`.

    Args:
        revision: Id of the revision.
        golden: Its metrics on the golden set.
        segments: The same by segment.
        calibration: Its calibration curve there.
        drifts: Its drift.
        estimated: Its estimated metrics.
        scored: The rows that these are estimated over.

    Returns:
        Rows of `METRIC_SCHEMA`, in the order above.
    """
    return _table(
        revision,
        [
            *_figures("golden", golden),
            *_segment_figures("golden", segments),
            *(record for bin_ in calibration for record in _calibration(bin_)),
            *(record for drift in drifts for record in _drift(drift)),
            *_estimates(estimated or {}, scored),
        ],
    )


def performance_rows(
    revision: str,
    performance: Performance,
    *,
    trailing: Iterable[Trailing] = (),
    trends: Mapping[str, Trend | None] | None = None,
    estimated: Mapping[str, float | None] | None = None,
) -> pa.Table:
    """Write what outcomes say of one revision as rows, one per figure.

    - `performance`, subject `labelled`: how many labels there are, with the state as verdict; also
      before any outcome landed.
    - `performance`, subject a metric: over the labelled rows; by segment as `column=value`; over
      several windows as measure `trailing_7`; its change per window as measure `trend`, with its
      direction as verdict; what it has over the estimate as measure `minus_estimate`.
    - `performance`, subject `label_delay`, measures `median` and `percentile_95`: in seconds.
    - `estimate`: the metrics that were expected.

    A metric that is undefined has no value and the verdict `undefined`; a trend of too few windows
    has the verdict `insufficient data`.

    Args:
        revision: Id of the published revision.
        performance: Of its window.
        trailing: Of the windows up to it.
        trends: By metric, over these windows.
        estimated: Its estimated metrics.

    Returns:
        Rows of `METRIC_SCHEMA`.
    """
    metrics, expected = performance.metrics, estimated or {}
    return _table(
        revision,
        [
            _labelled(performance),
            *(_figures("performance", metrics) if metrics else ()),
            *_segment_figures("performance", performance.segments),
            *(r for each in trailing for r in _trailing(each)),
            *(_trend(metric, trend) for metric, trend in (trends or {}).items()),
            *(_delays(performance.delay) if performance.delay else ()),
            *_estimates(expected, performance.rows),
            *(_differences(metrics, expected) if metrics else ()),
        ],
    )


def _table(revision: str, records: list[_Record]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"revision": revision, **record} for record in records], schema=METRIC_SCHEMA
    )


def _figures(
    kind: Kind,
    metrics: BinaryMetrics,
    *,
    measure: str | None = None,
    segment: str | None = None,
) -> Iterator[_Record]:
    for name, figure in metrics.measured_figures.items():
        yield _Record(
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
    yield _Record(
        subject_kind=kind,
        subject="positives",
        measure=measure,
        segment=segment,
        value=float(metrics.positives),
        rows=metrics.rows,
    )


def _segment_figures(kind: Kind, segments: Iterable[SegmentMetrics]) -> Iterator[_Record]:
    for each in segments:
        yield from _figures(kind, each.metrics, segment=f"{each.column}={each.value}")


def _calibration(bin_: CalibrationBin) -> Iterator[_Record]:
    share = Figure(value=bin_.positive_share, interval=bin_.interval)
    mean = Figure(value=bin_.mean_score, interval=None)
    for measure, figure in {MEAN_SCORE: mean, POSITIVE_SHARE: share}.items():
        yield _Record(
            subject_kind=CALIBRATION,
            subject=str(bin_.number),
            measure=measure,
            value=figure.value,
            low=figure.interval.low if figure.interval else None,
            high=figure.interval.high if figure.interval else None,
            rows=bin_.rows,
        )


def _drift(drift: Drift) -> Iterator[_Record]:
    for measure in DRIFT_MEASURES:
        yield _Record(
            subject_kind="drift",
            subject=drift.subject,
            measure=measure,
            reference=drift.reference,
            value=getattr(drift, measure),
            verdict=drift.verdict,
            rows=drift.rows,
        )


def _estimates(estimated: Mapping[str, float | None], rows: int) -> Iterator[_Record]:
    for metric, value in estimated.items():
        verdict = "undefined" if value is None else None
        yield _Record(
            subject_kind="estimate", subject=metric, value=value, verdict=verdict, rows=rows
        )


def _labelled(performance: Performance) -> _Record:
    return _Record(
        subject_kind="performance",
        subject=LABELLED,
        value=float(performance.labelled),
        verdict=performance.state,
        rows=performance.rows,
    )


def _trailing(trailing: Trailing) -> Iterator[_Record]:
    yield _Record(
        subject_kind="performance",
        subject=LABELLED,
        measure=trailing.name,
        value=float(trailing.metrics.rows),
        verdict=f"{trailing.measured} of {trailing.windows} windows",
        rows=trailing.rows,
    )
    yield from _figures("performance", trailing.metrics, measure=trailing.name)


def _trend(metric: str, trend: Trend | None) -> _Record:
    record = _Record(subject_kind="performance", subject=metric, measure=TREND)
    if trend is None:
        return {**record, "verdict": "insufficient data", "rows": 0}
    return {
        **record,
        "value": trend.slope,
        "low": trend.interval.low,
        "high": trend.interval.high,
        "verdict": trend.direction(metric),
        "rows": trend.rows,
    }


def _delays(delay: LabelDelay) -> Iterator[_Record]:
    for measure in ("median", "percentile_95"):
        yield _Record(
            subject_kind="performance",
            subject=DELAY,
            measure=measure,
            value=getattr(delay, measure),
            rows=delay.rows,
        )


def _differences(
    metrics: BinaryMetrics, estimated: Mapping[str, float | None]
) -> Iterator[_Record]:
    for metric, expected in estimated.items():
        found = metrics.figures[metric]
        if found is not None and expected is not None:
            yield _Record(
                subject_kind="performance",
                subject=metric,
                measure=DIFFERENCE,
                value=found - expected,
                rows=metrics.rows,
            )
