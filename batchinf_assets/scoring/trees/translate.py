"""From a fitted scikit-learn tree model to a `TreeEnsemble`.

This reads private attributes of scikit-learn 1.9. The order of additions, the casts and the links
follow `_predictor.pyx`, `_gradient_boosting.pyx`, `_tree.pyx`, `_forest.py`, `_loss/link.py` there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from batchinf_assets.scoring.trees.ensemble import (
    BITSET_WORDS,
    LEAF,
    Link,
    TreeEnsemble,
    category_codes,
)
from batchinf_assets.scoring.untranslatable import Untranslatable


def translate(estimator: Any) -> TreeEnsemble:
    """Return the trees of a fitted estimator.

    HistGradientBoosting with categorical features reads its rows through an ordinal encoder of its
    own (`_preprocessor`); the matrix of the ensemble is that encoder's output.

    Raises:
        Untranslatable: The estimator is not fitted, not covered, or uses what has no fast form.
        ModelRefused: Its trees are unsound.
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    name = type(estimator).__name__
    translator = _translators().get(type(estimator))
    if translator is None:
        raise Untranslatable(f"{name} is no tree model with a fast form")
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise Untranslatable(f"{name} is not fitted") from error
    return translator(estimator)


def _translators() -> Mapping[type, Callable[[Any], TreeEnsemble]]:
    from sklearn import ensemble, tree

    return {
        ensemble.HistGradientBoostingClassifier: _hist_gradient_boosting,
        ensemble.HistGradientBoostingRegressor: _hist_gradient_boosting,
        ensemble.GradientBoostingClassifier: _gradient_boosting,
        ensemble.GradientBoostingRegressor: _gradient_boosting,
        ensemble.RandomForestClassifier: _forest,
        ensemble.RandomForestRegressor: _forest,
        ensemble.ExtraTreesClassifier: _forest,
        ensemble.ExtraTreesRegressor: _forest,
        tree.DecisionTreeClassifier: _single_tree,
        tree.DecisionTreeRegressor: _single_tree,
        tree.ExtraTreeClassifier: _single_tree,
        tree.ExtraTreeRegressor: _single_tree,
    }


@dataclass(frozen=True, kw_only=True)
class _Nodes:
    column: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float64]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    missing_left: npt.NDArray[np.bool_]
    category_set: npt.NDArray[np.int32]
    value: npt.NDArray[np.float64]


def _nodes(
    *, leaf: Any, column: Any, threshold: Any, left: Any, right: Any, missing_left: Any, value: Any
) -> _Nodes:
    split = ~leaf
    return _Nodes(
        column=_of_splits(split, column),
        threshold=np.where(split, threshold, 0.0),
        left=_of_splits(split, left),
        right=_of_splits(split, right),
        missing_left=np.where(split, missing_left, 0).astype(np.bool_),
        category_set=np.full(len(leaf), LEAF, dtype=np.int32),
        value=np.where(leaf[:, None], value, 0.0),
    )


def _of_splits(split: Any, index: Any) -> npt.NDArray[np.int32]:
    """Return the index of splits; of histogram trees it is unsigned, a type that has no LEAF."""
    return np.where(split, index.astype(np.int64), LEAF).astype(np.int32)


def _joined(trees: Sequence[_Nodes]) -> dict[str, Any]:
    sizes = [len(tree.column) for tree in trees]
    joined = {
        name: np.concatenate([getattr(tree, name) for tree in trees])
        for name in _Nodes.__dataclass_fields__
    }
    return {**joined, "roots": np.cumsum([0, *sizes], dtype=np.int64)}


def _hist_gradient_boosting(estimator: Any) -> TreeEnsemble:
    from sklearn.base import is_classifier

    outputs = int(estimator.n_trees_per_iteration_)
    predictors = [tree for iteration in estimator._predictors for tree in iteration]
    bitsets = [np.asarray(tree.raw_left_cat_bitsets, dtype=np.uint32) for tree in predictors]
    starts = np.cumsum([0, *(len(sets) for sets in bitsets)])
    trees = [
        _histogram_tree(predictor.nodes, int(start))
        for predictor, start in zip(predictors, starts, strict=False)
    ]
    mapper = estimator._bin_mapper
    return TreeEnsemble(
        **_joined(trees),
        left_categories=np.concatenate(bitsets).reshape(-1, BITSET_WORDS),
        known_categories=_known_categories(mapper),
        tree_output=(np.arange(len(trees)) % outputs).astype(np.int32),
        columns=len(mapper.is_categorical_),
        outputs=outputs,
        # scikit-learn adds it to zeros, which turns a baseline of -0.0 into 0.0.
        baseline=np.ravel(estimator._baseline_prediction).astype(np.float64) + 0.0,
        combine="sum",
        link=_link(estimator, softmax="softmax"),
        precision="float64",
        allows_nan=True,
        allows_infinite=True,
        classifier=is_classifier(estimator),
    )


def _histogram_tree(nodes: Any, first_set: int) -> _Nodes:
    leaf = nodes["is_leaf"].astype(np.bool_)
    categorical = nodes["is_categorical"].astype(np.bool_) & ~leaf
    tree = _nodes(
        leaf=leaf,
        column=nodes["feature_idx"],
        threshold=np.where(categorical, 0.0, nodes["num_threshold"]),
        left=nodes["left"],
        right=nodes["right"],
        missing_left=nodes["missing_go_to_left"],
        value=nodes["value"][:, None],
    )
    sets = np.where(categorical, nodes["bitset_idx"].astype(np.int64) + first_set, LEAF)
    tree.category_set[:] = sets
    return tree


def _known_categories(mapper: Any) -> dict[int, tuple[int, ...]]:
    bitsets, _ = mapper.make_known_categories_bitsets()
    columns = np.flatnonzero(mapper.is_categorical_)
    return {
        int(column): tuple(category_codes(bitset))
        for column, bitset in zip(columns, bitsets, strict=True)
    }


def _gradient_boosting(estimator: Any) -> TreeEnsemble:
    from sklearn.base import is_classifier

    _require_constant_start(estimator)
    rate = float(estimator.learning_rate)
    outputs = int(estimator.n_trees_per_iteration_)
    trees = [_cart(tree.tree_, rate) for tree in estimator.estimators_.ravel()]
    # Two rows: numpy may add in another order where there is one.
    start = estimator._raw_predict_init(np.zeros((2, estimator.n_features_in_), dtype=np.float32))
    classifier = is_classifier(estimator)
    return TreeEnsemble(
        **_joined(trees),
        left_categories=_no_categories(),
        tree_output=(np.arange(len(trees)) % outputs).astype(np.int32),
        columns=int(estimator.n_features_in_),
        outputs=outputs,
        baseline=np.ascontiguousarray(start[0], dtype=np.float64),
        combine="sum",
        link=_link(estimator, softmax="softmax_pairwise") if classifier else "identity",
        precision="float32",
        allows_nan=False,
        allows_infinite=False,
        classifier=classifier,
    )


def _require_constant_start(estimator: Any) -> None:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    start = estimator.init_
    if isinstance(start, str) and start == "zero":
        return
    if type(start) is DummyRegressor:
        return
    if type(start) is DummyClassifier and start.strategy != "stratified":
        return
    raise Untranslatable(
        f"{type(estimator).__name__} starts from init={start!r}, which has no fast form"
    )


def _forest(estimator: Any) -> TreeEnsemble:
    return _mean_of(estimator, estimator.estimators_, start=0.0)


def _single_tree(estimator: Any) -> TreeEnsemble:
    # -0.0 + x is x for every x, -0.0 among them; a single tree's values are not added to zero.
    return _mean_of(estimator, [estimator], start=-0.0)


def _mean_of(estimator: Any, members: Sequence[Any], *, start: float) -> TreeEnsemble:
    from sklearn.base import is_classifier

    if estimator.n_outputs_ != 1:
        raise Untranslatable(f"{type(estimator).__name__} with {estimator.n_outputs_} outputs")
    classifier = is_classifier(estimator)
    outputs = int(estimator.n_classes_) if classifier else 1
    trees = [_cart(member.tree_, 1.0) for member in members]
    return TreeEnsemble(
        **_joined(trees),
        left_categories=_no_categories(),
        tree_output=np.zeros(len(trees), dtype=np.int32),
        columns=int(estimator.n_features_in_),
        outputs=outputs,
        baseline=np.full(outputs, start),
        combine="mean",
        link="identity",
        precision="float32",
        allows_nan=bool(members[0].__sklearn_tags__().input_tags.allow_nan),
        allows_infinite=False,
        classifier=classifier,
    )


def _cart(tree: Any, rate: float) -> _Nodes:
    state = tree.__getstate__()["nodes"]
    return _nodes(
        leaf=state["left_child"] == LEAF,
        column=state["feature"],
        threshold=state["threshold"],
        left=state["left_child"],
        right=state["right_child"],
        missing_left=state["missing_go_to_left"],
        # scikit-learn multiplies for every row; the product of the same doubles is the same double.
        value=rate * tree.value[:, 0, :],
    )


def _no_categories() -> npt.NDArray[np.uint32]:
    return np.empty((0, BITSET_WORDS), dtype=np.uint32)


def _link(estimator: Any, *, softmax: Link) -> Link:
    from sklearn._loss import link

    known: dict[type, Link] = {
        link.IdentityLink: "identity",
        link.LogLink: "exp",
        link.LogitLink: "sigmoid",
        link.HalfLogitLink: "double_sigmoid",
        link.MultinomialLogit: softmax,
    }
    found = known.get(type(estimator._loss.link))
    if found is None:
        raise Untranslatable(f"{type(estimator).__name__} with loss={estimator.loss!r}")
    return found
