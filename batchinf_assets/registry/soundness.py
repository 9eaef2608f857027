"""Whether scikit-learn's compiled code stays inside a loaded estimator's arrays.

skops builds what a file says, and scikit-learn trusts what it fitted: trees are followed and sums
written without a look at bounds. So all of that is held against the shapes first. The arrays of one
tree are in `registry.tree_soundness`; here is what its estimator promises about rows and sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from sklearn._loss.link import BaseLink
from sklearn._loss.loss import BaseLoss
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble._gb import BaseGradientBoosting
from sklearn.ensemble._hist_gradient_boosting.binning import _BinMapper  # pyright: ignore[reportPrivateUsage]
from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder
from sklearn.tree import BaseDecisionTree
from sklearn.tree._tree import Tree  # pyright: ignore[reportMissingModuleSource]
from sklearn.utils.validation import check_array

from batchinf_assets.registry.reachable import hidden_method, reachable
from batchinf_assets.registry.tree_soundness import predictor_problems, tree_problems

# Trees count only here, where the estimator around them checks the width of the rows.
_TREE, _PREDICTORS = "tree_", "_predictors"
_CLOSED = {BaseDecisionTree: _TREE, BaseHistGradientBoosting: _PREDICTORS}


def unsound(estimator: Any) -> str | None:
    """Return the first reason why predicting could leave the estimator's arrays, or None.

    Looks at everything that it holds, fitted or not, and calls none of it.

    Raises:
        ArithmeticError, AttributeError, LookupError, TypeError, ValueError: A part is not what
            fitting leaves there.
    """
    return next((found for value in reachable(estimator, _CLOSED) for found in _found(value)), None)


def _found(value: Any) -> Iterator[str]:
    name, fitted = type(value).__name__, getattr(value, "__dict__", {})
    hidden = hidden_method(value)
    if hidden is not None:
        yield f"{name}.{hidden} takes the place of a method"
    if isinstance(value, Tree | TreePredictor):
        yield f"a {name} stands outside an estimator that checks its rows"
    for kind, mark, problems in (
        (BaseDecisionTree, _TREE, _single_tree),
        (BaseGradientBoosting, "estimators_", _gradient_boosting),
        (BaseHistGradientBoosting, _PREDICTORS, _hist_gradient_boosting),
        (KNeighborsClassifier | RadiusNeighborsClassifier, "_y", _neighbors),
    ):
        if isinstance(value, kind) and mark in fitted:
            yield from (f"{name}: {problem}" for problem in problems(value))


def _single_tree(estimator: Any) -> Iterator[str]:
    # By this attribute, and not by the tree's own, scikit-learn checks the width of the rows.
    columns, tree = estimator.n_features_in_, estimator.tree_
    if type(tree) is not Tree or type(columns) is not int or tree.n_features != columns:
        yield f"its tree was not grown on its {columns!r} columns"
        return
    yield from tree_problems(tree)


def _gradient_boosting(estimator: Any) -> Iterator[str]:
    """Yield why sums could be written beside the raw predictions, or rows be read beyond them."""
    grown = estimator.estimators_
    if type(grown) is not np.ndarray or grown.ndim != 2 or not grown.size:
        yield "its trees do not stand in rows and columns"
        return
    yield from _width_problems(estimator, grown.shape[1])
    for tree in grown.ravel():
        if not isinstance(tree, BaseDecisionTree) or _TREE not in vars(tree):
            yield f"a {type(tree).__name__} stands among its trees"
        elif tree.n_features_in_ != estimator.n_features_in_:
            yield f"a tree reads {tree.n_features_in_} columns, not {estimator.n_features_in_}"
    if not _starts_with(estimator, grown.shape[1]):
        yield f"it starts from init={type(estimator.init_).__name__}, whose width is unknown"


def _starts_with(estimator: Any, width: int) -> bool:
    """Tell whether the raw predictions start with this width; of other estimators nobody knows."""
    start, loss = estimator.init_, estimator._loss
    if not isinstance(loss, BaseLoss) or not isinstance(loss.link, BaseLink):
        return False
    if isinstance(start, str) and start == "zero":
        return True
    if type(start) is DummyRegressor:
        return width == 1 == start.n_outputs_
    if type(start) is not DummyClassifier or start.n_outputs_ != 1:
        return False
    if not loss.is_multiclass:
        return width == 1
    return start.n_classes_ == width and np.shape(start.class_prior_) == (width,)


def _hist_gradient_boosting(estimator: Any) -> Iterator[str]:
    """Yield why a row could be read beyond its columns, or a set of categories beyond the sets."""
    if "_in_fit" in vars(estimator):
        yield "it is still being fitted"
    mapper = estimator._bin_mapper
    if type(mapper) is not _BinMapper or type(mapper.is_categorical_) is not np.ndarray:
        yield "it has no mapper of bins"
        return
    categorical = mapper.is_categorical_.ravel().astype(np.bool_)
    columns = _columns_read(estimator)
    if columns != len(categorical):
        yield f"its trees read {len(categorical)} columns, its rows have {columns}"
    for iteration in estimator._predictors:
        yield from _width_problems(estimator, len(iteration))
        for predictor in iteration:
            if type(predictor) is not TreePredictor or hidden_method(predictor):
                yield f"a {type(predictor).__name__} stands among its trees"
                return
            yield from predictor_problems(predictor, categorical)


def _columns_read(estimator: Any) -> int | None:
    """Return how many columns its rows have when trees see them, None where that is unknown."""
    encoder, columns = estimator._preprocessor, estimator.n_features_in_
    if type(columns) is not int:
        return None
    if encoder is None:
        return columns
    return _columns_encoded(encoder) if type(encoder) is ColumnTransformer else None


def _columns_encoded(encoder: Any) -> int | None:
    """Count what the encoder of categories that fitting makes gives: it keeps every column."""
    if encoder.transformer_weights is not None:
        return None
    indices: list[int] = []
    for name, transformer, mask in encoder.transformers_:
        if isinstance(transformer, str) and transformer == "drop":
            continue
        chosen = encoder._transformer_to_input_indices[name]
        plain = type(mask) is np.ndarray and mask.dtype == np.bool_
        if not plain or np.flatnonzero(mask).tolist() != chosen or not _keeps_columns(transformer):
            return None
        indices += chosen
    return len(indices) if sorted(indices) == list(range(encoder.n_features_in_)) else None


def _keeps_columns(transformer: Any) -> bool:
    if type(transformer) is not FunctionTransformer:
        return type(transformer) is OrdinalEncoder
    called = transformer.func
    plain = isinstance(called, partial) and called.func is check_array and not called.args
    return plain and transformer.kw_args is None


def _neighbors(estimator: Any) -> Iterator[str]:
    """Yield why votes could be counted beside the classes."""
    labels, rows = estimator._y, estimator._fit_X.shape[0]
    if type(labels) is not np.ndarray or len(labels) != rows:
        yield f"its {rows} rows do not have a label each"
    elif labels.ndim == 1 and not set(labels.tolist()) <= {*range(len(estimator.classes_))}:
        yield f"a label is none of its {len(estimator.classes_)} classes"


def _width_problems(estimator: Any, trees: int) -> Iterator[str]:
    outputs = estimator.n_trees_per_iteration_
    classes = len(getattr(estimator, "classes_", ()))
    expected = classes if classes > 2 else 1
    if type(outputs) is not int or not outputs == trees == expected:
        yield f"it adds {trees} trees per iteration to {outputs!r} sums for {classes} classes"
