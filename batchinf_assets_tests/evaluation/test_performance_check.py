"""The check `performance`: what breaks a bound, what leaves doubt, what is not enough."""

from __future__ import annotations

import pytest

from batchinf_assets.evaluation.binary import FIGURES, BinaryMetrics
from batchinf_assets.evaluation.figures import Interval
from batchinf_assets.evaluation.performance import Performance
from batchinf_assets.evaluation.performance_check import judge_performance
from batchinf_assets.evaluation.trailing import Trailing
from batchinf_assets.evaluation_spec import PerformanceSpec

SPEC = PerformanceSpec(at_least={"auroc": 0.65}, at_most={"brier": 0.2}, min_labelled=100)


def metrics(rows: int = 500, **ends: tuple[float, float, float] | None) -> BinaryMetrics:
    """Metrics given as low, value, high; the others are undefined."""
    known = {name: each for name, each in ends.items() if each is not None}
    return BinaryMetrics(
        rows=rows,
        positives=rows // 5,
        intervals={name: Interval(low=low, high=high) for name, (low, _, high) in known.items()},
        **{name: known[name][1] if name in known else None for name in FIGURES},
    )


def window(found: BinaryMetrics) -> Performance:
    return Performance(state="measured", rows=found.rows, labelled=found.rows, metrics=found)


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
        windows=7, measured=7, rows=4_000, metrics=metrics(3_500, auroc=(0.61, 0.63, 0.645))
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


def test_an_undefined_figure_is_insufficient_data_and_no_success() -> None:
    only_brier = SPEC.model_copy(update={"at_least": {"auroc": 0.65}, "at_most": {}})
    found = judge_performance(window(metrics(brier=GOOD)), (), only_brier)
    assert (found.passed, found.measured["verdict"]) == (True, "insufficient data")
    assert found.measured["auroc window"] == "undefined"


def test_a_figure_without_interval_is_judged_by_itself() -> None:
    bare = BinaryMetrics(
        rows=500, positives=9, **{n: 0.5 if n == "auroc" else None for n in FIGURES}
    )
    assert not judge_performance(window(bare), (), SPEC).passed
