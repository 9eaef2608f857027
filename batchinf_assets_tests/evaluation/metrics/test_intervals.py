"""Wilson, DeLong and percentile intervals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from batchinf_assets.evaluation.metrics.figures import Interval
from batchinf_assets.evaluation.metrics.intervals import (
    Z,
    auroc_interval,
    bootstrap_interval,
    percentiles,
    strayed_interval,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_proportions_have_the_intervals_published_by_newcombe(
    successes: int, trials: int, low: float, high: float
) -> None:
    found = wilson_interval(successes / trials, trials)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_intervals_equal_scipy_and_hold_the_share(counts: tuple[int, int]) -> None:
    successes, trials = counts
    found = wilson_interval(successes / trials, trials)
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= found.low <= successes / trials <= found.high <= 1


@given(st.floats(0, 1), st.integers(1, 10**5))
def test_more_trials_with_the_same_share_lie_inside_fewer(share: float, trials: int) -> None:
    few, many = wilson_interval(share, trials), wilson_interval(share, 2 * trials)
    assert few is not None
    assert many is not None
    assert few.low - 1e-15 <= many.low <= many.high <= few.high + 1e-15


def test_without_trials_there_is_no_interval() -> None:
    assert wilson_interval(None, 0) is None
    assert auroc_interval(None, None, positives=0, negatives=5) is None
    assert auroc_interval(0.7, None, positives=1, negatives=5) is None


def test_an_area_is_normal_around_itself_and_cut_at_one() -> None:
    assert auroc_interval(0.7, 0.01, positives=9, negatives=9) == Interval(
        low=0.7 - Z * 0.1, high=0.7 + Z * 0.1
    )
    assert auroc_interval(0.95, 0.01, positives=9, negatives=9) == Interval(
        low=0.95 - Z * 0.1, high=1.0
    )
    assert auroc_interval(0.1, 0.01, positives=9, negatives=9) == Interval(
        low=0.0, high=0.1 + Z * 0.1
    )


@pytest.mark.parametrize("auroc", [0.0, 0.5, 1.0])
def test_an_area_without_variance_has_the_interval_of_the_largest_variance(auroc: float) -> None:
    found = auroc_interval(auroc, 0.0, positives=12, negatives=40)
    assert found == wilson_interval(auroc, 12)
    assert found is not None
    assert found.low < found.high


def test_percentiles_are_interpolated_and_leave_undefined_resamples_out() -> None:
    drawn = np.array([*range(101), math.nan, math.nan], np.float64)
    assert percentiles(drawn, 0.9) == pytest.approx((5, 95), abs=1e-12)
    # 2 of 103 is 1.9 %: more than a 99 % interval leaves out at each end.
    assert percentiles(drawn, 0.99) is None
    assert percentiles(np.full(10, math.nan), 0.5) is None


def test_an_undefined_figure_has_no_bootstrap_interval() -> None:
    assert bootstrap_interval(None, np.arange(9.0)) is None


def test_a_sum_of_distances_reaches_as_far_as_resamples_stray() -> None:
    found = strayed_interval(0.2, np.linspace(0, 0.1, 1001))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.105, 0.295), abs=1e-12)
    assert strayed_interval(0.05, np.full(9, 0.1), highest=0.1) == Interval(low=0, high=0.1)
    assert strayed_interval(None, np.arange(9.0)) is None


def test_a_biased_figure_is_still_inside_its_interval() -> None:
    found = bootstrap_interval(0.1, np.linspace(0.2, 0.3, 1001))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.1, 0.2975), abs=1e-12)
    assert bootstrap_interval(0.4, np.linspace(-1, 2, 1001), highest=1.0) == Interval(low=0, high=1)
