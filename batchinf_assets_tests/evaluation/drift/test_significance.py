"""p-values of two samples over the same bins, and the false discovery rate of many."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest, chi2, f, false_discovery_control

from batchinf_assets.evaluation.drift.significance import (
    Clustering,
    Homogeneity,
    benjamini_hochberg,
    is_rare,
    p_value,
    pools,
)


def homogeneity(
    chi_squared: float = 0.0, degrees: int = 1, share: float = 0.5, rare: tuple[int, int] = (0, 0)
) -> Homogeneity:
    """A test of which `rare` gives the rows in rare bins, and those of the window."""
    return Homogeneity(
        chi_squared=chi_squared,
        degrees=degrees,
        window_share=share,
        rare_rows=rare[0],
        rare_window_rows=rare[1],
    )


@pytest.mark.parametrize(("statistic", "degrees"), [(0.0, 1), (3.841, 1), (30.0, 13), (900.0, 7)])
def test_without_rare_bins_it_is_the_chi_squared_test(statistic: float, degrees: int) -> None:
    found = p_value(homogeneity(statistic, degrees))
    assert found == pytest.approx(chi2.sf(statistic, degrees), rel=1e-12)


def test_one_pool_can_show_no_difference() -> None:
    assert p_value(homogeneity(degrees=0)) == 1.0


def test_a_full_bin_that_was_empty_in_training_is_seen_though_it_was_pooled() -> None:
    # 200 rows of a window, none among 100,000 of training: each falls to the window by 1 in 501.
    test = homogeneity(degrees=0, share=200 / 100_200, rare=(200, 200))
    assert p_value(test) == pytest.approx(4 * (200 / 100_200) ** 200, rel=1e-6)


@pytest.mark.parametrize(("rows", "in_window"), [(9, 0), (9, 2), (9, 9), (40, 3), (1, 1), (1, 0)])
def test_rare_rows_have_a_binomial_distribution(rows: int, in_window: int) -> None:
    share = 0.1
    tails = (binom.sf(in_window - 1, rows, share), binom.cdf(in_window, rows, share))
    expected = min(1.0, 2 * min(1.0, 2 * min(tails)))
    found = p_value(homogeneity(degrees=0, share=share, rare=(rows, in_window)))
    assert found == pytest.approx(expected, rel=1e-12)
    one_sided = binomtest(in_window, rows, share, alternative="greater").pvalue
    assert found >= min(1.0, one_sided)


def test_of_two_tests_the_smaller_p_value_counts_twice() -> None:
    pooled = chi2.sf(12.0, 3)
    assert p_value(homogeneity(12.0, 3, rare=(4, 2))) == pytest.approx(2 * pooled, rel=1e-12)


@pytest.mark.parametrize(("fitted", "degrees"), [(2.5, 2.5), (40.0, 12), (None, 12)])
def test_clustered_rows_have_an_f_distribution(fitted: float | None, degrees: float) -> None:
    clustering = Clustering(design_effect=30.0, degrees=fitted, windows=90)
    found = p_value(homogeneity(900.0, 12), clustering)
    assert found == pytest.approx(f.sf(900 / 12 / 30, degrees, 89), rel=1e-9)
    assert found > chi2.sf(900.0, 12)


def test_rare_rows_of_windows_count_by_the_design_effect() -> None:
    clustering = Clustering(design_effect=4.0, degrees=None, windows=90)
    clustered = p_value(homogeneity(degrees=0, share=0.1, rare=(40, 12)), clustering)
    assert clustered == p_value(homogeneity(degrees=0, share=0.1, rare=(10, 3)))


def test_many_windows_of_independent_rows_have_the_chi_squared_test() -> None:
    clustering = Clustering(design_effect=1.0, degrees=None, windows=10**8)
    found = p_value(homogeneity(30.0, 13), clustering)
    assert found == pytest.approx(chi2.sf(30.0, 13), rel=1e-5)


def test_a_bin_is_rare_if_it_has_rows_but_too_few_are_expected() -> None:
    assert [is_rare(total, 0.5) for total in (0, 1, 19, 20)] == [False, True, True, False]


def test_neighbours_are_pooled_until_enough_rows_are_expected() -> None:
    # Half of the rows are expected: 20 are needed.
    assert pools([20, 19, 1, 0, 30, 5], 0.5) == [0, 1, 1, 2, 2, 2]


def test_what_is_left_over_joins_the_last_full_pool() -> None:
    assert pools([20, 20, 3, 2], 0.5) == [0, 1, 1, 1]


def test_too_few_rows_for_any_pool_are_one_pool() -> None:
    assert pools([3, 2, 1], 0.5) == [0, 0, 0]


def test_q_values_by_hand() -> None:
    # Ascending .01, .02, .03, .5 of four: .04, .04, .04, .5; the second and the third are no larger
    # than what follows them.
    found = benjamini_hochberg({"a": 0.5, "b": 0.01, "c": 0.03, "d": 0.02})
    assert found == pytest.approx({"a": 0.5, "b": 0.04, "c": 0.04, "d": 0.04})
    assert list(found) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("seed", range(10))
def test_q_values_are_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = np.append(random.random(15) ** 3, [0.0, 1.0, 0.25, 0.25])
    found = benjamini_hochberg({str(place): value for place, value in enumerate(values)})
    assert list(found.values()) == pytest.approx(false_discovery_control(values).tolist())


def test_no_tests_have_no_q_values() -> None:
    assert benjamini_hochberg({}) == {}
