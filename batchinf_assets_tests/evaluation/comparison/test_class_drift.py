"""Probabilities of several classes, held against each other class by class."""

from __future__ import annotations

import math

import numpy as np
import pytest

from batchinf_assets.evaluation.comparison.class_drift import class_differences
from batchinf_assets.scoring.said import leading_scores
from batchinf_assets.spec.prediction import PredictionSpec

THREE = PredictionSpec(column="c", kind="multiclass", classes=("x", "y", "z"))
A = np.random.default_rng(7).dirichlet((8, 2, 1), 2_000)


def test_classes_that_change_places_are_seen_where_the_largest_probability_is_the_same() -> None:
    b = A[:, [1, 0, 2]]
    assert np.array_equal(leading_scores(A), leading_scores(b))
    found = {each.subject: each for each in class_differences(A, b, THREE)}
    assert [*found][-1] == "c_probability_z"
    assert found["c_probability_z"].psi == 0
    for name in ("x", "y"):
        assert (found[f"c_probability_{name}"].psi or 0) > 1
        assert (found[f"c_probability_{name}"].kolmogorov_smirnov or 0) > 0.5


def test_the_index_is_that_of_the_shares_between_the_quantiles_of_a() -> None:
    a = np.repeat([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]], [50, 50], axis=0)
    b = np.repeat([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]], [80, 20], axis=0)
    found = {each.subject: each for each in class_differences(a, b, THREE)}
    expected = 0.3 * math.log(0.8 / 0.5) - 0.3 * math.log(0.2 / 0.5)
    for name in ("x", "y"):
        assert found[f"c_probability_{name}"].psi == pytest.approx(expected)
    assert found["c_probability_z"].psi == 0


def test_a_side_does_not_differ_from_itself() -> None:
    assert {each.psi for each in class_differences(A, A, THREE)} == {0}


def test_one_score_has_no_classes_and_no_rows_have_no_distance() -> None:
    assert class_differences(A[:, 0], A[:, 1], PredictionSpec(column="p")) == ()
    assert class_differences(A[:0], A[:0], THREE) == ()
