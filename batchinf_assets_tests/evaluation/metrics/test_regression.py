"""Figures of predictions of a number."""

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap as scipy_bootstrap
from sklearn.metrics import (
    mean_absolute_error,
    mean_pinball_loss,
    r2_score,
    root_mean_squared_error,
)

from batchinf_assets.evaluation.metrics.bootstrap import MOST_CELLS
from batchinf_assets.evaluation.metrics.regression import (
    FIGURES,
    RegressionMetrics,
    regression_metrics,
)

NUMBERS = st.floats(-1000, 1000).map(lambda number: round(number, 3))


def measure(
    labels: Sequence[float | None], predictions: Sequence[float | None], quantile: float = 0.5
) -> RegressionMetrics:
    """Measure Python lists."""
    return regression_metrics(
        pa.array(labels, pa.float64()), pa.array(predictions, pa.float64()), quantile=quantile
    )


def test_ten_rows_give_the_figures_computed_by_hand() -> None:
    labels = [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    predictions = [2.0, 2, 2, 6, 5, 3, 7, 9, 9, 14]
    # Errors 1 0 -1 2 0 -3 0 1 0 4: in all 4, absolute 12, squared 32.
    metrics = measure(labels, predictions, quantile=0.9)
    assert metrics.rows == 10
    assert metrics.bias == pytest.approx(0.4, abs=1e-15)
    assert metrics.mae == pytest.approx(1.2, abs=1e-15)
    assert metrics.rmse == pytest.approx(math.sqrt(3.2), abs=1e-15)
    # The labels' squared distances from 5.5 are 82.5.
    assert metrics.r_squared == pytest.approx(1 - 32 / 82.5, abs=1e-15)
    # Too low by 4 costs 0.9 each, too high by 8 costs 0.1 each.
    assert metrics.quantile_loss == pytest.approx((0.9 * 4 + 0.1 * 8) / 10, abs=1e-15)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=30), st.floats(0.01, 0.99))
@settings(max_examples=40, deadline=None)
def test_figures_of_any_rows_equal_scikit_learn(
    rows: list[tuple[float, float]], quantile: float
) -> None:
    labels, predictions = [label for label, _ in rows], [prediction for _, prediction in rows]
    metrics = measure(labels, predictions, quantile)
    figures = metrics.figures
    explained = figures.pop("r_squared")
    if len({*labels}) > 1:
        assert explained == pytest.approx(r2_score(labels, predictions), rel=1e-9, abs=1e-9)
    else:
        assert explained is None
    assert figures == pytest.approx(
        {
            "mae": mean_absolute_error(labels, predictions),
            "rmse": root_mean_squared_error(labels, predictions),
            "quantile_loss": mean_pinball_loss(labels, predictions, alpha=quantile),
            "bias": np.mean(np.subtract(predictions, labels)),
        },
        rel=1e-9,
        abs=1e-9,
    )
    for figure in metrics.measured_figures.values():
        if figure.interval is not None:
            assert figure.value is not None
            assert figure.interval.low <= figure.value <= figure.interval.high


def test_labels_far_from_zero_keep_their_spread() -> None:
    random = np.random.default_rng(3)
    labels = 1e9 + random.normal(size=500)
    predictions = labels + random.normal(size=500)
    expected = r2_score(labels, predictions)
    assert measure(labels.tolist(), predictions.tolist()).r_squared == (
        pytest.approx(expected, abs=1e-9)
    )


@pytest.mark.parametrize("rows", [500, 3 * MOST_CELLS])
def test_row_order_changes_no_bit(rows: int) -> None:
    random = np.random.default_rng(4)
    labels, predictions = random.normal(size=(2, rows))
    labels[:2], predictions[:2] = [0.0, -0.0], [-0.0, 0.0]
    order = random.permutation(rows)
    first = measure(labels.tolist(), predictions.tolist())
    assert measure(labels[order].tolist(), predictions[order].tolist()) == first
    assert None not in first.intervals.values()


@pytest.mark.parametrize("rows", [400, 2 * MOST_CELLS + 7])
def test_intervals_are_those_of_resampled_rows(rows: int) -> None:
    random = np.random.default_rng(5)
    labels = random.normal(10, 3, rows)
    predictions = labels + random.standard_t(5, rows)
    found = measure(labels.tolist(), predictions.tolist()).intervals
    measures = {
        "mae": mean_absolute_error,
        "rmse": root_mean_squared_error,
        "r_squared": r2_score,
        "bias": lambda y, p: np.mean(p - y),
    }
    for name, expected in measures.items():
        drawn = scipy_bootstrap(
            (labels, predictions),
            expected,
            paired=True,
            vectorized=False,
            method="percentile",
            n_resamples=300,
            rng=np.random.default_rng(6),
        )
        low, high = drawn.confidence_interval
        interval = found[name]
        assert interval is not None
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.2 * (high - low))


def test_equal_labels_have_errors_and_no_explained_variance() -> None:
    metrics = measure([2.0, 2.0, 2.0], [1.0, 2.0, 4.0])
    assert metrics.r_squared is None
    assert metrics.intervals["r_squared"] is None
    assert metrics.mae == pytest.approx(1.0, abs=1e-15)
    assert metrics.intervals["mae"] is not None


def test_resamples_of_equal_labels_have_no_explained_variance() -> None:
    # Half of the resamples of two rows hold one of them twice.
    metrics = measure([1.1, 2.3], [1.0, 2.0])
    assert metrics.r_squared is not None
    assert metrics.intervals["r_squared"] is None


def test_one_row_has_errors_and_no_interval() -> None:
    metrics = measure([1.0], [3.0])
    assert (metrics.mae, metrics.rmse, metrics.bias, metrics.r_squared) == (2.0, 2.0, 2.0, None)
    assert set(metrics.intervals.values()) == {None}


def test_no_rows_leave_every_figure_undefined() -> None:
    metrics = measure([], [])
    assert metrics.rows == 0
    assert metrics.figures == dict.fromkeys(FIGURES)
    assert metrics.intervals == dict.fromkeys(FIGURES)


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -math.inf, 1e200, 1e308])
@pytest.mark.parametrize("side", [0, 1])
def test_what_is_no_number_or_too_large_leaves_every_figure_undefined(
    bad: float | None, side: int
) -> None:
    columns: list[list[float | None]] = [[1.0, 2.0, 3.0], [1.5, 2.5, 2.0]]
    columns[side][1] = bad
    metrics = measure(*columns)
    assert metrics.rows == 3
    assert metrics.figures == dict.fromkeys(FIGURES)
    assert metrics.intervals == dict.fromkeys(FIGURES)


@pytest.mark.parametrize("quantile", [0.0, 1.0, math.nan])
def test_a_quantile_lies_between_0_and_1(quantile: float) -> None:
    with pytest.raises(ValueError, match="at quantile"):
        measure([1.0], [1.0], quantile)


def test_labels_and_predictions_must_be_equally_long() -> None:
    with pytest.raises(ValueError, match="1 labels for 2 predictions"):
        measure([1.0], [1.0, 2.0])
