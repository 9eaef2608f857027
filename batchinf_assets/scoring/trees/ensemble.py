"""A fitted tree model as flat arrays: what every tree scorer reads, and nothing of scikit-learn.

The kernels check nothing: what is wrong with the arrays of a crafted file must be found here.

How it lies in a file is in `table`, where it comes from in `translate`, what evaluates it in
`predict`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from batchinf_assets.errors import ModelRefused, Refusal

Combine = Literal["sum", "mean"]
Link = Literal["identity", "exp", "sigmoid", "double_sigmoid", "softmax", "softmax_pairwise"]
Precision = Literal["float32", "float64"]

LEAF = -1
CATEGORY_CODES = 256
BITSET_WORDS = 8

MAX_NODES = 2**27
MAX_COLUMNS = 2**16

Int32s = npt.NDArray[np.int32]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TreeEnsemble:
    """Trees over a numeric matrix, and how their leaf values become predictions.

    Nodes of one tree are contiguous, its root first, children after their parent. A numeric split
    sends x left where x <= threshold; a categorical split sends a code left where its set holds it.
    Missing values, and categories that are negative or unknown, go left where `missing_left`.

    Attributes:
        roots: int64, shape (trees + 1,): where each tree's nodes begin, and their count last.
        tree_output: int32, shape (trees,): the first raw output that a tree adds to.
        column: int32, shape (nodes,): the matrix column that a split reads; -1 for a leaf.
        threshold: float64, shape (nodes,); 0 where there is none.
        left: int32, shape (nodes,): the left child, counted from the tree's root; -1 for a leaf.
        right: The same for the right child.
        missing_left: bool, shape (nodes,).
        category_set: int32, shape (nodes,): row of `left_categories`; -1 for a numeric split.
        left_categories: uint32, shape (sets, 8): bit i of word w is code 32 w + i.
        known_categories: By categorical column, the codes that occurred in training.
        value: float64, shape (nodes, outputs per tree): what a leaf adds; 0 for a split.
        columns: Columns of the matrix.
        outputs: Raw outputs per row.
        baseline: float64, shape (outputs,): where the sum starts.
        combine: `sum` in the order of the trees; `mean` divides that sum by their number.
        link: What turns raw outputs into predictions.
        precision: The type in which rows are compared; rows are cast to it first.
        allows_nan: Whether the model accepts NaN.
        allows_infinite: Whether the model accepts infinities.
        classifier: Whether predictions are class probabilities.

    Raises:
        ModelRefused: An array has another shape, or an index points where it may not.
    """

    roots: npt.NDArray[np.int64]
    tree_output: Int32s
    column: Int32s
    threshold: Float64s
    left: Int32s
    right: Int32s
    missing_left: npt.NDArray[np.bool_]
    category_set: Int32s
    left_categories: npt.NDArray[np.uint32]
    value: Float64s
    columns: int
    outputs: int
    baseline: Float64s
    combine: Combine
    link: Link
    precision: Precision
    allows_nan: bool
    allows_infinite: bool
    classifier: bool
    known_categories: Mapping[int, tuple[int, ...]] = field(
        default_factory=dict[int, tuple[int, ...]]
    )

    def __post_init__(self) -> None:
        found = next(_problems(self), None)
        if found is not None:
            raise ModelRefused(
                f"The trees of the model are unsound: {found}.",
                reason=Refusal.UNREADABLE,
                next_step="Restore the artifact from a backup, or register the model again.",
            )

    @classmethod
    def constant(cls, value: float) -> TreeEnsemble:
        """Return one tree of one leaf over one column: it gives every row this value."""
        none, leaf = np.full(1, LEAF, dtype=np.int32), np.zeros(1)
        return cls(
            roots=np.array([0, 1], dtype=np.int64),
            tree_output=np.zeros(1, dtype=np.int32),
            column=none,
            threshold=leaf,
            left=none,
            right=none,
            missing_left=np.zeros(1, dtype=np.bool_),
            category_set=none,
            left_categories=np.zeros((0, 8), dtype=np.uint32),
            value=np.full((1, 1), value),
            columns=1,
            outputs=1,
            baseline=leaf,
            combine="sum",
            link="identity",
            precision="float64",
            allows_nan=True,
            allows_infinite=True,
            classifier=False,
        )

    @property
    def trees(self) -> int:
        """The number of trees."""
        return len(self.tree_output)

    @cached_property
    def is_leaf(self) -> npt.NDArray[np.bool_]:
        """Whether each node is a leaf, shape (nodes,)."""
        return self.column == LEAF

    @cached_property
    def leaves(self) -> npt.NDArray[np.int64]:
        """How many leaves each tree has, shape (trees,)."""
        return np.add.reduceat(self.is_leaf.astype(np.int64), self.roots[:-1])

    def thresholds(self, column: int) -> Float64s:
        """Return the distinct thresholds of the numeric splits on a matrix column, ascending."""
        numeric = (self.column == column) & (self.category_set == LEAF)
        return np.unique(self.threshold[numeric])


def category_codes(bitset: npt.NDArray[np.uint32]) -> list[int]:
    """Return the codes that a bitset of 8 words holds, ascending."""
    bits = np.unpackbits(bitset.astype("<u4").view(np.uint8), bitorder="little")
    return [int(code) for code in np.flatnonzero(bits)]


def category_bitset(codes: Any) -> npt.NDArray[np.uint32]:
    """Return the bitset of 8 words that holds the codes, each from 0 to 255."""
    bits = np.zeros(CATEGORY_CODES, dtype=np.uint8)
    bits[np.asarray(codes, dtype=np.int64)] = 1
    return np.packbits(bits, bitorder="little").view("<u4").astype(np.uint32)


def _problems(ensemble: TreeEnsemble) -> Iterator[str]:
    """Say what is wrong: an index may point outside of its array, a path may lead in a circle."""
    for check in (_shapes, _trees, _splits, _children, _categories, _numbers):
        yield from check(ensemble)


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
    if (categorical & (e.column == LEAF)).any():
        yield "a leaf has categories"
    unknown = {*np.unique(e.column[categorical]).tolist()} - {*e.known_categories}
    if unknown:
        yield f"column {min(unknown)} is split by categories and has no known ones"
    numeric = np.unique(e.column[~categorical & (e.column != -1)]).tolist()
    if {*numeric} & {*e.known_categories}:
        yield "a categorical column is split by a threshold"
    for column, codes in e.known_categories.items():
        if not 0 <= column < e.columns or any(not 0 <= code < CATEGORY_CODES for code in codes):
            yield f"the known categories of column {column} are no codes below {CATEGORY_CODES}"


def _numbers(e: TreeEnsemble) -> Iterator[str]:
    if not np.isfinite(e.baseline).all() or not np.isfinite(e.value).all():
        yield "a value is not finite"
