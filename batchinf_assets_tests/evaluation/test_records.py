"""Evaluation results as table rows."""

from batchinf_assets.evaluation.drift import Drift
from batchinf_assets.evaluation.golden import BinaryMetrics
from batchinf_assets.evaluation.performance import Performance
from batchinf_assets.evaluation.records import METRIC_SCHEMA, metric_rows

METRICS = BinaryMetrics(
    rows=9, positives=0, precision=0.0, recall=None, auroc=None, log_loss=0.3, brier=0.1
)

FIGURES = [
    ("precision", 0.0, None, 9),
    ("recall", None, "undefined", 9),
    ("auroc", None, "undefined", 9),
    ("log_loss", 0.3, None, 9),
    ("brier", 0.1, None, 9),
    ("positives", 0.0, None, 9),
]


def test_golden_metrics_become_a_row_per_figure() -> None:
    table = metric_rows("r1", golden=METRICS)
    assert table.schema == METRIC_SCHEMA
    assert table.to_pylist() == [
        {
            "revision": "r1",
            "subject_kind": "golden",
            "subject": subject,
            "value": value,
            "verdict": verdict,
            "rows": rows,
        }
        for subject, value, verdict, rows in FIGURES
    ]


def test_drift_becomes_a_row_per_subject() -> None:
    drifts = [
        Drift(subject="speed", psi=0.3, rows=300, verdict="major"),
        Drift(subject="kind", psi=None, rows=0, verdict="insufficient data"),
    ]
    rows = metric_rows("r1", drifts=drifts).drop_columns(["revision"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("drift", "speed", 0.3, "major", 300),
        ("drift", "kind", None, "insufficient data", 0),
    ]


def test_measured_performance_has_its_coverage_and_figures() -> None:
    performance = Performance(state="measured", rows=20, labelled=9, metrics=METRICS)
    rows = metric_rows("r1", performance=performance).drop_columns(["revision"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("performance", "labelled", 9.0, "measured", 20),
        *(("performance", *figure) for figure in FIGURES),
    ]


def test_absent_outcomes_are_a_row_too() -> None:
    performance = Performance(state="no outcomes yet", rows=20, labelled=0, metrics=None)
    rows = metric_rows("r1", performance=performance).drop_columns(["revision"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("performance", "labelled", 0.0, "no outcomes yet", 20)
    ]


def test_results_stand_in_one_table() -> None:
    drifts = [Drift(subject="speed", psi=0.3, rows=300, verdict="major")]
    table = metric_rows("r1", golden=METRICS, drifts=drifts)
    assert table.column("subject_kind").to_pylist() == ["golden"] * 6 + ["drift"]
    assert set(table.column("revision").to_pylist()) == {"r1"}


def test_nothing_evaluated_is_an_empty_table() -> None:
    table = metric_rows("r1")
    assert (table.num_rows, table.schema) == (0, METRIC_SCHEMA)
