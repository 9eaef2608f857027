"""Evaluation results as rows of the tables `evaluation` and `performance`, one per figure.

Rows that every kind of measurement has are made in `figure_records`. Where rows are kept, and how
those of earlier versions are read, is in `metric_tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from batchinf_assets.evaluation.calibration import CalibrationBin
from batchinf_assets.evaluation.drift import Drift
from batchinf_assets.evaluation.figure_records import (
    Record,
    calibration_records,
    estimate_records,
    figure_records,
    segment_records,
)
from batchinf_assets.evaluation.figures import Metrics
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
    "design_effect",
    "p_value",
    "q_value",
    "missing",
    "unseen",
    "usual_p_value",
    "usual_psi",
    "usual_wasserstein",
)
LABELLED, DELAY = "labelled", "label_delay"
"""Subjects of `performance` that are no metrics."""

TREND, DIFFERENCE = "trend", "minus_estimate"
"""Measures of `performance` beside `trailing_7` and the like."""


def evaluation_rows(
    revision: str,
    *,
    golden: Metrics,
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
      verdict; a measure that the subject's kind does not have is null, and so are `design_effect`
      and what is usual where rows are taken as independent.
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
            *figure_records("golden", golden),
            *segment_records("golden", segments),
            *(record for bin_ in calibration for record in calibration_records(bin_)),
            *(record for drift in drifts for record in _drift(drift)),
            *estimate_records(estimated or {}, scored),
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
            *(figure_records("performance", metrics) if metrics else ()),
            *segment_records("performance", performance.segments),
            *(r for each in trailing for r in _trailing(each)),
            *(_trend(metric, trend) for metric, trend in (trends or {}).items()),
            *(_delays(performance.delay) if performance.delay else ()),
            *estimate_records(expected, performance.rows),
            *(_differences(metrics, expected) if metrics else ()),
        ],
    )


def _table(revision: str, records: list[Record]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"revision": revision, **record} for record in records], schema=METRIC_SCHEMA
    )


def _drift(drift: Drift) -> Iterator[Record]:
    for measure in DRIFT_MEASURES:
        yield Record(
            subject_kind="drift",
            subject=drift.subject,
            measure=measure,
            reference=drift.reference,
            value=getattr(drift, measure),
            verdict=drift.verdict,
            rows=drift.rows,
        )


def _labelled(performance: Performance) -> Record:
    return Record(
        subject_kind="performance",
        subject=LABELLED,
        value=float(performance.labelled),
        verdict=performance.state,
        rows=performance.rows,
    )


def _trailing(trailing: Trailing) -> Iterator[Record]:
    yield Record(
        subject_kind="performance",
        subject=LABELLED,
        measure=trailing.name,
        value=float(trailing.metrics.rows),
        verdict=f"{trailing.measured} of {trailing.windows} windows",
        rows=trailing.rows,
    )
    yield from figure_records("performance", trailing.metrics, measure=trailing.name)


def _trend(metric: str, trend: Trend | None) -> Record:
    record = Record(subject_kind="performance", subject=metric, measure=TREND)
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


def _delays(delay: LabelDelay) -> Iterator[Record]:
    for measure in ("median", "percentile_95"):
        yield Record(
            subject_kind="performance",
            subject=DELAY,
            measure=measure,
            value=getattr(delay, measure),
            rows=delay.rows,
        )


def _differences(metrics: Metrics, estimated: Mapping[str, float | None]) -> Iterator[Record]:
    for metric, expected in estimated.items():
        found = metrics.figures[metric]
        if found is not None and expected is not None:
            yield Record(
                subject_kind="performance",
                subject=metric,
                measure=DIFFERENCE,
                value=found - expected,
                rows=metrics.rows,
            )
