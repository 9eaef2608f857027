"""A figure and its interval."""

import math

import pytest

from batchinf_assets.evaluation.metrics.figures import Interval


def test_an_interval_may_be_one_point() -> None:
    assert Interval(low=0.5, high=0.5).low == 0.5


@pytest.mark.parametrize(("low", "high"), [(0.6, 0.5), (math.nan, 0.5), (0.5, math.nan)])
def test_ends_out_of_order_are_no_interval(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="is no interval"):
        Interval(low=low, high=high)
