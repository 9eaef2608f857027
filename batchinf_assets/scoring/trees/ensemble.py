"""A fitted tree model as flat arrays: what every tree scorer reads, and nothing of scikit-learn.

How it lies in a file is in `table`, where it comes from in `translate`, what evaluates it in
`predict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.errors import ModelRefused, Refusal

Combine = Literal["sum", "mean"]
Link = Literal["identity", "exp", "sigmoid", "double_sigmoid", "softmax", "softmax_pairwise"]
Precision = Literal["float32", "float64"]

LEAF = -1
CATEGORY_CODES = 256
BITSET_WORDS = 8

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
        from batchinf_assets.scoring.trees.soundness import problem

        found = problem(self)
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

    def to_table(self) -> pa.Table:
        """Return one row per node, the rest as JSON in the schema's metadata."""
        from batchinf_assets.scoring.trees.table import to_table

        return to_table(self)

    @classmethod
    def from_table(cls, table: pa.Table) -> TreeEnsemble:
        """Read what `to_table` wrote, trusting nothing in it.

        Raises:
            ModelRefused: The table is no table of trees, or its trees are unsound.
        """
        from batchinf_assets.scoring.trees.table import from_table

        return from_table(table)


def category_codes(bitset: npt.NDArray[np.uint32]) -> list[int]:
    """Return the codes that a bitset of 8 words holds, ascending."""
    bits = np.unpackbits(bitset.astype("<u4").view(np.uint8), bitorder="little")
    return [int(code) for code in np.flatnonzero(bits)]


def category_bitset(codes: Any) -> npt.NDArray[np.uint32]:
    """Return the bitset of 8 words that holds the codes, each from 0 to 255."""
    bits = np.zeros(CATEGORY_CODES, dtype=np.uint8)
    bits[np.asarray(codes, dtype=np.int64)] = 1
    return np.packbits(bits, bitorder="little").view("<u4").astype(np.uint32)
