"""What was measured on one window, read back from its manifest and its rows of figures.

What the rows mean is said where they are made; how they are shown is the pages' business. What
an earlier version did not measure is absent here, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchinf_assets.evaluation.metrics.calibration import CalibrationBin, calibration_of
from batchinf_assets.evaluation.metrics.figures import Figure, Interval
from batchinf_assets.evaluation.realised.performance_records import DELAY, TREND
from batchinf_assets.evaluation.records.confusion import Confusion, confusion_of
from batchinf_assets.manifest.judgement import EvaluationRecord

METRICS = (
    *("auroc", "average_precision", "precision", "recall", "f1", "accuracy"),
    *("log_loss", "brier", "calibration_error"),
    *("mae", "rmse", "r_squared", "quantile_loss", "bias"),
    *("macro_f1", "weighted_f1"),
)
"""The order in which metrics are shown."""

MEASURES = (
    *("psi", "jensen_shannon", "kolmogorov_smirnov", "wasserstein"),
    *("chi_squared", "p_value", "q_value"),
    *("missing", "unseen"),
)
"""The order in which measures of drift are shown."""

TRAINING = "training"
TRAILING = "trailing_"
REALISED = "Realised"
"""What the confusion matrix of outcomes is called."""

_COUNTS = frozenset({"rows", "positives", "labelled"})

Row = Mapping[str, Any]
Figures = Mapping[str, Figure]


@dataclass(frozen=True, kw_only=True)
class SegmentReading:
    """Metrics of the rows that share a value.

    Attributes:
        segment: `column=value`.
        rows: How many there are.
        figures: By metric.
    """

    segment: str
    rows: int
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class DriftReading:
    """How far one subject moved from one reference.

    Attributes:
        subject: A feature, or the score.
        reference: What it is held against.
        measures: By name; None is undefined, absent was not measured.
        verdict: In the words of `drift.measure`; None where it is not known.
    """

    subject: str
    reference: str
    measures: Mapping[str, float | None]
    verdict: str | None

    @property
    def psi(self) -> float | None:
        """The population stability index; None where it is undefined or not known."""
        return self.measures.get("psi")


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """How far the outcomes have landed.

    Attributes:
        state: `measured`, `no outcomes yet`, `no labels`, …
        labelled: Predictions whose outcome gives a label.
        predictions: All of them.
    """

    state: str
    labelled: int
    predictions: int

    @property
    def share(self) -> float | None:
        """Share of the predictions; None where there are none."""
        return self.labelled / self.predictions if self.predictions else None


@dataclass(frozen=True, kw_only=True)
class TrendReading:
    """Where a realised metric is going.

    Attributes:
        slope: Its change per window.
        direction: `better`, `worse`, `steady` or `insufficient data`.
    """

    slope: Figure
    direction: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Everything that is known of a revision's quality; what is empty is not known.

    Attributes:
        golden: Metrics on the golden set.
        golden_rows: Its rows.
        golden_segments: The same by segment.
        drift: Of the features and the score, against each reference.
        drift_verdict: The worst of them.
        estimated: Metrics that were expected before outcomes were known.
        labelled: How far the outcomes have landed.
        realised: Metrics on realised outcomes.
        realised_segments: The same by segment.
        pooled: The same over several windows, by measure (`trailing_7`) and metric.
        trends: Where realised metrics are going, by metric.
        delay: Seconds that labels took after the window's end, by measure.
        golden_calibration: Observed share by bin of scores, on the golden set.
        realised_calibration: The same on realised outcomes.
        confusions: Confusion matrices by where their labels come from; of several classes alone.
    """

    golden: Figures = field(default_factory=dict[str, Figure])
    golden_rows: int | None = None
    golden_segments: tuple[SegmentReading, ...] = ()
    drift: tuple[DriftReading, ...] = ()
    drift_verdict: str | None = None
    estimated: Figures = field(default_factory=dict[str, Figure])
    labelled: Labelled | None = None
    realised: Figures = field(default_factory=dict[str, Figure])
    realised_segments: tuple[SegmentReading, ...] = ()
    pooled: Mapping[str, Figures] = field(default_factory=dict[str, Figures])
    trends: Mapping[str, TrendReading] = field(default_factory=dict[str, TrendReading])
    delay: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    golden_calibration: tuple[CalibrationBin, ...] = ()
    realised_calibration: tuple[CalibrationBin, ...] = ()
    confusions: Mapping[str, Confusion] = field(default_factory=dict[str, Confusion])

    def drift_from(self, reference: str) -> tuple[DriftReading, ...]:
        """Return the drift against one reference, in the declared order."""
        return tuple(drift for drift in self.drift if drift.reference == reference)


def reading_of(
    revision: str,
    record: EvaluationRecord | None,
    *,
    evaluation: Iterable[Row] = (),
    performance: Iterable[Row] = (),
    realised_calibration: tuple[CalibrationBin, ...] = (),
) -> Reading:
    """Put together what is known of one revision; rows of other revisions are left out.

    The record counts where it says something, because that of a manifest is signed.

    Args:
        revision: The revision.
        record: What its manifest, or a later evaluation, says, if it does.
        evaluation: Rows of the window in the table `evaluation`.
        performance: Rows of the window in the table `performance`.
        realised_calibration: Of the labelled rows.
    """
    judged = [row for row in evaluation if row["revision"] == revision]
    realised = [row for row in performance if row["revision"] == revision]
    golden, outcomes = _of_kind(judged, "golden"), _of_kind(realised, "performance")
    return Reading(
        golden=_golden(record) or _figures(golden),
        golden_rows=_golden_rows(record, golden),
        golden_segments=_segments(golden),
        drift=tuple(_drift(record, _of_kind(judged, "drift"))),
        drift_verdict=record.drift_verdict if record else None,
        estimated=_estimated(record) or _figures(_of_kind([*judged, *realised], "estimate")),
        labelled=_labelled(outcomes),
        realised=_figures(outcomes),
        realised_segments=_segments(outcomes),
        pooled=_pooled(outcomes),
        trends={row["subject"]: _trend(row) for row in outcomes if row["measure"] == TREND},
        delay={row["measure"]: row["value"] for row in outcomes if row["subject"] == DELAY},
        golden_calibration=calibration_of(judged),
        realised_calibration=realised_calibration,
        confusions=_confusions({"Golden set": judged, REALISED: realised}),
    )


def _confusions(tables: Mapping[str, Sequence[Row]]) -> dict[str, Confusion]:
    found = {name: confusion_of(rows) for name, rows in tables.items()}
    return {name: confusion for name, confusion in found.items() if confusion is not None}


def _of_kind(rows: Iterable[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["subject_kind"] == kind]


def _figures(rows: Iterable[Row]) -> dict[str, Figure]:
    return {
        row["subject"]: _figure(row["value"], row["low"], row["high"])
        for row in rows
        if not row["measure"] and not row["segment"] and row["subject"] not in _COUNTS
    }


def _segments(rows: Iterable[Row]) -> tuple[SegmentReading, ...]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["segment"] and not row["measure"]:
            found.setdefault(row["segment"], []).append({**row, "segment": None})
    return tuple(
        SegmentReading(segment=segment, rows=own[0]["rows"], figures=_figures(own))
        for segment, own in found.items()
    )


def _pooled(rows: Iterable[Row]) -> dict[str, Figures]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if (row["measure"] or "").startswith(TRAILING):
            found.setdefault(row["measure"], []).append({**row, "measure": None})
    return {measure: _figures(own) for measure, own in found.items()}


def _golden(record: EvaluationRecord | None) -> dict[str, Figure]:
    if record is None:
        return {}
    found: dict[str, Figure] = {}
    for name, value in record.golden.items():
        if name not in _COUNTS:
            low, high = record.golden_intervals.get(name) or (None, None)
            found[name] = _figure(value, low, high)
    return found


def _golden_rows(record: EvaluationRecord | None, rows: Sequence[Row]) -> int | None:
    said = record.golden.get("rows") if record else None
    if said is not None:
        return int(said)
    return rows[0]["rows"] if rows else None


def _estimated(record: EvaluationRecord | None) -> dict[str, Figure]:
    said = record.estimated if record else {}
    return {name: _figure(value, None, None) for name, value in said.items()}


def _drift(record: EvaluationRecord | None, rows: Iterable[Row]) -> Iterator[DriftReading]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["reference"] or TRAINING, row["subject"]), []).append(row)
    for (reference, subject), own in found.items():
        yield DriftReading(
            subject=subject,
            reference=reference,
            measures={row["measure"] or "psi": row["value"] for row in own},
            verdict=own[0]["verdict"],
        )
    if record is not None and not found:  # the rows are another revision's by now
        for subject, psi in record.psi.items():
            yield DriftReading(
                subject=subject,
                reference=TRAINING,
                measures={"psi": psi},
                verdict=record.drift.get(subject),
            )


def _labelled(rows: Iterable[Row]) -> Labelled | None:
    for row in rows:
        if row["subject"] == "labelled" and not row["measure"] and not row["segment"]:
            return Labelled(
                state=row["verdict"] or "not known",
                labelled=int(row["value"] or 0),
                predictions=row["rows"],
            )
    return None


def _trend(row: Row) -> TrendReading:
    slope = _figure(row["value"], row["low"], row["high"])
    return TrendReading(slope=slope, direction=row["verdict"] or "not known")


def _figure(value: float | None, low: float | None, high: float | None) -> Figure:
    interval = Interval(low=low, high=high) if low is not None and high is not None else None
    return Figure(value=value, interval=interval)
