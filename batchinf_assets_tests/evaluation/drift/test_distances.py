"""Distances from counts on frozen bins, against numbers by hand, scipy and Evidently's formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

from batchinf_assets.evaluation.drift.distances import (
    Difference,
    differences,
    population_stability,
)
from batchinf_assets.registry.bins import CategoryCounts, NumericBins
from batchinf_assets.registry.profile import build_profile

WITHOUT_ENDS = NumericBins(edges=(1.0, 2.0), counts=(0, 0, 0), missing=0)


def number(counts: Sequence[int], missing: int = 0, deviation: float | None = 1.0) -> NumericBins:
    """A reference with an edge at 1, 2, 3 …, from 0 to the number of bins."""
    return NumericBins(
        edges=tuple(float(edge) for edge in range(1, len(counts))),
        counts=tuple(counts),
        missing=missing,
        low=0.0,
        high=float(len(counts)),
        deviation=deviation,
    )


def categories(counts: Sequence[int], other: int = 0, missing: int = 0) -> CategoryCounts:
    """A reference with categories 000, 001, 002 …"""
    named = {f"{place:03}": rows for place, rows in enumerate(counts)}
    return CategoryCounts(counts=named, other=other, missing=missing)


def difference(window: Sequence[int], reference: NumericBins | CategoryCounts) -> Difference:
    """Measure one subject."""
    return differences({"x": window}, {"x": reference})["x"]


def test_ten_rows_give_the_index_computed_by_hand() -> None:
    # Training 50, 30, 20 of 100: q = .5 .3 .2. Window 2, 3, 5 of 10: p = .2 .3 .5.
    # (.2-.5) ln(.2/.5) + 0 + (.5-.2) ln(.5/.2) = .3 * ln 2.5 + .3 * ln 2.5 = 0.6 * ln 2.5.
    # The missing bin is empty on both sides: 1e-4 each.
    found = difference([2, 3, 5, 0], number([50, 30, 20]))
    assert found.psi == pytest.approx(0.6 * math.log(2.5), abs=1e-14)
    assert (found.rows, found.reference_rows) == (10, 100)


def test_an_empty_bin_counts_with_the_floor() -> None:
    # Training all in bin 0, window all in bin 1: p = 1e-4 and 1, q = 1 and 1e-4.
    # Twice (1 - 1e-4) ln(1e4).
    by_hand = 2 * (1 - 1e-4) * math.log(1e4)
    assert difference([0, 10, 0], number([7, 0])).psi == pytest.approx(by_hand, abs=1e-12)


def test_ten_rows_give_the_jensen_shannon_distance_computed_by_hand() -> None:
    # q = 1, 0 and p = .5, .5, so m = .75, .25: half of .5 log2(.5/.75) + .5 log2(.5/.25) +
    # log2(1/.75) = half of -.5 log2 1.5 + .5 + log2(4/3).
    divergence = (-0.5 * math.log2(1.5) + 0.5 + math.log2(4 / 3)) / 2
    found = difference([5, 5, 0], number([10, 0])).jensen_shannon
    assert found == pytest.approx(math.sqrt(divergence), abs=1e-14)


def test_nothing_in_common_is_the_largest_jensen_shannon_distance() -> None:
    assert difference([0, 10, 0], number([7, 0])).jensen_shannon == 1.0


def test_ten_rows_give_the_kolmogorov_smirnov_distance_computed_by_hand() -> None:
    # Cumulative: training .5 .8 1, window .2 .5 1, of ten rows each: missing ones do not count.
    found = difference([2, 3, 5, 90], number([5, 3, 2], missing=1))
    assert found.kolmogorov_smirnov == pytest.approx(0.3, abs=1e-15)


def test_ten_rows_give_the_wasserstein_distance_computed_by_hand() -> None:
    # Differences of the cumulative shares at 0, 1, 2, 3: 0, -.3, -.3, 0; between them straight, so
    # the area is .15 + .3 + .15 = .6; in deviations of 2: .3.
    found = difference([2, 3, 5, 7], number([5, 3, 2], deviation=2.0))
    assert found.wasserstein == pytest.approx(0.3, abs=1e-15)


def test_distribution_functions_that_cross_inside_a_bin_leave_two_triangles() -> None:
    # Training 5, 0, 5 and window 2, 6, 2 of ten: differences at 1 and 2 are -.3 and .3. The first
    # and the last bin have area .15, the middle one two triangles of base .5 and height .3: .15.
    found = difference([2, 6, 2, 0], number([5, 0, 5]))
    assert found.wasserstein == pytest.approx(0.45, abs=1e-15)


@pytest.mark.parametrize("deviation", [0.0, None])
def test_without_a_deviation_there_is_no_wasserstein_distance(deviation: float | None) -> None:
    found = difference([2, 3, 5, 0], number([5, 3, 2], deviation=deviation))
    assert found.wasserstein is None
    assert found.kolmogorov_smirnov is not None


def test_without_ends_there_is_no_wasserstein_distance() -> None:
    found = difference([2, 3, 5, 0], WITHOUT_ENDS.with_counts([5, 3, 2, 0]))
    assert found.wasserstein is None
    assert found.kolmogorov_smirnov is not None


def test_ten_rows_give_the_shares_computed_by_hand() -> None:
    # Window: a 4, b 1, other 3, missing 2 of 10; other was 10 % of the reference.
    found = difference([4, 1, 3, 2], categories([80, 10], other=10))
    assert found.missing == pytest.approx(0.2, abs=1e-15)
    assert found.unseen == pytest.approx(0.3 - 0.1, abs=1e-15)
    assert found.kolmogorov_smirnov is None
    assert found.wasserstein is None


def test_fewer_unknown_categories_than_before_are_none_unseen() -> None:
    assert difference([9, 1, 0], categories([8], other=2)).unseen == 0


def test_numbers_have_nothing_unseen() -> None:
    found = difference([4, 1, 5], number([4, 1]))
    assert found.unseen is None
    assert found.missing == 0.5


def test_subjects_do_not_mix() -> None:
    # x: .5 .5 both times. y: q = .25 .75, p = .75 .25: 2 * .5 * ln 3.
    found = differences(
        {"x": [5, 5, 0], "y": [3, 1, 0]}, {"x": number([1, 1]), "y": number([1, 3])}
    )
    assert list(found) == ["x", "y"]
    assert [each.subject for each in found.values()] == ["x", "y"]
    assert found["x"].psi == 0.0
    assert found["y"].psi == pytest.approx(math.log(3), abs=1e-14)


def test_no_subjects_have_no_differences() -> None:
    assert differences({}, {}) == {}


def test_a_side_without_rows_makes_everything_undefined_but_the_windows_own_share() -> None:
    nothing = Difference(subject="x", rows=0, reference_rows=10)
    assert difference([0, 0, 0], number([5, 5])) == nothing
    assert difference([0, 0, 0], categories([10])) == nothing
    full = Difference(subject="x", rows=10, reference_rows=0, missing=0.2)
    assert difference([3, 5, 2], number([0, 0])) == full
    assert difference([3, 5, 2], categories([0])) == full


def test_a_column_that_is_all_missing_has_no_distance_between_numbers() -> None:
    found = difference([0, 0, 10], number([5, 5]))
    assert found.missing == 1.0
    assert found.kolmogorov_smirnov is None
    assert found.wasserstein is None
    assert found.psi is not None


def test_counts_of_other_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="'x' has 3 bins, 2 were counted"):
        difference([1, 2], number([1, 1]))


def test_the_index_alone_is_the_same() -> None:
    observed, references = {"x": [2, 3, 5, 0]}, {"x": number([50, 30, 20])}
    found = population_stability(observed, references)
    assert found == {"x": differences(observed, references)["x"].psi}
    assert population_stability({"x": [0, 0]}, {"x": number([1])}) == {"x": None}


# Evidently 0.7, `calculations/stattests`: shares by bin of the current and the reference rows;
# for the index, but not for the distance, every empty share is replaced by 0.0001; the distance is
# scipy's, whose divergence has the natural base.
def evidently_psi(reference: np.ndarray, current: np.ndarray) -> float:
    reference_percents = reference / reference.sum()
    current_percents = current / current.sum()
    np.place(reference_percents, reference_percents == 0, 0.0001)
    np.place(current_percents, current_percents == 0, 0.0001)
    ratio = reference_percents / current_percents
    return float(np.sum((reference_percents - current_percents) * np.log(ratio)))


def evidently_jensen_shannon(reference: np.ndarray, current: np.ndarray) -> float:
    return float(jensenshannon(reference / reference.sum(), current / current.sum()))


@pytest.mark.parametrize("seed", range(20))
def test_index_and_distance_are_those_of_evidently(seed: int) -> None:
    random = np.random.default_rng(seed)
    bins = int(random.integers(2, 40))
    # Less than one row in 10,000 is not met with so few rows: only then does Evidently's rule for
    # empty bins differ from a floor.
    reference, window = random.integers(0, 50, (2, bins)) * random.integers(0, 2, (2, bins))
    reference[0] = window[-1] = 7
    found = difference(window.tolist(), categories(reference[:-2].tolist(), *reference[-2:]))
    assert found.psi == pytest.approx(evidently_psi(reference, window), abs=1e-9)
    evidently = evidently_jensen_shannon(reference, window)
    assert found.jensen_shannon == pytest.approx(evidently / math.sqrt(math.log(2)), abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_jensen_shannon_is_scipys_to_the_base_2(seed: int) -> None:
    reference, window = np.random.default_rng(seed).integers(0, 9, (2, 12))
    found = difference(window.tolist(), number(reference[:-1].tolist(), reference[-1]))
    scipys = jensenshannon(window, reference, base=2)
    assert found.jensen_shannon == pytest.approx(scipys, abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_chi_squared_is_scipys_where_no_bin_is_rare(seed: int) -> None:
    random = np.random.default_rng(seed)
    bins = int(random.integers(3, 12))
    reference, window = random.integers(25, 60, bins), random.integers(25, 60, bins)
    scipys = chi2_contingency(np.stack([reference, window]), correction=False)
    assert scipys.expected_freq.min() >= 10
    for bins_ in (
        number(reference[:-1], reference[-1]),
        categories(reference[:-2], *reference[-2:]),
    ):
        found = difference(window.tolist(), bins_)
        assert found.chi_squared == pytest.approx(scipys.statistic, abs=1e-9)
        assert found.p_value == pytest.approx(scipys.pvalue, abs=1e-9)


def test_rare_bins_are_pooled_with_their_neighbours() -> None:
    # 100 rows on either side: half of each bin's rows are expected in the window, 10 or more are
    # needed. Bins hold 4, 16 | 60 | 8, 4, 48 | 60 rows in all: 10, 30, 30 and 30 are expected.
    reference, window = [2, 10, 20, 4, 2, 32, 30], [2, 6, 40, 4, 2, 16, 30]
    pooled = [[12, 20, 38, 30], [8, 40, 22, 30]]
    found = difference(window, number(reference[:-1], reference[-1]))
    assert found.chi_squared == pytest.approx(chi2_contingency(pooled).statistic, abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_kolmogorov_smirnov_and_wasserstein_are_scipys_where_bins_hide_nothing(seed: int) -> None:
    # Values at the middle of bins of width 1, an edge between each two, and an empty bin at either
    # end: at the edges the true distribution functions are known, and between them both rise by the
    # same rule. Where they do not cross, the area between them is that of the steps.
    random = np.random.default_rng(seed)
    bins = int(random.integers(3, 12))
    middles = np.arange(bins) + 0.5
    reference = np.concatenate([[0], random.integers(1, 30, bins - 2), [0]])
    up = np.roll(reference, 1)
    window = random.integers(0, 30, bins) + reference
    values = [np.repeat(middles, counts) for counts in (reference, window, up)]
    known = number(reference.tolist(), deviation=float(values[0].std()) or 1.0)
    found = difference([*window.tolist(), 3], known)
    assert found.kolmogorov_smirnov == pytest.approx(
        ks_2samp(values[0], values[1]).statistic, abs=1e-9
    )
    shifted = difference([*up.tolist(), 0], known)
    assert known.deviation is not None
    scipys = wasserstein_distance(values[0], values[2]) / known.deviation
    assert shifted.wasserstein == pytest.approx(scipys, abs=1e-9)


def test_a_shift_is_found_in_standard_deviations_whatever_the_unit() -> None:
    random = np.random.default_rng(8)
    values, later = random.standard_normal(50_000), random.standard_normal(50_000) + 0.2
    for unit in (1e-6, 1.0, 1e6):
        known = profile_of(values * unit)
        window = known.observe(pa.array(later * unit)).tolist()
        assert difference(window, known).wasserstein == pytest.approx(0.2, abs=0.02)


def test_what_lies_beyond_the_training_values_counts_as_if_inside() -> None:
    values = np.random.default_rng(8).standard_normal(5_000)
    known = profile_of(values)
    far, farther = (
        known.observe(pa.array(np.where(values > 2, beyond, values))).tolist()
        for beyond in (1e3, 1e6)
    )
    assert difference(far, known) == difference(farther, known)


def profile_of(values: np.ndarray) -> NumericBins:
    """Profile training rows of one number."""
    rows = pa.table({"x": values})
    profile = build_profile(rows, values, columns={}, score_column="x")
    bins = profile.subjects["x"]
    assert isinstance(bins, NumericBins)
    return bins


counts = st.lists(st.integers(0, 10_000), min_size=3, max_size=20)
pairs = counts.flatmap(
    lambda first: st.tuples(
        st.just(first),
        st.lists(st.integers(0, 10_000), min_size=len(first), max_size=len(first)),
    )
).filter(lambda pair: sum(pair[0]) > 0 and sum(pair[1]) > 0)


@given(pairs)
def test_distances_are_symmetric_and_within_their_bounds(pair: tuple[list[int], list[int]]) -> None:
    a, b = pair
    references = {"there": number(a[:-1], a[-1]), "back": number(b[:-1], b[-1])}
    there, back = differences({"there": b, "back": a}, references).values()
    for name, most in {
        "psi": math.inf,
        "jensen_shannon": 1,
        "kolmogorov_smirnov": 1,
        "wasserstein": len(a) - 1,  # from one end to the other, in deviations of 1
        "chi_squared": math.inf,
        "p_value": 1,
    }.items():
        one, other = getattr(there, name), getattr(back, name)
        if not (sum(a[:-1]) and sum(b[:-1])) and name in ("kolmogorov_smirnov", "wasserstein"):
            assert one is other is None
        else:
            assert one == pytest.approx(other, rel=1e-9, abs=1e-9)
            assert 0 <= one <= most + 1e-9


@given(counts.filter(lambda each: sum(each[:-1]) > 0), st.integers(1, 5))
def test_equal_shares_are_no_distance(rows: list[int], times: int) -> None:
    found = difference([each * times for each in rows], number(rows[:-1], rows[-1]))
    assert found.psi == pytest.approx(0, abs=1e-9)
    assert found.jensen_shannon == pytest.approx(0, abs=1e-7)  # a square root of rounding
    assert found.kolmogorov_smirnov == pytest.approx(0, abs=1e-12)
    assert found.wasserstein == pytest.approx(0, abs=1e-12)
    assert found.chi_squared == pytest.approx(0, abs=1e-9)
    assert found.p_value == pytest.approx(1, abs=1e-6)


def test_the_same_counts_give_the_same_bits_beside_other_subjects_and_alone() -> None:
    random = np.random.default_rng(4)
    rows = random.integers(0, 1000, (40, 2, 200)).tolist()
    observed = {str(place): pair[0] for place, pair in enumerate(rows)}
    references = {str(place): number(pair[1][:-1], pair[1][-1]) for place, pair in enumerate(rows)}
    together = differences(observed, references)
    for place in ("0", "7", "39"):
        alone = differences({place: observed[place]}, {place: references[place]})
        assert alone[place] == together[place]
