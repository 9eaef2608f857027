"""What is learned from windows of how far they differ."""

from __future__ import annotations

import numpy as np
import pytest

from batchinf_assets.evaluation.drift.between_windows import (
    FALSE_ALARMS,
    LEAST_WINDOWS,
    usual,
    window_spreads,
)
from batchinf_assets.evaluation.drift.distances import differences
from batchinf_assets.registry.bins import CategoryCounts, NumericBins
from batchinf_assets.registry.window_spread import WindowSpread

KIND = CategoryCounts(counts={"a": 0, "b": 0, "c": 0}, other=0, missing=0)
NUMBER = NumericBins(edges=(0.0,), counts=(0, 0), missing=0, low=-1.0, high=1.0, deviation=1.0)

Windows = list[dict[str, list[int]]]


def alike(windows: int, rows: int, correlation: float, seed: int = 0) -> Windows:
    """Windows of three categories whose rows have an intraclass correlation (Dirichlet)."""
    random = np.random.default_rng(seed)
    shares = np.array([0.5, 0.3, 0.2])
    if correlation:
        drawn = random.dirichlet(shares * (1 / correlation - 1), size=windows)
        counts = [random.multinomial(rows, each) for each in drawn]
    else:
        counts = list(random.multinomial(rows, shares, size=windows))
    return [{"kind": [*each.tolist(), 0, 0]} for each in counts]


def learned(windows: Windows) -> WindowSpread:
    """What they say of `kind`."""
    return window_spreads(windows, {"kind": KIND}, judged=["kind"])["kind"]


@pytest.mark.parametrize("correlation", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("rows", [100, 2_000])
def test_the_intraclass_correlation_is_found(correlation: float, rows: int) -> None:
    found = [learned(alike(200, rows, correlation, seed)).correlation for seed in range(5)]
    assert np.median(found) == pytest.approx(correlation, rel=0.25)


def test_independent_rows_have_hardly_any_correlation_and_the_pools_degrees() -> None:
    found = [learned(alike(300, 1_000, 0, seed)) for seed in range(5)]
    assert max(each.correlation for each in found) < 0.0005
    assert np.median([each.degrees for each in found]) == pytest.approx(2, rel=0.3)


def test_two_windows_of_storm_hide_no_later_shift() -> None:
    calm = alike(90, 1_000, 0.02)
    storm = [{"kind": [0, 0, 1_000, 0, 0]}] * 2
    before, after = learned(calm), learned([*calm[2:], *storm])
    assert after.correlation == pytest.approx(before.correlation, rel=0.5)
    assert after.usual_psi < 2 * before.usual_psi


def test_what_is_usual_is_what_nine_of_ten_keep() -> None:
    assert usual(range(1, LEAST_WINDOWS + 1)) == 18
    assert usual(range(1, 101)) == 90
    assert usual([*range(1, LEAST_WINDOWS), None]) is None


def test_each_window_is_held_against_the_rows_of_all_others() -> None:
    windows = alike(LEAST_WINDOWS, 400, 0.1)
    total = np.sum([each["kind"] for each in windows], axis=0)
    indices = [
        differences(each, {"kind": KIND.with_counts((total - each["kind"]).tolist())})["kind"].psi
        for each in windows
    ]
    found = learned(windows)
    assert found.usual_psi == pytest.approx(sorted(psi for psi in indices if psi)[17], rel=1e-5)
    assert (found.windows, found.concentration) == (19, pytest.approx(1 / 19, rel=1e-5))
    assert found.usual_wasserstein is None


def test_few_windows_tell_nothing_and_empty_ones_do_not_count() -> None:
    few = alike(LEAST_WINDOWS - 1, 400, 0.1)
    empty = {"kind": [0] * 5}
    assert window_spreads([*few, empty, empty], {"kind": KIND}, judged=["kind"]) == {}
    enough = alike(LEAST_WINDOWS, 400, 0.1)
    assert learned([*enough, empty]) == learned(enough)


def test_the_order_of_windows_does_not_change_a_bit() -> None:
    windows = alike(40, 300, 0.05)
    order = np.random.default_rng(1).permutation(len(windows))
    assert learned([windows[place] for place in order]) == learned(windows)


def test_a_constant_is_usual_where_it_is() -> None:
    windows = [{"kind": [10, 0, 0, 0, 0]}] * 30
    found = learned(windows)
    assert (found.correlation, found.degrees, found.usual_psi) == (0.0, None, 0.0)
    assert found.usual_p_value == FALSE_ALARMS


def test_windows_too_small_to_test_still_tell_what_is_usual() -> None:
    found = learned(alike(30, 8, 0.2))
    assert (found.correlation, found.degrees) == (0.0, None)
    assert found.usual_psi > 0.5


def test_subjects_that_are_judged_together_share_the_false_alarms() -> None:
    kinds, others = alike(60, 400, 0.1), alike(60, 400, 0.1, seed=1)
    windows = [
        {**each, "apart": each["kind"], "x": [below := other["kind"][0], 400 - below, 0]}
        for each, other in zip(kinds, others, strict=True)
    ]
    bins = {"kind": KIND, "x": NUMBER, "apart": KIND}
    found = window_spreads(windows, bins, judged=["kind", "x"])
    alone = window_spreads(windows, {"kind": KIND}, judged=["kind"])["kind"]
    assert found["kind"].usual_p_value < alone.usual_p_value < FALSE_ALARMS
    assert found["kind"].model_copy(update={"usual_p_value": alone.usual_p_value}) == alone
    assert found["apart"] == alone
    assert found["x"].usual_wasserstein is not None
