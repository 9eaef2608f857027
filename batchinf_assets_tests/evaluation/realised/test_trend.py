"""A line through a metric over windows, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import linregress, t

from batchinf_assets.evaluation.realised.trend import Point, weighted_trend


def points(*values: float, rows: int = 100) -> list[Point]:
    return [Point(place=place, value=value, rows=rows) for place, value in enumerate(values)]


def test_a_straight_line_is_found_without_doubt() -> None:
    found = weighted_trend(points(0.8, 0.78, 0.76, 0.74))
    assert found is not None
    assert found.slope == pytest.approx(-0.02, abs=1e-15)
    assert (found.interval.low, found.interval.high) == pytest.approx((-0.02, -0.02), abs=1e-12)
    assert (found.windows, found.rows) == (4, 400)
    assert found.direction("auroc") == "worse"
    assert found.direction("brier") == "better"


@given(st.lists(st.integers(0, 10_000).map(lambda n: n / 10_000), min_size=3, max_size=30))
def test_equal_weights_give_what_scipy_gives(values: list[float]) -> None:
    assume(len(set(values)) > 1)  # scipy knows no interval of a constant
    found = weighted_trend(points(*values))
    expected = linregress(range(len(values)), values)
    half = t.ppf(0.975, len(values) - 2) * expected.stderr
    assert found is not None
    assert found.slope == pytest.approx(expected.slope, abs=1e-9)
    assert found.interval.high == pytest.approx(expected.slope + half, abs=1e-6)
    assert found.interval.low == pytest.approx(expected.slope - half, abs=1e-6)


def test_a_window_counts_by_its_labelled_rows() -> None:
    # Weights 1, 1, 2 at places 0, 1, 2: the mean place is 5/4, the spread 11/4, and the moment with
    # the values -5/4 x 0.4 - 1/4 x 0.5 + 2 x 3/4 x 0.8 = 0.575.
    found = weighted_trend(
        [
            Point(place=0, value=0.4, rows=100),
            Point(place=1, value=0.5, rows=100),
            Point(place=2, value=0.8, rows=200),
        ]
    )
    assert found is not None
    assert found.slope == pytest.approx(0.575 / 2.75, abs=1e-12)


def test_a_gap_between_windows_counts_as_windows() -> None:
    found = weighted_trend(
        [Point(place=place, value=place / 100, rows=10) for place in (0, 1, 5, 27)]
    )
    assert found is not None
    assert found.slope == pytest.approx(0.01, abs=1e-12)


def test_noise_without_a_line_is_steady() -> None:
    noise = np.random.default_rng(7).normal(0.7, 0.02, 28)
    found = weighted_trend(points(*noise))
    assert found is not None
    assert found.direction("auroc") == "steady"


@pytest.mark.parametrize("values", [(), (0.7,), (0.7, 0.5)])
def test_two_windows_have_no_trend(values: tuple[float, ...]) -> None:
    assert weighted_trend(points(*values)) is None


def test_the_interval_holds_the_true_slope_as_often_as_it_says() -> None:
    random = np.random.default_rng(11)
    rows = random.integers(50, 2_000, 28)
    held = 0
    for _ in range(400):
        values = 0.7 - 0.001 * np.arange(28) + random.normal(0, 1, 28) / np.sqrt(rows)
        found = weighted_trend(
            [Point(place=i, value=float(values[i]), rows=int(rows[i])) for i in range(28)]
        )
        assert found is not None
        held += found.interval.low <= -0.001 <= found.interval.high
    assert 0.92 <= held / 400 <= 0.98
