"""What was evaluated of a revision as rows of the table `evaluation`, one per figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from batchinf_assets.evaluation.drift.measure import Drift
from batchinf_assets.evaluation.metrics.calibration import CalibrationBin
from batchinf_assets.evaluation.metrics.figures import Metrics
from batchinf_assets.evaluation.metrics.segments import SegmentMetrics
from batchinf_assets.evaluation.records.figure_records import (
    Record,
    calibration_records,
    estimate_records,
    figure_records,
    metric_rows,
    segment_records,
)

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
    return metric_rows(
        revision,
        [
            *figure_records("golden", golden),
            *segment_records("golden", segments),
            *(record for bin_ in calibration for record in calibration_records(bin_)),
            *(record for drift in drifts for record in _drift(drift)),
            *estimate_records(estimated or {}, scored),
        ],
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
