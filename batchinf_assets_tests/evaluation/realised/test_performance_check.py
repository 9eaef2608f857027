"""The check `performance`: what breaks a bound, what leaves doubt, what is not enough."""

from __future__ import annotations

from datetime import timedelta

import pytest

from batchinf_assets.evaluation.metrics.binary import FIGURES, BinaryMetrics
from batchinf_assets.evaluation.metrics.figures import Interval
from batchinf_assets.evaluation.realised.performance import Performance
from batchinf_assets.evaluation.realised.performance_check import is_old_enough, judge_performance
from batchinf_assets.evaluation.realised.trailing import Trailing
from batchinf_assets.spec.evaluation import PerformanceSpec, RollbackSpec

SPEC = PerformanceSpec(at_least={"auroc": 0.65}, at_most={"brier": 0.2}, min_labelled=100)


def metrics(
    rows: int = 500, positives: int | None = None, **ends: tuple[float, float, float] | None
) -> BinaryMetrics:
    """Metrics given as low, value, high; the others are undefined."""
    known = {name: each for name, each in ends.items() if each is not None}
    return BinaryMetrics(
        rows=rows,
        positives=rows // 5 if positives is None else positives,
        intervals={name: Interval(low=low, high=high) for name, (low, _, high) in known.items()},
        **{name: known[name][1] if name in known else None for name in FIGURES},
    )


def window(found: BinaryMetrics, predictions: int | None = None) -> Performance:
    rows = found.rows if predictions is None else predictions
    return Performance(state="measured", rows=rows, labelled=found.rows, metrics=found)


def bare(**values: float) -> BinaryMetrics:
    """Metrics without any interval; those not given are undefined."""
    return BinaryMetrics(rows=500, positives=9, intervals={}, **{n: values.get(n) for n in FIGURES})


GOOD = (0.1, 0.15, 0.19)


@pytest.mark.parametrize(
    ("auroc", "verdict", "passed"),
    [
        ((0.66, 0.70, 0.74), "met", True),
        ((0.60, 0.65, 0.70), "met", True),
        ((0.60, 0.64, 0.68), "in doubt", True),
        ((0.55, 0.60, 0.65), "in doubt", True),
        ((0.55, 0.60, 0.649), "not met", False),
    ],
)
def test_a_bound_is_broken_where_the_whole_interval_lies_beyond_it(
    auroc: tuple[float, float, float], verdict: str, passed: bool
) -> None:
    found = judge_performance(window(metrics(auroc=auroc, brier=GOOD)), (), SPEC)
    assert (found.measured["verdict"], found.passed) == (verdict, passed)
    assert not found.blocking


def test_a_loss_is_bounded_from_above() -> None:
    found = judge_performance(
        window(metrics(auroc=(0.7, 0.8, 0.9), brier=(0.21, 0.25, 0.3))), (), SPEC
    )
    (violation,) = found.violations
    assert str(violation) == (
        "expected brier at most 0.2 over this window, found 0.2500 (0.2100 to 0.3000)"
    )


def test_windows_together_fail_where_each_alone_leaves_doubt() -> None:
    alone = window(metrics(auroc=(0.58, 0.63, 0.68), brier=GOOD))
    together = Trailing(
        windows=7,
        measured=7,
        rows=4_000,
        metrics=metrics(3_500, auroc=(0.61, 0.63, 0.645), brier=GOOD),
    )
    found = judge_performance(alone, [together], SPEC)
    assert not found.passed
    assert [v.rule for v in found.violations] == ["auroc at least 0.65 over the last 7 windows"]
    assert found.measured["auroc trailing_7"] == "0.6300 (0.6100 to 0.6450)"
    assert judge_performance(alone, (), SPEC).passed


def test_few_labels_pass_by_the_name_of_insufficient_data() -> None:
    found = judge_performance(window(metrics(99, auroc=(0.1, 0.2, 0.3))), (), SPEC)
    assert (found.passed, found.measured["verdict"]) == (True, "insufficient data")
    assert found.measured["labelled"] == 99


@pytest.mark.parametrize("positives", [0, 9, 491, 500])
def test_a_figure_that_one_class_leaves_undefined_is_insufficient_data(positives: int) -> None:
    only_auroc = SPEC.model_copy(update={"at_most": {}})
    found = judge_performance(window(metrics(500, positives)), (), only_auroc)
    assert (found.passed, found.measured["verdict"]) == (True, "insufficient data")
    assert found.measured["auroc window"] == "undefined"


def test_precision_of_a_model_that_predicts_no_positive_fails_by_its_name() -> None:
    precise = PerformanceSpec(at_least={"precision": 0.4})
    found = judge_performance(window(metrics(100_000, recall=(0, 0, 0.001))), (), precise)
    assert (found.passed, found.measured["verdict"]) == (False, "undefined")
    (violation,) = found.violations
    assert str(violation) == "expected precision at least 0.4 over this window, found undefined"


def test_a_figure_beyond_its_bound_without_interval_is_insufficient_data() -> None:
    for figure, bound in (("accuracy", 0.6), ("auroc", 0.65)):
        spec = PerformanceSpec.model_validate({"at_least": {figure: bound}})
        found = judge_performance(window(bare(**{figure: 0.5})), (), spec)
        assert (found.passed, found.measured["verdict"]) == (True, "insufficient data")
    kept = judge_performance(window(bare(brier=0.1)), (), PerformanceSpec(at_most={"brier": 0.2}))
    assert (kept.passed, kept.measured["verdict"]) == (True, "met")


def test_a_few_rows_of_a_class_do_not_tell_the_classes_apart() -> None:
    bad = {"auroc": (0.4, 0.5, 0.6), "brier": (0.3, 0.4, 0.5)}
    few = judge_performance(window(metrics(500, 9, **bad)), (), SPEC)
    assert [each.rule for each in few.violations] == ["brier at most 0.2 over this window"]
    enough = judge_performance(window(metrics(500, 10, **bad)), (), SPEC)
    assert len(enough.violations) == 2


@pytest.mark.parametrize(("predictions", "passed"), [(1_000, False), (1_001, True)])
def test_a_first_delivery_of_labels_is_insufficient_data(predictions: int, passed: bool) -> None:
    bad = metrics(500, auroc=(0.4, 0.5, 0.6), brier=GOOD)
    found = judge_performance(window(bad, predictions), (), SPEC)
    assert found.passed is passed
    assert (found.measured["verdict"] == "insufficient data") is passed
    together = Trailing(windows=7, measured=2, rows=predictions, metrics=bad)
    assert judge_performance(window(metrics(99)), [together], SPEC).passed is passed


def test_labels_are_old_enough_by_the_newest_of_them() -> None:
    a_day = RollbackSpec()
    assert a_day.min_age == timedelta(days=1)
    assert is_old_enough(timedelta(days=1), a_day)
    assert not is_old_enough(timedelta(hours=23), a_day)
    assert not is_old_enough(None, a_day)
    at_once = RollbackSpec(min_age=timedelta(0))
    assert is_old_enough(None, at_once)
    assert is_old_enough(timedelta(hours=-1), at_once)
