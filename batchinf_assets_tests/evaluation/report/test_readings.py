"""What was measured, read back: nothing invented, other revisions left out."""

from __future__ import annotations

import pyarrow as pa

from batchinf_assets.evaluation.metrics.figures import Figure, Interval
from batchinf_assets.evaluation.records.figure_records import METRIC_SCHEMA
from batchinf_assets.evaluation.report.readings import Reading, Row, reading_of
from batchinf_assets.manifest.judgement import EvaluationRecord

REVISION, OTHER = "0123456789abcdef", "fedcba9876543210"


def rows(*records: dict[str, object]) -> list[Row]:
    named = [{"revision": REVISION, "rows": 10, **record} for record in records]
    return pa.Table.from_pylist(named, schema=METRIC_SCHEMA).to_pylist()


def figure(value: float | None, low: float | None = None, high: float | None = None) -> Figure:
    interval = Interval(low=low, high=high) if low is not None and high is not None else None
    return Figure(value=value, interval=interval)


def test_nothing_measured_is_nothing_known() -> None:
    assert reading_of(REVISION, None) == Reading()


def test_figures_segments_and_pooled_ones_are_told_apart() -> None:
    kind = {"subject_kind": "performance", "subject": "auroc"}
    found = reading_of(
        REVISION,
        None,
        performance=rows(
            {**kind, "value": 0.7, "low": 0.6, "high": 0.8},
            {**kind, "value": 0.5, "segment": "origin=JFK", "rows": 4},
            {**kind, "value": 0.65, "measure": "trailing_7"},
            {**kind, "value": -0.01, "measure": "trend", "verdict": "worse", "low": -1, "high": 1},
            {**kind, "value": 0.02, "measure": "minus_estimate"},
            {**kind, "subject": "positives", "value": 3.0},
            {**kind, "subject": "labelled", "value": 8.0, "verdict": "measured"},
            {**kind, "subject": "labelled", "value": 60.0, "measure": "trailing_7"},
            {**kind, "subject": "label_delay", "value": 7200.0, "measure": "median"},
        ),
    )
    assert found.realised == {"auroc": figure(0.7, 0.6, 0.8)}
    (segment,) = found.realised_segments
    assert (segment.segment, segment.rows) == ("origin=JFK", 4)
    assert segment.figures == {"auroc": figure(0.5)}
    assert found.pooled == {"trailing_7": {"auroc": figure(0.65)}}
    assert found.trends["auroc"].direction == "worse"
    assert found.trends["auroc"].slope == figure(-0.01, -1, 1)
    assert found.delay == {"median": 7200.0}
    assert found.labelled is not None
    assert (found.labelled.state, found.labelled.labelled, found.labelled.share) == (
        "measured",
        8,
        0.8,
    )


def test_rows_of_another_revision_are_left_out() -> None:
    golden = {"subject_kind": "golden", "subject": "auroc", "value": 0.7}
    assert reading_of(OTHER, None, evaluation=rows(golden)) == Reading()


def test_the_signed_manifest_counts_where_rows_say_something_else() -> None:
    record = EvaluationRecord(
        golden={"rows": 5, "positives": 2, "auroc": 0.9, "f1": None},
        golden_intervals={"auroc": (0.8, 0.95), "f1": None},
        psi={"x": 0.3},
        drift={"x": "major"},
        drift_verdict="major",
        estimated={"auroc": 0.88},
    )
    found = reading_of(
        REVISION,
        record,
        evaluation=rows({"subject_kind": "golden", "subject": "auroc", "value": 0.1}),
    )
    assert found.golden == {"auroc": figure(0.9, 0.8, 0.95), "f1": figure(None)}
    assert found.golden_rows == 5
    assert found.estimated == {"auroc": figure(0.88)}
    (drift,) = found.drift
    assert (drift.subject, drift.psi, drift.verdict, drift.reference) == (
        "x",
        0.3,
        "major",
        "training",
    )


def test_measures_of_one_subject_stand_together_and_references_apart() -> None:
    kind = {"subject_kind": "drift", "subject": "x", "verdict": "stable"}
    found = reading_of(
        REVISION,
        None,
        evaluation=rows(
            {**kind, "measure": "psi", "reference": "training", "value": 0.01},
            {**kind, "measure": "kolmogorov_smirnov", "reference": "training", "value": None},
            {**kind, "measure": "psi", "reference": "season", "value": 0.02, "verdict": "major"},
        ),
    )
    (training,) = found.drift_from("training")
    assert training.measures == {"psi": 0.01, "kolmogorov_smirnov": None}
    (season,) = found.drift_from("season")
    assert (season.measures, season.verdict) == ({"psi": 0.02}, "major")
