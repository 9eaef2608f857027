"""What outcomes say of a revision as rows of the table `performance`, one per figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from batchinf_assets.evaluation.metrics.figures import Metrics
from batchinf_assets.evaluation.realised.performance import LabelDelay, Performance
from batchinf_assets.evaluation.realised.trailing import Trailing
from batchinf_assets.evaluation.realised.trend import Trend
from batchinf_assets.evaluation.records.figure_records import (
    Record,
    estimate_records,
    figure_records,
    metric_rows,
    segment_records,
)

LABELLED, DELAY = "labelled", "label_delay"
"""Subjects of `performance` that are no metrics."""

TREND, DIFFERENCE = "trend", "minus_estimate"
"""Measures of `performance` beside `trailing_7` and the like."""


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
    return metric_rows(
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
