"""What makes arrays of nodes trees: no index may point outside, no path may lead in a circle.

The kernels check nothing, so a crafted file must not get past this.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from batchinf_assets.scoring.trees.ensemble import TreeEnsemble

MAX_NODES = 2**27
MAX_COLUMNS = 2**16
MAX_CODE = 255


def problem(ensemble: TreeEnsemble) -> str | None:
    """Return the first thing that is wrong with the arrays, or None."""
    for check in (_shapes, _trees, _splits, _children, _categories, _numbers):
        found = next(check(ensemble), None)
        if found is not None:
            return found
    return None


def _shapes(e: TreeEnsemble) -> Iterator[str]:
    nodes, trees = len(e.column), len(e.tree_output)
    width = e.value.shape[1] if e.value.ndim == 2 else 0
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "roots": (np.int64, (trees + 1,)),
        "tree_output": (np.int32, (trees,)),
        "column": (np.int32, (nodes,)),
        "threshold": (np.float64, (nodes,)),
        "left": (np.int32, (nodes,)),
        "right": (np.int32, (nodes,)),
        "missing_left": (np.bool_, (nodes,)),
        "category_set": (np.int32, (nodes,)),
        "left_categories": (np.uint32, (len(e.left_categories), 8)),
        "value": (np.float64, (nodes, width)),
        "baseline": (np.float64, (e.outputs,)),
    }
    for name, (dtype, shape) in expected.items():
        array = getattr(e, name)
        if array.dtype != dtype or array.shape != shape:
            yield f"{name} is {array.dtype} of shape {array.shape}, not {np.dtype(dtype)} {shape}"
    if not (0 < nodes <= MAX_NODES and trees > 0 and width > 0):
        yield f"{trees} trees of {nodes} nodes with {width} values each"


def _trees(e: TreeEnsemble) -> Iterator[str]:
    if e.roots[0] != 0 or e.roots[-1] != len(e.column) or (np.diff(e.roots) <= 0).any():
        yield "the trees do not cover the nodes one after the other"
    if not 0 < e.columns <= MAX_COLUMNS:
        yield f"{e.columns} columns"
    last = e.tree_output.astype(np.int64) + e.value.shape[1]
    if e.tree_output.min() < 0 or last.max() > e.outputs:
        yield f"a tree adds to an output outside the {e.outputs} outputs"
    if e.outputs > e.trees * e.value.shape[1]:
        yield f"{e.outputs} outputs, more than the trees have"


def _splits(e: TreeEnsemble) -> Iterator[str]:
    leaf = e.column == -1
    if ((e.column < -1) | (e.column >= e.columns)).any():
        yield f"a split reads a column outside the {e.columns} columns"
    if ((e.left == -1) != leaf).any() or ((e.right == -1) != leaf).any():
        yield "a node is neither a leaf nor a split with two children"
    if np.isnan(e.threshold).any():
        yield "a threshold is NaN"


def _children(e: TreeEnsemble) -> Iterator[str]:
    split = np.flatnonzero(e.column != -1)
    sizes = np.diff(e.roots)
    root = np.repeat(e.roots[:-1], sizes)[split]
    end = root + np.repeat(sizes, sizes)[split]
    children = [root + side[split] for side in (e.left, e.right)]
    for child in children:
        if ((child <= split) | (child >= end)).any():
            yield "a child does not come after its parent in the same tree"
            return
    parents = np.bincount(np.concatenate(children), minlength=len(e.column))
    expected = np.ones(len(e.column), dtype=np.int64)
    expected[e.roots[:-1]] = 0
    if (parents != expected).any():
        yield "a node has no parent, or two"


def _categories(e: TreeEnsemble) -> Iterator[str]:
    if ((e.category_set < -1) | (e.category_set >= len(e.left_categories))).any():
        yield "a split names a category set that does not exist"
    categorical = e.category_set >= 0
    if (categorical & (e.column == -1)).any():
        yield "a leaf has categories"
    unknown = {*np.unique(e.column[categorical]).tolist()} - {*e.known_categories}
    if unknown:
        yield f"column {min(unknown)} is split by categories and has no known ones"
    numeric = np.unique(e.column[~categorical & (e.column != -1)]).tolist()
    if {*numeric} & {*e.known_categories}:
        yield "a categorical column is split by a threshold"
    for column, codes in e.known_categories.items():
        if not 0 <= column < e.columns or any(not 0 <= code <= MAX_CODE for code in codes):
            yield f"the known categories of column {column} are no codes from 0 to {MAX_CODE}"


def _numbers(e: TreeEnsemble) -> Iterator[str]:
    if not np.isfinite(e.baseline).all() or not np.isfinite(e.value).all():
        yield "a value is not finite"
