"""Walking down trees with too many leaves for bits: 64 rows at once, one level after the other.

Siblings are adjacent, so the next node is the left child plus whether the row goes right. A leaf is
its own child and sends nobody right: rows that have arrived wait until the last one has.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from batchinf_assets.scoring.trees import intrinsics as simd
from batchinf_assets.scoring.trees.ensemble import TreeEnsemble
from batchinf_assets.scoring.trees.intrinsics import INT32, INT64
from batchinf_assets.scoring.trees.keys import BLOCK, HIGHEST, KeyPlan
from batchinf_assets.scoring.trees.layout import Layout
from batchinf_assets.scoring.untranslatable import Untranslatable

LANES = 16
VECTORS = 4
WALK_ROWS = LANES * VECTORS
POINTER_BITS = 32


class Steps(NamedTuple):
    """The nodes of the trees that are walked, tree by tree, level by level.

    Attributes:
        start: int64, shape (trees,): where each tree's nodes begin.
        depth: int64, shape (trees,): steps to the deepest leaf.
        categorical: bool, shape (trees,): whether a split of the tree asks for categories.
        operand: int32, shape (nodes,): the key that a row must exceed to go right, or where the
            category bits that go right begin in `bits`.
        pointer: uint32, shape (nodes,): the left child counted from the root, above the row of
            keys in the lowest `shift` bits.
        shift: Bits for the row of keys.
        first_code: The first row of keys that holds category codes.
        bits: uint32: category bits that go right.
    """

    start: npt.NDArray[np.int64]
    depth: npt.NDArray[np.int64]
    categorical: npt.NDArray[np.bool_]
    operand: npt.NDArray[np.int32]
    pointer: npt.NDArray[np.uint32]
    shift: int
    first_code: int
    bits: npt.NDArray[np.uint32]


def plan_steps(
    ensemble: TreeEnsemble, layout: Layout, keys: KeyPlan, walked: npt.NDArray[np.bool_]
) -> tuple[Steps, npt.NDArray[np.int64]]:
    """Return the steps of the walked trees and the node that stands at each place.

    Args:
        ensemble: The trees.
        layout: Where their nodes stand.
        keys: What their splits compare.
        walked: Shape (trees,): which trees to walk.

    Raises:
        Untranslatable: A tree has more nodes than 32 bits can point to beside a row of keys.
    """
    order = layout.by_level[walked[layout.tree[layout.by_level]]]
    sizes = np.where(walked, np.diff(ensemble.roots), 0)
    start = np.cumsum(sizes) - sizes
    shift = max(int(keys.rows - 1).bit_length(), 1)
    if int(sizes.max()) >> (POINTER_BITS - shift):
        raise Untranslatable(f"a tree of {sizes.max()} nodes over {keys.rows} rows of keys")
    place = np.zeros(len(ensemble.column), dtype=np.int64)
    place[order] = np.arange(len(order)) - start[layout.tree[order]]
    leaf = ensemble.is_leaf[order]
    categorical = ensemble.category_set[order] >= 0
    child = np.where(leaf, place[order], place[layout.left[order]])
    row = np.where(categorical, keys.split_code[order], keys.split_row[order])
    operand = np.where(leaf, HIGHEST, keys.split_key[order])
    bits = [keys.goes_right[node] for node in order[categorical].tolist()]
    widths = np.array([len(words) for words in bits], dtype=np.int64)
    operand[categorical] = np.cumsum(widths) - widths
    return Steps(
        start=start,
        depth=layout.depth,
        categorical=np.bincount(layout.tree[order[categorical]], minlength=ensemble.trees).astype(
            np.bool_
        ),
        operand=operand.astype(np.int32),
        pointer=((child << shift) | np.where(leaf, 0, row)).astype(np.uint32),
        shift=shift,
        first_code=keys.first_code,
        bits=np.concatenate([np.zeros(1, dtype=np.uint32), *bits])[1:],
    ), order


class _Walk:
    """Emits one step of one vector of rows."""

    def __init__(self, builder: Any, steps: dict[str, Any], keys: Any, *, codes: bool) -> None:
        self.builder = builder
        self.steps, self.keys, self.codes = steps, keys, codes
        self.shift, self.first_code = (
            simd.splat(builder, builder.trunc(steps[name], INT32), LANES)
            for name in ("shift", "first_code")
        )
        one = simd.constant(INT32, LANES, 1)
        self.row_mask = builder.sub(builder.shl(one, self.shift), one)

    def step(self, node: Any, rows: Any) -> Any:
        """Return the next nodes of rows at these nodes."""
        builder = self.builder
        operand = simd.gather(builder, self.steps["operand"], node, INT32)
        pointer = simd.gather(builder, self.steps["pointer"], node, INT32)
        key_row = builder.and_(pointer, self.row_mask)
        place = builder.add(builder.mul(key_row, simd.constant(INT32, LANES, BLOCK)), rows)
        key = simd.gather(builder, self.keys, place, INT32)
        right = builder.icmp_signed(">", key, operand)
        if self.codes:
            right = self._by_category(key_row, key, operand, right)
        child = builder.lshr(pointer, self.shift)
        return builder.add(child, builder.zext(right, node.type))

    def _by_category(self, key_row: Any, code: Any, first: Any, otherwise: Any) -> Any:
        builder = self.builder
        asks = builder.icmp_unsigned(">=", key_row, self.first_code)
        word_bits, bit_mask = (simd.constant(INT32, LANES, value) for value in (5, 31))
        word = builder.add(first, builder.lshr(code, word_bits))
        bits = simd.gather(builder, self.steps["bits"], word, INT32, asks)
        bit = builder.lshr(bits, builder.and_(code, bit_mask))
        return builder.select(asks, builder.trunc(bit, simd.vector(simd.BIT, LANES)), otherwise)


def _walk_down(*, codes: bool) -> Any:
    """Make the intrinsic, with or without category tests."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        leaf, keys = (
            builder.gep(
                simd.pointer(context, builder, signature.args[i], arguments[i]), [arguments[4]]
            )
            for i in (0, 1)
        )
        steps = simd.pointers(context, builder, signature.args[2], arguments[2])
        root = builder.load(builder.gep(steps["start"], [arguments[3]]))
        depth = builder.load(builder.gep(steps["depth"], [arguments[3]]))
        steps["operand"] = builder.gep(steps["operand"], [root])
        steps["pointer"] = builder.gep(steps["pointer"], [root])
        nodes = _emit_levels(builder, _Walk(builder, steps, keys, codes=codes), depth)
        for number, found in enumerate(nodes):
            simd.store(builder, found, builder.gep(leaf, [ir.Constant(INT64, number * LANES)]))
        return context.get_dummy_value()

    @intrinsic
    def walk(_context: Any, leaf: Any, keys: Any, steps: Any, _tree: Any, _row: Any) -> Any:
        return types.void(leaf, keys, steps, types.int64, types.int64), codegen

    return walk


def _emit_levels(builder: Any, walk: _Walk, depth: Any) -> list[Any]:
    """Emit the loop over levels, until the last row has arrived; return where the rows are."""
    head, loop = builder.block, builder.append_basic_block("level")
    end = builder.append_basic_block("arrived")
    builder.branch(loop)
    builder.position_at_end(loop)
    level = builder.phi(INT64)
    nodes = [builder.phi(simd.vector(INT32, LANES)) for _ in range(VECTORS)]
    after = [
        walk.step(node, simd.constant(INT32, LANES, range(first, first + LANES)))
        for node, first in zip(nodes, range(0, WALK_ROWS, LANES), strict=True)
    ]
    moved = ir.Constant(ir.IntType(LANES), 0)
    for node, new in zip(nodes, after, strict=True):
        moved = builder.or_(
            moved, builder.bitcast(builder.icmp_signed("!=", node, new), moved.type)
        )
        node.add_incoming(simd.constant(INT32, LANES, 0), head)
        node.add_incoming(new, loop)
    following = builder.add(level, ir.Constant(INT64, 1))
    level.add_incoming(ir.Constant(INT64, 0), head)
    level.add_incoming(following, loop)
    anybody = builder.icmp_unsigned("!=", moved, ir.Constant(moved.type, 0))
    deeper = builder.icmp_signed("<", following, depth)
    builder.cbranch(builder.and_(anybody, deeper), loop, end)
    builder.position_at_end(end)
    return after


walk_down = _walk_down(codes=False)
"""Find the leaves of WALK_ROWS rows, from `row` of the block on, in one tree without categories."""

walk_down_categories = _walk_down(codes=True)
"""The same in a tree that may ask for categories."""
