import json

import numpy as np
import pytest
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.scoring.linear import (
    BLOCK_ROWS,
    LinearModel,
    predict_linear,
    translate_linear,
)
from batchinf_assets.scoring.untranslatable import Untranslatable

RANDOM = np.random.default_rng(5)
FEATURES = RANDOM.normal(size=(400, 7))
SCORES = FEATURES @ RANDOM.normal(size=7) + RANDOM.normal(size=400)
TWO = SCORES > 0
THREE = np.digitize(SCORES, [-1, 1])
EXTREME = np.array([0.0, -0.0, 5e-324, 1e-300, 1e5, -1e5, 1 / 3])

SEARCHED = LogisticRegressionCV(Cs=[1.0], l1_ratios=(0,), scoring=None, use_legacy_attributes=False)
CLASSIFIERS = [
    (LogisticRegression(), TWO),
    (LogisticRegression(fit_intercept=False), TWO.astype(str)),
    (LogisticRegression(solver="liblinear"), TWO),
    (LogisticRegression(), THREE),
    (SEARCHED, THREE),
    (SGDClassifier(loss="log_loss", random_state=0), TWO),
    (SGDClassifier(loss="log_loss", random_state=0), THREE),
]
REGRESSORS = [
    LinearRegression(),
    LinearRegression(fit_intercept=False),
    Ridge(),
    Lasso(0.01),
    ElasticNet(0.01),
    SGDRegressor(random_state=0),
]


def named(value):
    return None if isinstance(value, np.ndarray) else str(value)


def unseen_rows(rows):
    random = np.random.default_rng(6)
    drawn = random.normal(size=(rows, 7)) * random.choice([1e-8, 1.0, 30.0], (rows, 1))
    return np.vstack([drawn, np.eye(7), random.choice(EXTREME, (300, 7)) * [1, 1, 0, 1, 0, 1, 1]])


UNSEEN = unseen_rows(20_000)


def read_back(estimator):
    return LinearModel.from_json(translate_linear(estimator).to_json())


@pytest.mark.parametrize(("estimator", "labels"), CLASSIFIERS, ids=named)
def test_probabilities_and_labels_are_those_of_scikit_learn(estimator, labels):
    estimator.fit(FEATURES, labels)
    model = read_back(estimator)
    found = predict_linear(model, np.ascontiguousarray(UNSEEN.T))
    expected = estimator.predict_proba(UNSEEN)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-9
    assert np.array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    assert model.classifier


@pytest.mark.parametrize("estimator", REGRESSORS, ids=str)
def test_regressions_are_those_of_scikit_learn(estimator):
    estimator.fit(FEATURES, SCORES)
    found = predict_linear(read_back(estimator), np.ascontiguousarray(UNSEEN.T))
    assert found.shape == (len(UNSEEN), 1)
    np.testing.assert_allclose(found[:, 0], estimator.predict(UNSEEN), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(("labels", "cut"), [(TWO, 1), (TWO, BLOCK_ROWS + 3), (THREE, 7)])
@pytest.mark.parametrize("kind", [LogisticRegression, SGDClassifier])
def test_a_rows_answer_depends_on_that_row_alone(kind, labels, cut):
    model = translate_linear(
        (kind(loss="log_loss") if kind is SGDClassifier else kind()).fit(FEATURES, labels)
    )
    matrix = np.ascontiguousarray(UNSEEN.T)
    whole = predict_linear(model, matrix)
    parts = [predict_linear(model, matrix[:, :cut]), predict_linear(model, matrix[:, cut:])]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    for row in range(0, 40, 3):
        assert predict_linear(model, matrix[:, row : row + 1]).tobytes() == whole[row].tobytes()


def test_columns_are_added_in_order():
    model = LinearModel(
        coefficients=np.array([[1.0, 1.0, 1.0]]),
        intercept=np.array([0.5]),
        link="identity",
        classifier=False,
    )
    matrix = np.array([[1e16], [1.0], [-1e16]])
    assert predict_linear(model, matrix).tolist() == [[0.5]]


def test_float32_columns_are_summed_in_float64():
    model = translate_linear(LinearRegression().fit(FEATURES, SCORES))
    narrow = np.ascontiguousarray(UNSEEN.T, dtype=np.float32)
    wide = predict_linear(model, narrow.astype(np.float64))
    assert predict_linear(model, narrow).tobytes() == wide.tobytes()


def test_no_rows_give_no_answers():
    model = translate_linear(LogisticRegression().fit(FEATURES, THREE))
    assert predict_linear(model, np.empty((7, 0))).shape == (0, 3)


def test_far_rows_give_certain_answers_without_a_warning():
    model = translate_linear(LogisticRegression().fit(FEATURES, TWO))
    far = np.sign(model.coefficients.T) * [[1e300, -1e300]]
    assert predict_linear(model, far).tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_classes_that_are_all_given_up_are_as_likely():
    model = LinearModel(
        coefficients=np.full((3, 1), -1.0),
        intercept=np.zeros(3),
        link="one_vs_rest",
        classifier=True,
    )
    assert predict_linear(model, np.array([[1e4]])).tolist() == [[1 / 3] * 3]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_that_scikit_learn_refuses_are_refused(bad, dtype):
    estimator = LogisticRegression().fit(FEATURES, TWO)
    matrix = np.zeros((7, 5), dtype=dtype)
    matrix[3, 2] = bad
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        estimator.predict_proba(matrix.T)
    with pytest.raises(ModelRefused, match=f"matrix column 3 holds {bad}") as refused:
        predict_linear(translate_linear(estimator), matrix)
    assert refused.value.reason is Refusal.ROWS


def test_a_matrix_of_other_columns_is_refused():
    model = translate_linear(Ridge().fit(FEATURES, SCORES))
    with pytest.raises(ModelRefused, match="reads 7 matrix columns; there are 6"):
        predict_linear(model, np.zeros((6, 2)))


@pytest.mark.parametrize(
    ("estimator", "labels", "reason"),
    [
        (RidgeClassifier(), TWO, "RidgeClassifier is no linear model"),
        (PoissonRegressor(), np.abs(SCORES), "PoissonRegressor is no linear model"),
        (SGDClassifier(loss="hinge"), TWO, "loss 'hinge'"),
        (SGDClassifier(loss="modified_huber"), TWO, "loss 'modified_huber'"),
        (Ridge(), np.column_stack([SCORES, SCORES]), "2 outputs"),
    ],
    ids=named,
)
def test_what_has_no_fast_form_is_named(estimator, labels, reason):
    with pytest.raises(Untranslatable, match=reason):
        translate_linear(estimator.fit(FEATURES, labels))


def test_models_that_compute_in_float32_are_left_to_scikit_learn():
    estimator = Ridge().fit(FEATURES.astype(np.float32), SCORES.astype(np.float32))
    with pytest.raises(Untranslatable, match="computes in float32"):
        translate_linear(estimator)


def test_weights_that_are_not_finite_are_named():
    estimator = LinearRegression().fit(FEATURES, SCORES)
    estimator.coef_[2] = np.nan
    with pytest.raises(Untranslatable, match=r"LinearRegression: .*not finite"):
        translate_linear(estimator)


def test_a_document_reads_back_bit_for_bit():
    model = translate_linear(LogisticRegression().fit(FEATURES, THREE))
    read = LinearModel.from_json(model.to_json())
    assert read.coefficients.tobytes() == model.coefficients.tobytes()
    assert read.intercept.tobytes() == model.intercept.tobytes()
    assert (read.link, read.classifier) == ("softmax", True)
    assert read.to_json() == model.to_json()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"coefficients": [[1.0], [1.0, 2.0]]}, "inhomogeneous"),
        ({"coefficients": []}, "do not fit 1 intercepts"),
        ({"intercept": [0.0, 1.0]}, "do not fit 2 intercepts"),
        ({"intercept": []}, "do not fit 0 intercepts"),
        ({"intercept": [1e999]}, "intercept.0"),
        ({"coefficients": [["1.0", 2.0]]}, "coefficients.0.0"),
        ({"link": "probit"}, "link"),
        ({"link": "softmax"}, "softmax does not fit 1 outputs"),
        ({"classifier": False}, "classifier=False"),
        ({"version": 2}, "version"),
        ({"more": 1}, "more"),
    ],
    ids=str,
)
def test_documents_that_contradict_themselves_are_refused(change, problem):
    document = {
        "version": 1,
        "coefficients": [[1.0, 2.0]],
        "intercept": [0.0],
        "link": "logistic",
        "classifier": True,
    }
    assert LinearModel.from_json(json.dumps(document)).link == "logistic"
    with pytest.raises(ModelRefused, match=problem) as refused:
        LinearModel.from_json(json.dumps(document | change))
    assert refused.value.reason is Refusal.UNREADABLE
