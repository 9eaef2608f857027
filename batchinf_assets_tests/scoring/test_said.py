"""What a model said, as columns: the predicted class, its probability, and those of all."""

from __future__ import annotations

import numpy as np
import pytest

from batchinf_assets.scoring.said import leading_scores, said_columns, score_array, score_matrix
from batchinf_assets.spec.prediction import PredictionSpec

SEVERAL = PredictionSpec(column="arrival", kind="multiclass", classes=("on_time", "late", "early"))


def test_of_equal_probabilities_the_first_declared_class_is_predicted() -> None:
    scores = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.1, 0.2, 0.7]])
    found = {name: values.to_pylist() for name, values in said_columns(scores, SEVERAL).items()}
    assert found == {
        "arrival": ["on_time", "late", "early"],
        "arrival_probability": [0.4, 0.4, 0.7],
        "arrival_probability_on_time": [0.4, 0.2, 0.1],
        "arrival_probability_late": [0.4, 0.4, 0.2],
        "arrival_probability_early": [0.2, 0.4, 0.7],
    }


def test_a_single_score_is_one_column_and_stands_for_itself() -> None:
    scores = np.array([0.25, 0.5])
    (column,) = said_columns(scores, PredictionSpec(column="p")).items()
    assert (column[0], column[1].to_pylist()) == ("p", [0.25, 0.5])
    assert leading_scores(scores) is scores


def test_no_rows_have_all_columns() -> None:
    found = said_columns(np.empty((0, 3)), SEVERAL)
    assert [*found] == [*SEVERAL.columns]
    assert {len(values) for values in found.values()} == {0}


def test_probabilities_survive_the_way_to_arrow_and_back_in_slices_too() -> None:
    scores = np.arange(12.0).reshape(4, 3)
    assert score_matrix(score_array(scores).slice(1, 2)) == pytest.approx(scores[1:3])


def test_a_models_outputs_stand_in_the_order_of_the_names_and_are_put_in_the_declared_one() -> None:
    assert SEVERAL.of.places == (2, 1, 0)  # early, late, on_time
    assert PredictionSpec(column="p").of.places == (1,)
    assert PredictionSpec(column="n", kind="regression").of.places == (0,)
