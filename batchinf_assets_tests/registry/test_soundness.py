"""Fitted models load, each of them; crafted ones never reach scikit-learn's compiled code.

No crafted model is ever asked for a prediction here: it could end the tests without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn import ensemble, tree
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.feature_selection import SelectFromModel
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer, StandardScaler
from sklearn.tree._tree import Tree

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.estimator import load_estimator
from benchmarks.scorer_parity import COVERED, Covered

ROWS = 240
RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(ROWS, 4)).astype(np.float32)
BINARY = X[:, 0] + X[:, 1] ** 2 > 0.5
THREE = np.digitize(X[:, 0] + X[:, 2], [-0.5, 0.5])
VALUES = X[:, 0] * 3 + X[:, 1]
CODES = pd.DataFrame(
    {
        "carrier": pd.Categorical(RANDOM.choice(["AA", "B6", "UA"], ROWS)),
        "wind": X[:, 0],
        "pressure": X[:, 1],
    }
)
DELAYS = np.where(CODES["carrier"] == "UA", 2, np.digitize(X[:, 0], [0]))
FEW = {"n_estimators": 3, "random_state": 0}

FITTED: dict[str, Callable[[], Any]] = {
    "one tree": lambda: tree.DecisionTreeClassifier().fit(X, THREE),
    "best first": lambda: tree.DecisionTreeClassifier(max_leaf_nodes=9).fit(X, THREE),
    "pruned": lambda: tree.DecisionTreeRegressor(ccp_alpha=0.05).fit(X, VALUES),
    "pruned to a leaf": lambda: tree.DecisionTreeRegressor(ccp_alpha=1e9).fit(X, VALUES),
    "monotonic": lambda: tree.DecisionTreeClassifier(monotonic_cst=[1, 0, 0, 0]).fit(X, BINARY),
    "two outputs": lambda: tree.ExtraTreeRegressor().fit(X, X[:, :2]),
    "best first forest": lambda: ensemble.RandomForestClassifier(**FEW, max_leaf_nodes=7).fit(
        X, THREE
    ),
    "pruned forest": lambda: ensemble.ExtraTreesRegressor(**FEW, ccp_alpha=0.1).fit(X, VALUES),
    "embedding": lambda: ensemble.RandomTreesEmbedding(**FEW).fit(X),
    "isolation forest": lambda: ensemble.IsolationForest(**FEW, max_features=2).fit(X),
    "best first boosting": lambda: ensemble.GradientBoostingClassifier(
        **FEW, max_leaf_nodes=6, max_depth=None
    ).fit(X, THREE),
    "boosting from zero": lambda: ensemble.GradientBoostingClassifier(**FEW, init="zero").fit(
        X, BINARY
    ),
    "exponential loss": lambda: ensemble.GradientBoostingClassifier(**FEW, loss="exponential").fit(
        X, BINARY
    ),
    "boosting from a uniform dummy": lambda: ensemble.GradientBoostingClassifier(
        **FEW, init=DummyClassifier(strategy="uniform")
    ).fit(X, THREE),
    "boosting from a median": lambda: ensemble.GradientBoostingRegressor(
        **FEW, loss="huber", init=DummyRegressor(strategy="median")
    ).fit(X, VALUES),
    "categories": lambda: histogram(CODES).fit(CODES, DELAYS),
    "only categories": lambda: histogram(CODES[["carrier"]]).fit(CODES[["carrier"]], BINARY),
    "categories without names": lambda: ensemble.HistGradientBoostingClassifier(
        categorical_features=[2], max_iter=3
    ).fit(np.column_stack([X[:, :2], CODES["carrier"].cat.codes]), BINARY),
    "early stopping": lambda: ensemble.HistGradientBoostingRegressor(
        max_iter=5, early_stopping=True, max_leaf_nodes=4, loss="quantile", quantile=0.3
    ).fit(X, VALUES),
    "bagging": lambda: ensemble.BaggingClassifier(
        tree.DecisionTreeClassifier(max_leaf_nodes=5), n_estimators=3, max_features=2
    ).fit(X, THREE),
    "adaptive boosting": lambda: ensemble.AdaBoostClassifier(**FEW).fit(X, BINARY),
    "several": lambda: MultiOutputClassifier(ensemble.RandomForestClassifier(**FEW)).fit(
        X, np.column_stack([BINARY, BINARY])
    ),
    "target in other units": lambda: TransformedTargetRegressor(
        ensemble.GradientBoostingRegressor(**FEW), func=np.expm1, inverse_func=np.log1p
    ).fit(X, np.abs(VALUES)),
    "behind what has no fast form": lambda: make_pipeline(
        SimpleImputer(),
        QuantileTransformer(n_quantiles=10),
        SelectFromModel(ensemble.ExtraTreesClassifier(**FEW)),
        ensemble.RandomForestClassifier(**FEW),
    ).fit(X, THREE),
    "neighbors": lambda: KNeighborsClassifier(algorithm="brute").fit(X, THREE),
    "neighbors of names": lambda: RadiusNeighborsClassifier(algorithm="brute").fit(
        X, np.array(["few", "some", "many"])[THREE]
    ),
    "neighbors of two outputs": lambda: KNeighborsClassifier(algorithm="brute").fit(
        X, np.column_stack([BINARY, THREE])
    ),
    "not fitted": lambda: ensemble.GradientBoostingClassifier(),
}


def histogram(frame: pd.DataFrame) -> Any:
    categorical = frame.dtypes == "category"
    return ensemble.HistGradientBoostingClassifier(
        max_iter=3, categorical_features=categorical.to_numpy()
    )


def learn(covered: Covered) -> Any:
    """Fit an estimator of `make parity` behind encoders, on few rows."""
    target = {"binary": BINARY, "3 classes": THREE}.get(covered.kind, np.abs(VALUES))
    words = ColumnTransformer(
        [("words", OneHotEncoder(sparse_output=False), ["carrier"])],
        remainder=StandardScaler(),
    )
    estimator = clone(covered.estimator)
    for name in {"n_estimators", "max_iter"} & {*estimator.get_params()}:
        estimator.set_params(**{name: 100 if hasattr(estimator, "fit_intercept") else 3})
    return make_pipeline(words, estimator).fit(CODES.astype({"carrier": str}), target)


def load(estimator: Any) -> Any:
    return load_estimator(skops.io.dumps(estimator), "The model")


def refuse(estimator: Any, problem: str) -> None:
    with pytest.raises(ModelRefused, match=problem) as refusal:
        load(estimator)
    assert refusal.value.reason is Refusal.UNREADABLE
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("kind", FITTED)
def test_a_fitted_model_loads(kind: str) -> None:
    fitted = FITTED[kind]()
    assert type(load(fitted)) is type(fitted)


@pytest.mark.parametrize("covered", COVERED, ids=lambda covered: covered.name)
def test_every_estimator_that_has_a_fast_scorer_loads(covered: Covered) -> None:
    frame = CODES.astype({"carrier": str})
    fitted = learn(covered)
    np.testing.assert_array_equal(load(fitted).predict(frame), fitted.predict(frame))


def changed(
    original: Tree, change: Callable[[Any], None], *, columns: int | None = None, **state: Any
) -> Tree:
    """Copy a tree of scikit-learn with other nodes."""
    _, (n_features, *rest), kept = original.__reduce__()
    copy = Tree(columns or n_features, *rest)
    nodes = kept["nodes"].copy()
    change(nodes)
    copy.__setstate__({**kept, "nodes": nodes, **state})
    return copy


def setting(field: str, value: int, node: int = 0) -> Callable[[Any], None]:
    """Change one field of one node; node 0 is a split."""

    def change(nodes: Any) -> None:
        nodes[field][node] = value

    return change


def nothing(_nodes: Any) -> None:
    """Leave the nodes as they are."""


TREES = {
    "far outside": (setting("right_child", 10**9), "does not come after its parent"),
    "just outside": (setting("right_child", 99), "does not come after its parent"),
    "before the array": (setting("left_child", -5), "does not come after its parent"),
    "in a circle": (setting("left_child", 0), "does not come after its parent"),
    "half a leaf": (setting("right_child", -1), "neither a leaf nor a split"),
    "a column too far": (setting("feature", 4), "outside the 4 columns"),
    "a column before the first": (setting("feature", -2), "outside the 4 columns"),
}


def deep_tree() -> Any:
    fitted = tree.DecisionTreeClassifier(max_leaf_nodes=50, random_state=0).fit(X, THREE)
    assert 30 < fitted.tree_.node_count < 99
    return fitted


@pytest.mark.parametrize("kind", TREES)
@pytest.mark.parametrize("best_first", [True, False])
def test_a_tree_whose_nodes_lead_astray_is_refused(kind: str, best_first: bool) -> None:
    change, problem = TREES[kind]
    fitted = deep_tree() if best_first else tree.DecisionTreeRegressor(max_depth=5).fit(X, VALUES)
    fitted.tree_ = changed(fitted.tree_, change)
    refuse(fitted, problem)


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "bagging": lambda bad: with_members(FITTED["bagging"](), bad),
    "forest": lambda bad: with_members(FITTED["best first forest"](), bad),
    "adaptive boosting": lambda bad: with_members(FITTED["adaptive boosting"](), bad),
    "pipeline": lambda bad: make_pipeline(QuantileTransformer(n_quantiles=5).fit(X), bad),
    "list in a parameter": lambda bad: ensemble.VotingClassifier([("inner", bad)]),
    "dictionary": lambda bad: GridSearchCV(LogisticRegression(), {"C": bad}),
    "partial function": lambda bad: TransformedTargetRegressor(func=partial(np.add, bad)),
}


def with_members(fitted: Any, member: Any) -> Any:
    fitted.estimators_[-1] = member
    return fitted


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_crafted_tree_is_found_wherever_it_hides(holder: str) -> None:
    bad = deep_tree()
    bad.tree_ = changed(bad.tree_, setting("right_child", 10**9))
    refuse(HOLDERS[holder](bad), "DecisionTreeClassifier: a child does not come after its parent")


def test_a_tree_of_more_columns_than_its_estimator_checks_is_refused() -> None:
    fitted = deep_tree()
    fitted.tree_ = changed(fitted.tree_, setting("feature", 999), columns=1000)
    refuse(fitted, "was not grown on its 4 columns")
    del fitted.n_features_in_
    refuse(fitted, "n_features_in_")


def test_a_tree_without_nodes_is_refused() -> None:
    fitted = deep_tree()
    fitted.tree_ = changed(fitted.tree_, nothing, node_count=0)
    refuse(fitted, "a tree has 0 nodes")


@pytest.mark.parametrize("kind", ["Tree", "TreePredictor"])
def test_a_tree_that_no_estimator_stands_around_is_refused(kind: str) -> None:
    boosted = ensemble.HistGradientBoostingRegressor(max_iter=2).fit(X, VALUES)
    naked = {"Tree": deep_tree().tree_, "TreePredictor": boosted._predictors[0][0]}[kind]
    pipeline = make_pipeline(StandardScaler().fit(X), LogisticRegression())
    pipeline.steps[-1] = ("trees", naked)
    refuse(pipeline, f"a {kind} stands outside an estimator")


def boosting() -> Any:
    return ensemble.GradientBoostingClassifier(**FEW).fit(X, THREE)


def wider_than_its_sums(fitted: Any) -> None:
    fitted.estimators_ = np.column_stack([fitted.estimators_] * 2)


def wider_with_its_word_for_it(fitted: Any) -> None:
    wider_than_its_sums(fitted)
    fitted.n_trees_per_iteration_ = 6


def starting_narrower(fitted: Any) -> None:
    fitted.init_ = DummyClassifier(strategy="prior").fit(X, BINARY)


def with_a_narrower_prior(fitted: Any) -> None:
    fitted.init_.class_prior_ = np.array([0.5, 0.5])


def starting_from_a_regressor(fitted: Any) -> None:
    fitted.init_ = DummyRegressor().fit(X, VALUES)


def starting_from_what_nobody_knows(fitted: Any) -> None:
    fitted.init_ = LogisticRegression().fit(X, THREE)


def with_the_loss_of_two_classes(fitted: Any) -> None:
    two = ensemble.GradientBoostingClassifier(**FEW).fit(X, BINARY)
    fitted._loss = two._loss


def with_one_tree_of_more_columns(fitted: Any) -> None:
    fitted.estimators_[1, 1] = tree.DecisionTreeRegressor().fit(np.tile(X, 2), VALUES)


def with_no_trees_at_all(fitted: Any) -> None:
    fitted.estimators_[1, 1] = DummyRegressor().fit(X, VALUES)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (wider_than_its_sums, "adds 6 trees per iteration to 3 sums"),
        (wider_with_its_word_for_it, "adds 6 trees per iteration to 6 sums for 3 classes"),
        (starting_narrower, "starts from init=DummyClassifier, whose width is unknown"),
        (with_a_narrower_prior, "starts from init=DummyClassifier"),
        (starting_from_a_regressor, "starts from init=DummyRegressor"),
        (starting_from_what_nobody_knows, "starts from init=LogisticRegression"),
        (with_the_loss_of_two_classes, "starts from init=DummyClassifier"),
        (with_one_tree_of_more_columns, "a tree reads 8 columns, not 4"),
        (with_no_trees_at_all, "a DummyRegressor stands among its trees"),
    ],
)
def test_gradient_boosting_that_would_leave_its_sums_is_refused(
    change: Callable[[Any], None], problem: str
) -> None:
    fitted = boosting()
    change(fitted)
    refuse(fitted, problem)


def nodes_of(fitted: Any) -> Any:
    return fitted._predictors[0][0].nodes


def put(field: str, value: float, *, categorical: bool = False) -> Callable[[Any], None]:
    """Change a field of the first split, or of the first split by categories."""

    def change(fitted: Any) -> None:
        nodes = nodes_of(fitted)
        wanted = (nodes["is_leaf"] == 0) & (nodes["is_categorical"] == categorical)
        nodes[field][np.flatnonzero(wanted)[0]] = value

    return change


def without_leaves(fitted: Any) -> None:
    nodes_of(fitted)["is_leaf"] = 0


def without_nodes(fitted: Any) -> None:
    fitted._predictors[0][0].nodes = nodes_of(fitted)[:0]


def with_shorter_sets(fitted: Any) -> None:
    predictor = fitted._predictors[0][0]
    predictor.raw_left_cat_bitsets = predictor.raw_left_cat_bitsets[:, :1].copy()


def with_nodes_behind_a_mask(fitted: Any) -> None:
    put("left", 10**6)(fitted)
    fitted._predictors[0][0].nodes = np.ma.masked_all_like(nodes_of(fitted))


def with_another_tree_in_the_row(fitted: Any) -> None:
    fitted._predictors[0].append(fitted._predictors[0][0])


def with_an_encoder_that_drops_a_column(fitted: Any) -> None:
    encoder = fitted._preprocessor
    name, _, mask = encoder.transformers_[1]
    encoder.transformers_[1] = (name, "drop", mask)


def with_an_encoder_that_weighs_columns_away(fitted: Any) -> None:
    fitted._preprocessor.transformer_weights = {"numerical": np.empty((1, 0))}


def with_an_encoder_that_selects(fitted: Any) -> None:
    encoder = fitted._preprocessor
    name, _, mask = encoder.transformers_[1]
    selector = SelectFromModel(ensemble.ExtraTreesClassifier(**FEW), max_features=1)
    encoder.transformers_[1] = (name, selector.fit(X[:, :2], BINARY), mask)


def without_categories(fitted: Any) -> None:
    fitted._bin_mapper.is_categorical_ = np.zeros(3, dtype=np.uint8)


def with_a_shorter_mapper(fitted: Any) -> None:
    fitted._bin_mapper.is_categorical_ = np.ones(1, dtype=np.uint8)


def still_fitting(fitted: Any) -> None:
    fitted._in_fit = True


def with_a_mapper_that_says_something_else(fitted: Any) -> None:
    lie = [np.zeros((0, 8), dtype=np.uint32), np.zeros(3, dtype=np.uint32)]
    fitted._bin_mapper.make_known_categories_bitsets = partial(tuple, lie)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (put("left", 10**6), "does not come after its parent"),
        (put("right", 0), "does not come after its parent"),
        (put("feature_idx", 3), "outside the 3 columns"),
        (put("feature_idx", -1), "outside the 3 columns"),
        (put("bitset_idx", 99, categorical=True), "set of categories that does not exist"),
        (put("is_categorical", 1), "categories of a column that has none"),
        (without_leaves, "does not come after its parent"),
        (without_nodes, "none at all"),
        (with_shorter_sets, "no 256 bits each"),
        (with_nodes_behind_a_mask, "nodes of another type"),
        (with_another_tree_in_the_row, "adds 4 trees per iteration to 3 sums"),
        (with_an_encoder_that_drops_a_column, "its rows have None"),
        (with_an_encoder_that_weighs_columns_away, "its rows have None"),
        (with_an_encoder_that_selects, "its rows have None"),
        (without_categories, "categories of a column that has none"),
        (with_a_shorter_mapper, "its trees read 1 columns, its rows have 3"),
        (still_fitting, "still being fitted"),
        (with_a_mapper_that_says_something_else, "takes the place of a method"),
    ],
)
def test_histogram_boosting_that_would_leave_its_arrays_is_refused(
    change: Callable[[Any], None], problem: str
) -> None:
    fitted = FITTED["categories"]()
    change(fitted)
    refuse(fitted, problem)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (np.where(np.arange(ROWS) == 7, 10**6, THREE), "a label is none of its 3 classes"),
        (np.where(np.arange(ROWS) == 7, -1, THREE), "a label is none of its 3 classes"),
        (THREE[1:], "its 240 rows do not have a label each"),
    ],
)
def test_neighbors_that_would_vote_beside_the_classes_are_refused(
    labels: Any, problem: str
) -> None:
    fitted = FITTED["neighbors"]()
    fitted._y = labels
    refuse(fitted, problem)


def test_the_fields_that_are_changed_here_are_those_of_the_installed_scikit_learn() -> None:
    fitted = FITTED["categories"]()
    nodes = nodes_of(fitted)
    assert nodes["is_categorical"].any()
    assert (nodes["is_categorical"][nodes["is_leaf"] == 0] == 0).any()
    assert type(fitted._predictors[0][0]) is TreePredictor
    assert load(fitted).n_trees_per_iteration_ == 3


def test_a_tree_that_was_copied_unchanged_is_the_same_tree() -> None:
    fitted = deep_tree()
    same = changed(fitted.tree_, nothing)
    np.testing.assert_array_equal(same.predict(X), fitted.tree_.predict(X))
    fitted.tree_ = same
    assert load(fitted).tree_.node_count == same.node_count
