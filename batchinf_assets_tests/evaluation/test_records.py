"""Evaluation results as table rows."""

from __future__ import annotations

import pyarrow as pa

from batchinf_assets.evaluation.binary import FIGURES, BinaryMetrics
from batchinf_assets.evaluation.drift import Drift
from batchinf_assets.evaluation.figures import Interval
from batchinf_assets.evaluation.performance import LabelDelay, Performance
from batchinf_assets.evaluation.records import (
    DRIFT_MEASURES,
    METRIC_KEY,
    METRIC_SCHEMA,
    evaluation_rows,
    performance_rows,
)
from batchinf_assets.evaluation.segments import SegmentMetrics
from batchinf_assets.evaluation.trailing import Trailing
from batchinf_assets.evaluation.trend import Trend


def metrics(**figures: float | None) -> BinaryMetrics:
    """Metrics over nine rows, of which only the named figures are defined."""
    return BinaryMetrics(
        rows=9,
        positives=4,
        intervals={"auroc": Interval(low=0.6, high=0.8)} if "auroc" in figures else {},
        **{name: figures.get(name) for name in FIGURES},
    )


METRICS = metrics(auroc=0.7, brier=0.2)


def rows_of(table: pa.Table, **where: object) -> list[dict]:
    """The rows in which these columns have these values, without what is null."""
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in table.to_pylist()
        if all(row[name] == value for name, value in where.items())
    ]


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


def test_measured_performance_has_coverage_figures_delay_trailing_and_trend() -> None:
    performance = Performance(
        state="measured",
        rows=20,
        labelled=9,
        metrics=METRICS,
        segments=(SegmentMetrics(column="kind", value="a", metrics=metrics(brier=0.3)),),
        delay=LabelDelay(rows=8, median=3600.0, percentile_95=7200.0),
    )
    pooled = Trailing(windows=7, measured=3, rows=60, metrics=metrics(brier=0.25))
    falling = Trend(slope=-0.1, interval=Interval(low=-0.2, high=-0.05), windows=3, rows=27)
    table = performance_rows(
        "r1",
        performance,
        trailing=[pooled],
        trends={"brier": falling, "auroc": None},
        estimated={"auroc": 0.75, "recall": 0.5, "brier": 0.15},
    )
    assert table.schema == METRIC_SCHEMA
    labelled = rows_of(table, subject="labelled")
    assert [(r.get("measure"), r["value"], r["verdict"], r["rows"]) for r in labelled] == [
        (None, 9.0, "measured", 20),
        ("trailing_7", 9.0, "3 of 7 windows", 60),
    ]
    assert [
        (row.get("measure"), row.get("segment"), row["value"], row.get("verdict"))
        for row in rows_of(table, subject_kind="performance", subject="brier")
    ] == [
        (None, None, 0.2, None),
        (None, "kind=a", 0.3, None),
        ("trailing_7", None, 0.25, None),
        ("trend", None, -0.1, "better"),
        ("minus_estimate", None, 0.2 - 0.15, None),
    ]
    (steady,) = rows_of(table, subject="auroc", measure="trend")
    assert (steady["verdict"], steady["rows"]) == ("insufficient data", 0)
    assert rows_of(table, subject="recall", measure="minus_estimate") == []
    delays = {row["measure"]: row["value"] for row in rows_of(table, subject="label_delay")}
    assert delays == {"median": 3600.0, "percentile_95": 7200.0}
    keys = [tuple(row[name] for name in METRIC_KEY) for row in table.to_pylist()]
    assert len(set(keys)) == len(keys)


def test_absent_outcomes_are_a_row_too_beside_what_is_expected() -> None:
    performance = Performance(state="no outcomes yet", rows=20, labelled=0, metrics=None)
    table = performance_rows("r1", performance, estimated={"auroc": 0.7})
    assert [(r["subject_kind"], r["subject"], r["value"]) for r in rows_of(table)] == [
        ("performance", "labelled", 0.0),
        ("estimate", "auroc", 0.7),
    ]
    assert rows_of(table, subject="labelled")[0]["verdict"] == "no outcomes yet"
