"""Scoring a run of rows: keys, the leaf of every tree, the sum in scikit-learn's order.

`plan` decides once per model which tree is scored how; `predict` cuts rows and calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from batchinf_assets.scoring.trees.compiled import KERNEL_VERSION, kernel, part
from batchinf_assets.scoring.trees.ensemble import Precision, TreeEnsemble
from batchinf_assets.scoring.trees.keys import (
    BLOCK,
    CategoryKeys,
    NumericKeys,
    fill_category_keys,
    fill_float32_keys,
    fill_float64_keys,
    plan_keys,
)
from batchinf_assets.scoring.trees.layout import lay_out
from batchinf_assets.scoring.trees.leaves import ADD_ROWS, add_values
from batchinf_assets.scoring.trees.quickscorer import (
    NARROW,
    NARROW_ROWS,
    WIDE,
    WIDE_ROWS,
    BitTests,
    find_leaves_narrow,
    find_leaves_wide,
    plan_bit_tests,
)
from batchinf_assets.scoring.trees.traversal import (
    WALK_ROWS,
    Steps,
    plan_steps,
    walk_down,
    walk_down_categories,
)

CACHE_LINE = 64
"""Bytes, and those of the widest vector."""


class Plan(NamedTuple):
    """What the kernel reads of a model.

    Attributes:
        key_rows: Rows of keys in a block.
        numeric: How numeric columns become keys.
        categories: How categorical columns do.
        leaves: int64, shape (trees,): decides how a tree is scored.
        output: int64, shape (trees,): the first raw output that it adds to.
        first_value: int64, shape (trees,): where its values begin.
        values: float64, shape (all, outputs per tree): by leaf from left to right, or by node in
            the order of the walk.
        baseline: float64, shape (outputs,).
        narrow: Numeric tests of trees of at most 32 leaves; the next one their categorical tests.
        wide: The same for at most 64 leaves.
        steps: Nodes of the other trees.
    """

    key_rows: int
    numeric: NumericKeys
    categories: CategoryKeys
    leaves: npt.NDArray[np.int64]
    output: npt.NDArray[np.int64]
    first_value: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    baseline: npt.NDArray[np.float64]
    narrow: BitTests
    narrow_categories: BitTests
    wide: BitTests
    wide_categories: BitTests
    steps: Steps


def plan(ensemble: TreeEnsemble, rows_are: Precision) -> Plan:
    """Prepare an ensemble for rows of one type.

    Raises:
        Untranslatable: A tree is too large.
    """
    layout, keys = lay_out(ensemble), plan_keys(ensemble, rows_are)
    walked = ensemble.leaves > WIDE
    steps, walk_order = plan_steps(ensemble, layout, keys, walked)
    # A stable sort by tree and leaf number: leaves of scored-by-bits trees in their order.
    leaves = np.flatnonzero(ensemble.is_leaf & ~walked[layout.tree])
    leaves = leaves[np.lexsort((layout.first_leaf[leaves], layout.tree[leaves]))]
    order = np.concatenate([leaves, walk_order])
    return Plan(
        key_rows=keys.rows,
        numeric=keys.numeric,
        categories=keys.categories,
        leaves=ensemble.leaves,
        output=ensemble.tree_output.astype(np.int64),
        first_value=_first_values(ensemble, walked, steps, len(leaves)),
        values=np.ascontiguousarray(ensemble.value[order].T),
        baseline=ensemble.baseline,
        **_bit_tests(ensemble, layout, keys),
        steps=steps,
    )


def _bit_tests(ensemble: TreeEnsemble, layout: Any, keys: Any) -> dict[str, BitTests]:
    narrow, narrow_categories = plan_bit_tests(ensemble, layout, keys, NARROW)
    wide, wide_categories = plan_bit_tests(ensemble, layout, keys, WIDE)
    return {
        "narrow": narrow,
        "narrow_categories": narrow_categories,
        "wide": wide,
        "wide_categories": wide_categories,
    }


def _first_values(
    ensemble: TreeEnsemble, walked: npt.NDArray[np.bool_], steps: Steps, bit_values: int
) -> npt.NDArray[np.int64]:
    counted = np.where(walked, 0, ensemble.leaves)
    by_bits = np.cumsum(counted) - counted
    return np.where(walked, steps.start + bit_values, by_bits)


@kernel
def refused_column(bits: Any, start: Any, stop: Any, first_refused: Any, last_refused: Any) -> Any:
    """Return the first column with a float32 value that the model refuses, or -1.

    A value is refused when its bits without the sign are from first_refused to last_refused.
    """
    for column in range(bits.shape[0]):
        values = bits[column, start:stop]
        found = np.int32(0)
        for r in range(stop - start):
            magnitude = values[r] & np.int32(0x7FFFFFFF)
            found |= np.int32((magnitude >= first_refused) & (magnitude <= last_refused))
        if found:
            return column
    return -1


@part
def sum_trees(plan: Any, keys: Any, leaf: Any, total: Any) -> None:  # noqa: C901 - see below
    """Sum the trees over a block in their order, from the baseline; total is (outputs, BLOCK).

    One function, its arrays unpacked before the loop: handing them to another one for every tree,
    even to one that numba inlines, counts references and costs up to half of the time.
    """
    narrow, narrow_categories = plan.narrow, plan.narrow_categories
    wide, wide_categories, steps = plan.wide, plan.wide_categories, plan.steps
    leaves, outputs, first_value = plan.leaves, plan.output, plan.first_value
    categorical, values = steps.categorical, plan.values
    for output in range(total.shape[0]):
        total[output, :] = plan.baseline[output]
    for tree in range(leaves.size):
        if leaves[tree] <= NARROW:
            for row in range(0, BLOCK, NARROW_ROWS):
                find_leaves_narrow(leaf, keys, narrow, narrow_categories, tree, row)
        elif leaves[tree] <= WIDE:
            for row in range(0, BLOCK, WIDE_ROWS):
                find_leaves_wide(leaf, keys, wide, wide_categories, tree, row)
        elif categorical[tree]:
            for row in range(0, BLOCK, WALK_ROWS):
                walk_down_categories(leaf, keys, steps, tree, row)
        else:
            for row in range(0, BLOCK, WALK_ROWS):
                walk_down(leaf, keys, steps, tree, row)
        for k in range(values.shape[0]):
            first_total = (outputs[tree] + k) * BLOCK
            first = k * values.shape[1] + first_value[tree]
            for row in range(0, BLOCK, ADD_ROWS):
                add_values(total, values, leaf, first_total, first, row)


def _sum_rows(version: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Make the kernels of a version, which they close over."""

    @kernel
    def float32_rows(
        plan: Any, rows: Any, bits: Any, start: Any, stop: Any, workspace: Any, raw: Any
    ) -> Any:
        keys, leaf, total = workspace
        for first in range(start, stop, BLOCK):
            last = min(first + BLOCK, stop)
            fill_float32_keys(bits, first, last, plan.numeric, keys)
            fill_category_keys(rows, first, last, plan.categories, keys)
            sum_trees(plan, keys, leaf, total)
            raw[:, first - start : last - start] = total[:, : last - first]
        return version

    @kernel
    def float64_rows(plan: Any, rows: Any, start: Any, stop: Any, workspace: Any, raw: Any) -> Any:
        keys, leaf, total = workspace
        for first in range(start, stop, BLOCK):
            last = min(first + BLOCK, stop)
            fill_float64_keys(rows, first, last, plan.numeric, keys)
            fill_category_keys(rows, first, last, plan.categories, keys)
            sum_trees(plan, keys, leaf, total)
            raw[:, first - start : last - start] = total[:, : last - first]
        return version

    return float32_rows, float64_rows


sum_float32_rows, sum_float64_rows = _sum_rows(KERNEL_VERSION)


class Workspace(NamedTuple):
    """What a block is scored in; one per call, so that threads do not share it.

    Attributes:
        keys: int32, shape (key_rows, BLOCK).
        leaf: uint32, shape (BLOCK,).
        total: float64, shape (outputs, BLOCK).
    """

    keys: npt.NDArray[np.int32]
    leaf: npt.NDArray[np.uint32]
    total: npt.NDArray[np.float64]


def workspace(plan: Plan) -> Workspace:
    """Make room for one block, zeroed."""
    return Workspace(
        keys=_aligned_zeros((plan.key_rows, BLOCK), np.int32),
        leaf=_aligned_zeros((BLOCK,), np.uint32),
        total=_aligned_zeros((len(plan.baseline), BLOCK), np.float64),
    )


def _aligned_zeros(shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """Vectors that cross lines of the cache cost a quarter of the speed."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.zeros(size + CACHE_LINE, dtype=np.uint8)
    start = -room.ctypes.data % CACHE_LINE
    return room[start : start + size].view(dtype).reshape(shape)
