"""What was evaluated of a revision as rows."""

from __future__ import annotations

from batchinf_assets.evaluation.drift.measure import Drift
from batchinf_assets.evaluation.evaluation_records import DRIFT_MEASURES, evaluation_rows
from batchinf_assets.evaluation.metrics.binary import FIGURES
from batchinf_assets.evaluation.metrics.segments import SegmentMetrics
from batchinf_assets.evaluation.records.figure_records import METRIC_SCHEMA
from batchinf_assets_tests.evaluation.written_rows import METRICS, metrics, rows_of


def test_golden_metrics_become_a_row_per_figure_with_its_interval() -> None:
    table = evaluation_rows("r1", golden=METRICS)
    assert table.schema == METRIC_SCHEMA
    golden = {"revision": "r1", "subject_kind": "golden", "rows": 9}
    rows = rows_of(table)
    assert [row["subject"] for row in rows] == [*FIGURES, "positives"]
    found = {row["subject"]: row for row in rows}
    assert found["auroc"] == {
        **golden,
        "subject": "auroc",
        "value": 0.7,
        "low": 0.6,
        "high": 0.8,
    }
    assert found["recall"] == {**golden, "subject": "recall", "verdict": "undefined"}
    assert found["positives"] == {**golden, "subject": "positives", "value": 4.0}


def test_segments_stand_beside_the_whole() -> None:
    segment = SegmentMetrics(column="carrier_code", value="UA", metrics=metrics(brier=0.1))
    table = evaluation_rows("r1", golden=METRICS, segments=[segment])
    briers = {row.get("segment"): row["value"] for row in rows_of(table, subject="brier")}
    assert briers == {None: 0.2, "carrier_code=UA": 0.1}


def test_drift_becomes_a_row_per_measure_and_reference_with_its_verdict() -> None:
    drifts = [
        Drift(
            subject="speed",
            reference="training",
            rows=300,
            reference_rows=900,
            psi=0.3,
            wasserstein=0.4,
            missing=0.0,
            verdict="major",
        ),
        Drift(
            subject="speed",
            reference="previous",
            rows=300,
            reference_rows=0,
            missing=0.0,
            verdict="insufficient data",
        ),
    ]
    table = evaluation_rows("r1", golden=METRICS, drifts=drifts)
    rows = rows_of(table, subject_kind="drift")
    assert [(row["reference"], row["measure"]) for row in rows] == [
        (reference, measure) for reference in ("training", "previous") for measure in DRIFT_MEASURES
    ]
    assert {(row["reference"], row["verdict"], row["rows"]) for row in rows} == {
        ("training", "major", 300),
        ("previous", "insufficient data", 300),
    }
    values = {(row["reference"], row["measure"]): row.get("value") for row in rows}
    assert values["training", "psi"] == 0.3
    assert values["training", "wasserstein"] == 0.4
    assert values["training", "unseen"] is None
    assert values["previous", "missing"] == 0.0


def test_estimates_are_rows_of_their_own() -> None:
    table = evaluation_rows(
        "r1", golden=METRICS, estimated={"auroc": 0.72, "recall": None}, scored=50
    )
    assert rows_of(table, subject_kind="estimate") == [
        {
            "revision": "r1",
            "subject_kind": "estimate",
            "subject": "auroc",
            "value": 0.72,
            "rows": 50,
        },
        {
            "revision": "r1",
            "subject_kind": "estimate",
            "subject": "recall",
            "verdict": "undefined",
            "rows": 50,
        },
    ]
