"""Calibration curves: counted by hand, kept as rows and read back."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from batchinf_assets.evaluation.evaluation_records import evaluation_rows
from batchinf_assets.evaluation.metrics.binary import binary_metrics
from batchinf_assets.evaluation.metrics.calibration import calibration_curve, calibration_of


def counts(*rows: tuple[float | None, int, int]) -> pa.Table:
    score, positives, negatives = zip(*rows, strict=True)
    return pa.table(
        {"score": pa.array(score, pa.float64()), "positives": positives, "negatives": negatives}
    )


def test_rows_of_one_bin_are_put_together_by_their_numbers() -> None:
    low, high = calibration_curve(counts((0.21, 1, 2), (0.29, 1, 0), (0.8, 3, 1)))
    assert (low.number, low.rows) == (2, 4)
    assert low.mean_score == pytest.approx((3 * 0.21 + 0.29) / 4)
    assert low.mean_label == pytest.approx(2 / 4)
    assert (high.number, high.rows, high.mean_label) == (8, 4, 0.75)
    assert high.interval is not None
    assert high.interval.low == pytest.approx(0.3006, abs=1e-4)  # Wilson, 3 of 4
    assert high.interval.high == pytest.approx(0.9544, abs=1e-4)


def test_a_score_of_one_lies_in_the_last_bin_and_zero_in_the_first() -> None:
    assert [each.number for each in calibration_curve(counts((0.0, 1, 0), (1.0, 1, 0)))] == [0, 9]


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan, math.inf, None])
def test_scores_that_are_no_probabilities_have_no_curve(score: float | None) -> None:
    assert calibration_curve(counts((0.5, 1, 1), (score, 1, 1))) == ()


def test_no_rows_have_no_curve() -> None:
    assert calibration_curve(counts((0.5, 1, 1)).slice(0, 0)) == ()


def test_a_curve_is_read_back_from_its_rows_in_any_order() -> None:
    curve = calibration_curve(counts((0.05, 0, 9), (0.55, 4, 4), (0.95, 9, 1)))
    golden = binary_metrics(pa.array([True, False]), pa.array([0.5, 0.5]), decision=0.5)
    rows = evaluation_rows("r", golden=golden, calibration=curve).to_pylist()
    assert calibration_of(reversed(rows)) == curve
    assert calibration_of(evaluation_rows("r", golden=golden).to_pylist()) == ()
