"""What follows from a failed verdict, and that no verdict stands beside figures that deny it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.evaluation.consequences import (
    VERDICTS,
    broken_bounds,
    consequence,
    held_against_figures,
    is_verdict,
    judges_performance,
    with_consequence,
)
from batchinf_assets.manifest.judgement import EvaluationRecord
from batchinf_assets.spec.evaluation import Consequence, DriftSpec, GateSpec, PerformanceSpec
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

END = datetime(2013, 7, 5, tzinfo=UTC)
RECORD = EvaluationRecord(
    golden={"rows": 1000, "positives": 200, "auroc": 0.7, "brier": 0.2},
    golden_set_end=END - timedelta(days=365),
    psi={"distance": 0.01},
    drift={"distance": "stable"},
    drift_verdict="stable",
)


@pytest.fixture
def spec(pipeline: Pipeline) -> PipelineSpec:
    golden = pipeline.spec.golden
    assert (golden.at_least, golden.at_most) == ({"auroc": 0.6}, {"brier": 0.25})
    assert golden.min_class_share == 0.05
    return pipeline.spec.model_copy(update={"gate": GateSpec()})


def passed(name: str, asset: str = "evaluation") -> CheckResult:
    return CheckResult(name=name, asset=asset, passed=True)


def held(
    checks: Iterable[CheckResult], record: EvaluationRecord | None, spec: PipelineSpec
) -> tuple[CheckResult, ...]:
    return held_against_figures(checks, record, spec, window_end=END)


def judged(record: EvaluationRecord | None, spec: PipelineSpec) -> dict[str, list[str]]:
    """What the figures say of checks that all claim to have passed."""
    checks = held([passed(name) for name in VERDICTS], record, spec)
    for check in checks:
        assert check.passed == (not check.violations)
    return {check.name: [found.rule for found in check.violations] for check in checks}


def changed(**changes: object) -> EvaluationRecord:
    return RECORD.model_copy(update=changes)


def test_each_check_leads_to_what_the_gate_declares(spec: PipelineSpec) -> None:
    found = {name: consequence(name, spec) for name in (*VERDICTS, "performance")}
    assert found == {
        "golden_quality": "block",
        "golden_set": "ticket",
        "drift": "inform",
        "performance": "ticket",
    }


def test_a_check_that_the_gate_says_nothing_of_has_no_consequence(spec: PipelineSpec) -> None:
    for name in ("schema", "gate", "model_fields"):
        with pytest.raises(ValueError, match=name):
            consequence(name, spec)


@pytest.mark.parametrize("declared", ["block", "ticket", "inform"])
def test_a_verdict_blocks_if_and_only_if_that_is_declared(
    spec: PipelineSpec, declared: Consequence
) -> None:
    gate = GateSpec(golden_quality=declared, golden_set=declared, drift=declared)
    own = spec.model_copy(update={"gate": gate})
    for name in VERDICTS:
        assert with_consequence(passed(name), own).blocking == (declared == "block")


def test_performance_is_judged_only_where_it_has_bounds(spec: PipelineSpec) -> None:
    none = PerformanceSpec()
    for performance in (none, PerformanceSpec(at_least={"f1": 0.1})):
        own = spec.model_copy(update={"performance": performance})
        assert judges_performance(own) == (performance is not none)


def test_a_namesake_of_another_asset_is_no_verdict() -> None:
    assert is_verdict(passed("drift"))
    assert not is_verdict(passed("drift", asset="predictions"))
    assert not is_verdict(passed("schema"))


def test_verdicts_that_fit_their_figures_stay_as_they_are(spec: PipelineSpec) -> None:
    assert judged(RECORD, spec) == {name: [] for name in VERDICTS}


@pytest.mark.parametrize(
    ("golden", "rule"),
    [
        ({"auroc": 0.59, "brier": 0.2}, "auroc at least 0.6 (found 0.5900)"),
        ({"auroc": None, "brier": 0.2}, "auroc at least 0.6 (undefined)"),
        ({"brier": 0.2}, "auroc at least 0.6 (undefined)"),
        ({"auroc": float("nan"), "brier": 0.2}, "auroc at least 0.6 (found nan)"),
        ({"auroc": 0.6, "brier": 0.251}, "brier at most 0.25 (found 0.2510)"),
    ],
)
def test_golden_figures_out_of_bounds_fail_a_verdict_that_claims_to_have_passed(
    spec: PipelineSpec, golden: dict[str, float | None], rule: str
) -> None:
    record = changed(golden={"rows": 1000, "positives": 200, **golden})
    assert judged(record, spec) == {"golden_quality": [rule], "golden_set": [], "drift": []}


@pytest.mark.parametrize(
    ("positives", "holds"), [(50, True), (49, False), (950, True), (951, False)]
)
def test_a_golden_set_of_one_class_fails_a_verdict_that_claims_to_have_passed(
    spec: PipelineSpec, positives: int, *, holds: bool
) -> None:
    record = changed(golden={**RECORD.golden, "positives": positives})
    share = min(positives, 1000 - positives) / 1000
    rule = f"share of the rarer class at least 0.05 (found {share:.4f})"
    assert judged(record, spec)["golden_set"] == ([] if holds else [rule])


def test_a_column_with_major_drift_fails_a_verdict_that_claims_to_have_passed(
    spec: PipelineSpec,
) -> None:
    record = changed(drift={"distance": "major", "carrier": "moderate"}, drift_verdict="stable")
    (drift,) = [check for check in held([passed("drift")], record, spec) if not check.passed]
    assert drift.violations == (
        Violation(column="distance", rule="no major drift against training"),
    )
    assert judged(changed(drift={}, drift_verdict="major"), spec)["drift"] != []


def test_major_drift_against_any_reference_fails_a_verdict_that_claims_to_have_passed(
    spec: PipelineSpec,
) -> None:
    verdicts = {
        "training": {"distance": "stable"},
        "previous": {"distance": "major", "carrier": "stable"},
        "season": {"distance": "insufficient data", "carrier": "major"},
    }
    (drift,) = held([passed("drift")], changed(drift_by_reference=verdicts), spec)
    assert [(found.column, found.rule) for found in drift.violations] == [
        ("distance", "no major drift against previous"),
        ("carrier", "no major drift against season"),
    ]


def test_major_drift_that_is_on_record_twice_is_named_once(spec: PipelineSpec) -> None:
    verdicts = {"distance": "major"}
    record = changed(
        drift=verdicts, drift_by_reference={"training": verdicts}, drift_verdict="major"
    )
    assert judged(record, spec)["drift"] == ["no major drift against training"]


@pytest.mark.parametrize(
    ("end", "found"),
    [
        (END - timedelta(days=365), None),
        (END - timedelta(days=366), "366"),
        (END + timedelta(days=30), None),
        (None, "no age on record"),
    ],
)
def test_a_stale_golden_set_fails_a_verdict_that_claims_to_have_passed(
    spec: PipelineSpec, end: datetime | None, found: str | None
) -> None:
    assert spec.golden.max_age_days == 365
    (check,) = held([passed("golden_set")], changed(golden_set_end=end), spec)
    assert [violation.found for violation in check.violations] == ([found] if found else [])
    assert check.passed == (found is None)


def test_without_any_figure_no_verdict_passes(spec: PipelineSpec) -> None:
    found = judged(None, spec)
    assert all(found[name] for name in VERDICTS)


def test_a_failed_verdict_stays_failed_and_keeps_what_it_found(spec: PipelineSpec) -> None:
    found = Violation(column=None, rule="f1 at least 1")
    failed = CheckResult(
        name="golden_quality", asset="evaluation", passed=False, violations=(found,), blocking=False
    )
    low = changed(golden={"rows": 2, "positives": 1, "auroc": 0.1, "brier": 0.2})
    for record in (RECORD, low):
        (check,) = held([failed], record, spec)
        assert (check.passed, check.violations, check.blocking) == (False, (found,), True)


def test_checks_of_other_assets_are_not_touched(spec: PipelineSpec) -> None:
    others = (
        passed("drift", asset="features"),
        CheckResult(name="schema", asset="snapshot", passed=False, blocking=False),
    )
    assert held(others, None, spec) == others


def test_judging_twice_finds_the_same(spec: PipelineSpec) -> None:
    low = changed(golden={"rows": 100, "positives": 1, "auroc": 0.1, "brier": 0.2})
    once = held([passed(name) for name in VERDICTS], low, spec)
    assert held(once, low, spec) == once


def test_a_large_index_alone_is_no_major_drift(spec: PipelineSpec) -> None:
    """Few rows or chance may explain it: only evaluation knows how sure it is."""
    assert spec.drift.major == DriftSpec().major == 0.25
    assert judged(changed(psi={"distance": 9.0}), spec)["drift"] == []


@given(
    figure=st.one_of(st.none(), st.floats()),
    bound=st.floats(min_value=-2, max_value=2, allow_nan=False),
)
def test_a_bound_is_kept_only_by_a_figure_on_its_side(figure: float | None, bound: float) -> None:
    low = list(broken_bounds({"auroc": figure}, at_least={"auroc": bound}, at_most={}))
    high = list(broken_bounds({"brier": figure}, at_least={}, at_most={"brier": bound}))
    if figure is None:
        assert low
        assert high
    else:
        assert (not low) == (figure >= bound)
        assert (not high) == (figure <= bound)
