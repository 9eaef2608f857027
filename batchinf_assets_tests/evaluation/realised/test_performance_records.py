"""What outcomes say of a revision as rows."""

from __future__ import annotations

from batchinf_assets.evaluation.metrics.figures import Interval
from batchinf_assets.evaluation.metrics.segments import SegmentMetrics
from batchinf_assets.evaluation.realised.performance import LabelDelay, Performance
from batchinf_assets.evaluation.realised.performance_records import performance_rows
from batchinf_assets.evaluation.realised.trailing import Trailing
from batchinf_assets.evaluation.realised.trend import Trend
from batchinf_assets.evaluation.records.figure_records import METRIC_KEY, METRIC_SCHEMA
from batchinf_assets_tests.evaluation.written_rows import METRICS, metrics, rows_of


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
