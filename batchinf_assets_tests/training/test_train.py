"""Running a pipeline's own `train`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from batchinf_assets.errors import InvalidSpec
from batchinf_assets.registry.estimator import load_estimator
from batchinf_assets.registry.inspection import recognize
from batchinf_assets.scoring.scorer import SklearnScorer, score_rows
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.training.train import train_model

if TYPE_CHECKING:
    from batchinf_assets_tests.training.conftest import School

Quick = Callable[..., Pipeline]


def test_what_was_trained_is_a_skops_file_of_the_fitted_pipeline(school: School) -> None:
    data = train_model(school.pipeline, school.labelled)
    assert recognize(data) == "skops"
    estimator = load_estimator(data, "The model")
    assert estimator.named_steps["boost"].n_iter_ == 5
    assert estimator.feature_names_in_.tolist() == list(school.pipeline.spec.features.columns)


def test_training_again_gives_the_same_scores(school: School) -> None:
    # Not the same bytes: skops writes memory addresses and the time into its file.
    columns = school.pipeline.spec.features.columns
    first, second = (
        score_rows(
            SklearnScorer(
                load_estimator(train_model(school.pipeline, school.labelled), "The model"), columns
            ),
            school.labelled.rows,
        )
        for _ in range(2)
    )
    assert first.tobytes() == second.tobytes()
    assert len(np.unique(first)) > 20


@pytest.mark.parametrize("script", ["x = 1\n", "train = 'no function'\n"])
def test_a_script_without_train_is_refused(school: School, quick: Quick, script: str) -> None:
    with pytest.raises(
        InvalidSpec, match=r"flight_delays/train\.py defines no function `train`"
    ) as refusal:
        train_model(quick(script), school.labelled)
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("def train(features, labels):\n    return None\n", "returned NoneType, no fitted"),
        (
            "from sklearn.linear_model import LinearRegression\n"
            "def train(features, labels):\n    return LinearRegression()\n",
            "returned LinearRegression, no fitted binary classifier",
        ),
    ],
)
def test_a_script_that_gives_no_classifier_is_named(
    school: School, quick: Quick, script: str, reason: str
) -> None:
    with pytest.raises(InvalidSpec, match=rf"flight_delays/train\.py {reason}") as refusal:
        train_model(quick(script), school.labelled)
    assert "train(features, labels)" in refusal.value.next_step


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            "def train(:\n",
            "cannot be loaded: SyntaxError: invalid syntax (train.py, line 1).",
        ),
        (
            "import no_such_library\n",
            "cannot be loaded in line 1: ModuleNotFoundError: No module named 'no_such_library'.",
        ),
        ("x = 1\ny = z\n", "cannot be loaded in line 2: NameError: name 'z' is not defined."),
        (
            "def train(features, labels):\n    return features['colour']\n",
            "fails in line 2: KeyError: 'colour'.",
        ),
        (
            "def train(features):\n    pass\n",
            "fails: TypeError: train() takes 1 positional argument but 2 were given.",
        ),
        (
            "def train(features, labels):\n    open('no-such-file.csv')\n",
            "fails in line 2: FileNotFoundError: [Errno 2] No such file or directory: "
            "'no-such-file.csv'.",
        ),
    ],
)
def test_a_script_that_raises_is_told_by_its_line_and_its_error(
    school: School, quick: Quick, script: str, sentence: str
) -> None:
    with pytest.raises(InvalidSpec) as failure:
        train_model(quick(script), school.labelled)
    assert failure.value.message == f"flight_delays/train.py {sentence}"
    assert "batchinf --debug model register flight_delays" in failure.value.next_step
    assert failure.value.__cause__ is not None
