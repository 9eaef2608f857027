"""What scikit-learn's compiled code follows in a single fitted tree without looking.

`_tree.pyx`, `_gradient_boosting.pyx` and `_predictor.pyx` of scikit-learn 1.9 index with what the
nodes say. Growing puts children after their parent, depth first, best first and pruned alike; what
is required here is that order, so that no path leaves the tree or leads in a circle.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble._hist_gradient_boosting.common import (  # pyright: ignore[reportMissingModuleSource]
    PREDICTOR_RECORD_DTYPE,
)

LEAF = -1
BITSET_WORDS = 8

Booleans = npt.NDArray[np.bool_]


def tree_problems(tree: Any) -> Iterator[str]:
    """Yield what is wrong with a `Tree` of forests, GradientBoosting and single trees.

    Its arrays have `node_count` rows of `n_outputs` x `max_n_classes` values: scikit-learn checks
    that where it builds a tree, but also lets one be without any.
    """
    nodes, outputs, classes = tree.node_count, tree.n_outputs, tree.max_n_classes
    if min(nodes, outputs, classes) < 1 or nodes > tree.capacity:
        yield f"a tree has {nodes} nodes of {outputs} x {classes} values"
        return
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    split = left != LEAF
    if ((right != LEAF) != split).any():
        yield "a node is neither a leaf nor a split with two children"
    yield from _child_problems(left, right, split)
    yield from _feature_problems(feature[split], tree.n_features)


def predictor_problems(predictor: Any, categorical: Booleans) -> Iterator[str]:
    """Yield what is wrong with a `TreePredictor` of HistGradientBoosting.

    Args:
        predictor: The tree.
        categorical: Whether each column of the rows holds categories, shape (columns,).
    """
    nodes, sets = predictor.nodes, predictor.raw_left_cat_bitsets
    if not _is_plain(nodes, PREDICTOR_RECORD_DTYPE, (len(nodes),)) or not len(nodes):
        yield "a tree has nodes of another type or none at all"
        return
    if not _is_plain(sets, np.dtype(np.uint32), (len(sets), BITSET_WORDS)):
        yield "a tree has sets of categories that are no 256 bits each"
        return
    split = nodes["is_leaf"] == 0
    yield from _child_problems(nodes["left"].astype(int), nodes["right"].astype(int), split)
    yield from _feature_problems(nodes["feature_idx"][split], len(categorical))
    by_category = split & (nodes["is_categorical"] != 0)
    if (nodes["bitset_idx"][by_category] >= len(sets)).any():
        yield "a split names a set of categories that does not exist"
    if not categorical[nodes["feature_idx"][by_category]].all():
        yield "a split has categories of a column that has none"


def _is_plain(array: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Tell whether compiled code sees what is checked here: a masked array hides values from us."""
    return type(array) is np.ndarray and array.dtype == dtype and array.shape == shape


def _child_problems(left: Any, right: Any, split: Booleans) -> Iterator[str]:
    parent = np.flatnonzero(split)
    for child in (left[split], right[split]):
        if ((child <= parent) | (child >= len(split))).any():
            yield "a child does not come after its parent in the same tree"


def _feature_problems(feature: Any, columns: int) -> Iterator[str]:
    if ((feature < 0) | (feature >= columns)).any():
        yield f"a split reads a column outside the {columns} columns"
