"""How far the next window may lie by chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import f

from batchinf_assets.evaluation.drift.far_tail import far_statistic


def test_small_differences_are_extrapolated_as_the_square_of_students_t() -> None:
    high = 2.705543454  # chi-squared with one degree of freedom
    found = far_statistic(high, per_unit=1e-9, windows=28, chance=0.0025)
    assert found == pytest.approx(f.isf(0.0025, 1, 14), rel=1e-6)


def test_large_differences_are_those_of_a_normal_column_that_moved_further() -> None:
    # Moved by d deviations, its mean square contingency is exp(d^2) - 1: here d^2 = 1.
    ratio = far_statistic(1.0, per_unit=1e-9, windows=90, chance=0.01)
    found = far_statistic(float(np.expm1(1.0)), per_unit=1.0, windows=90, chance=0.01)
    assert found == pytest.approx(np.expm1(ratio), rel=1e-6)


def test_fewer_windows_and_fewer_alarms_need_a_larger_statistic() -> None:
    few = far_statistic(1.0, per_unit=0.01, windows=19, chance=0.05)
    many = far_statistic(1.0, per_unit=0.01, windows=365, chance=0.05)
    strict = far_statistic(1.0, per_unit=0.01, windows=365, chance=0.001)
    assert 1.0 < many < min(few, strict)


def test_windows_without_any_difference_tell_no_distance() -> None:
    assert far_statistic(0.0, per_unit=0.01, windows=28, chance=0.05) == 0.0
