from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from batchinf_assets.scoring.trees.predict import predict
from batchinf_assets.scoring.trees.translate import translate
from batchinf_assets.scoring.untranslatable import Untranslatable

ROWS, COLUMNS = 700, 5
SEED = 3


def hist(kind: Any, **settings: Any) -> Any:
    return kind(max_iter=12, early_stopping=False, min_samples_leaf=3, **settings)


def boost(kind: Any, **settings: Any) -> Any:
    return kind(n_estimators=12, random_state=SEED, **settings)


HIST_C, HIST_R = HistGradientBoostingClassifier, HistGradientBoostingRegressor
BOOST_C, BOOST_R = GradientBoostingClassifier, GradientBoostingRegressor
TREE = {"random_state": SEED}
FOREST = {"n_estimators": 9, "random_state": SEED}

# name: estimator, classes (0: regression on any number, -1: on positive numbers), NaN in training
ESTIMATORS: dict[str, tuple[Any, int, bool]] = {
    "hist binary": (hist(HIST_C), 2, False),
    "hist binary with NaN": (hist(HIST_C), 2, True),
    "hist 4 classes": (hist(HIST_C), 4, True),
    "hist 11 classes": (hist(HIST_C), 11, False),
    "hist squared_error": (hist(HIST_R), 0, True),
    "hist absolute_error": (hist(HIST_R, loss="absolute_error"), 0, False),
    "hist gamma": (hist(HIST_R, loss="gamma"), -1, True),
    "hist poisson": (hist(HIST_R, loss="poisson"), -1, False),
    "hist quantile": (hist(HIST_R, loss="quantile", quantile=0.8), 0, True),
    "hist of one huge rate": (hist(HIST_R, learning_rate=1e6), 0, False),
    "boost binary": (boost(BOOST_C), 2, False),
    "boost exponential": (boost(BOOST_C, loss="exponential", learning_rate=0.3), 2, False),
    "boost 3 classes": (boost(BOOST_C), 3, False),
    "boost 11 classes": (boost(BOOST_C, max_depth=2), 11, False),
    "boost from zero": (boost(BOOST_C, init="zero"), 3, False),
    "boost from a dummy": (boost(BOOST_C, init=DummyClassifier(strategy="uniform")), 2, False),
    "boost squared_error": (boost(BOOST_R, subsample=0.5), 0, False),
    "boost absolute_error": (boost(BOOST_R, loss="absolute_error"), 0, False),
    "boost huber": (boost(BOOST_R, loss="huber", max_depth=7), 0, False),
    "boost quantile": (boost(BOOST_R, loss="quantile", alpha=0.2), 0, False),
    "boost from a median": (boost(BOOST_R, init=DummyRegressor(strategy="median")), 0, False),
    "forest binary": (RandomForestClassifier(**FOREST), 2, False),
    "forest binary with NaN": (RandomForestClassifier(**FOREST, max_depth=5), 2, True),
    "forest 4 classes": (RandomForestClassifier(**FOREST, max_leaf_nodes=40), 4, True),
    "forest 1 class": (RandomForestClassifier(**FOREST), 1, False),
    "forest regression": (RandomForestRegressor(**FOREST), 0, True),
    "forest poisson": (RandomForestRegressor(**FOREST, criterion="poisson"), -1, False),
    "forest absolute_error": (
        RandomForestRegressor(n_estimators=3, random_state=SEED, criterion="absolute_error"),
        0,
        False,
    ),
    "extra trees binary": (ExtraTreesClassifier(**FOREST), 2, True),
    "extra trees regression": (ExtraTreesRegressor(**FOREST, max_depth=4), 0, False),
    "tree binary": (DecisionTreeClassifier(**TREE), 2, True),
    "tree 3 classes": (DecisionTreeClassifier(**TREE, max_depth=5), 3, False),
    "tree regression": (DecisionTreeRegressor(**TREE), 0, True),
    "pruned tree": (DecisionTreeRegressor(**TREE, ccp_alpha=0.02), 0, False),
    "extra tree binary": (ExtraTreeClassifier(**TREE), 2, False),
    "extra tree regression": (ExtraTreeRegressor(**TREE), 0, True),
}


@cache
def fitted(name: str) -> Any:
    estimator, classes, missing = ESTIMATORS[name]
    rng = np.random.default_rng(SEED)
    features = rng.normal(size=(ROWS, COLUMNS)) * [1, 10, 1e-3, 1, 1e6]
    features[:, 3] = np.round(features[:, 3])
    raw = features[:, 0] + np.sin(features[:, 1]) + features[:, 3] + rng.normal(size=ROWS) / 3
    if missing:
        features[rng.random(features.shape) < 0.15] = np.nan
    if classes > 0:
        y = np.digitize(raw, np.quantile(raw, np.arange(1, classes) / classes))
    else:
        y = raw if classes == 0 else np.exp(raw / 2)
    return estimator.fit(features, y)


def reference(estimator: Any, matrix: np.ndarray) -> np.ndarray:
    rows = np.ascontiguousarray(matrix.T)
    with np.errstate(all="ignore"):  # scikit-learn sums all of them to look for NaN
        if hasattr(estimator, "predict_proba"):
            return estimator.predict_proba(rows)
        return estimator.predict(rows).reshape(-1, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_covered_estimator_gives_the_bits_of_scikit_learn(
    name: str, dtype: Any, adversarial: Any, same_bits: Any
) -> None:
    estimator = fitted(name)
    ensemble = translate(estimator)
    matrix = adversarial(ensemble, dtype)
    found = predict(ensemble, matrix)
    expected = reference(estimator, matrix)
    assert found.dtype == np.float64
    assert found.shape == expected.shape
    assert same_bits(found, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39, -1e300])
@pytest.mark.parametrize(
    "name", ["hist binary", "boost 3 classes", "forest binary", "extra trees binary", "tree binary"]
)
def test_accepted_values_are_those_that_scikit_learn_accepts(name: str, value: float) -> None:
    estimator = fitted(name)
    ensemble = translate(estimator)
    rows = np.zeros((3, COLUMNS))
    rows[1, 2] = value
    accepted = ensemble.allows_nan if np.isnan(value) else ensemble.precision == "float64"
    if accepted:
        assert np.isfinite(estimator.predict_proba(rows)).all()
    else:
        with (
            pytest.raises(ValueError, match="contains"),
            np.errstate(over="ignore"),
        ):
            estimator.predict_proba(rows)


def test_a_negative_zero_in_a_leaf_of_a_single_tree_keeps_its_sign(same_bits: Any) -> None:
    features = np.array([[0.0], [0.0], [1.0]])
    estimator = DecisionTreeRegressor().fit(features, np.array([-5e-324, 0.0, 1.0]))
    expected = estimator.predict(features)
    assert np.signbit(expected[0])
    assert same_bits(predict(translate(estimator), np.ascontiguousarray(features.T)), expected)


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (LinearRegression(), "LinearRegression is no tree model"),
        (AdaBoostClassifier(), "AdaBoostClassifier is no tree model"),
        (HistGradientBoostingClassifier(), "is not fitted"),
        (RandomForestRegressor(), "is not fitted"),
    ],
)
def test_what_has_no_fast_form_is_named(estimator: Any, reason: str) -> None:
    with pytest.raises(Untranslatable, match=reason):
        translate(estimator)


def test_a_start_that_depends_on_the_featureshas_no_fast_form() -> None:
    features, y = np.random.default_rng(0).normal(size=(50, 2)), np.arange(50) % 2
    for start in (DecisionTreeClassifier(), DummyClassifier(strategy="stratified")):
        estimator = GradientBoostingClassifier(n_estimators=2, init=start).fit(features, y)
        with pytest.raises(Untranslatable, match="starts from init="):
            translate(estimator)


def test_several_outputs_have_no_fast_form() -> None:
    features = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(Untranslatable, match="with 2 outputs"):
        translate(RandomForestRegressor(n_estimators=2).fit(features, features))


def test_a_subclass_may_predict_otherwise_and_has_no_fast_form() -> None:
    class Doubled(DecisionTreeRegressor):
        def predict(self, *rows: Any) -> Any:
            return 2 * super().predict(*rows)

    with pytest.raises(Untranslatable, match="Doubled"):
        translate(Doubled().fit([[0.0], [1.0]], [0.0, 1.0]))
