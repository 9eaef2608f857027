"""QuickScorer: the leaf of every row, without walking down the tree.

One bit stands for each leaf, the leftmost highest. A split whose test fails sends the row right and
clears the bits of its left subtree; after all splits, in any order, the highest bit left is the
leaf. Lucchese et al., "QuickScorer: a fast algorithm to rank documents with additive ensembles of
regression trees", SIGIR 2015; for many rows at once, "Exploiting CPU SIMD extensions to speed-up
document scoring with tree ensembles", SIGIR 2016.

Trees with more leaves than bits are in `traversal`.
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
from batchinf_assets.scoring.trees.keys import BLOCK, KeyPlan
from batchinf_assets.scoring.trees.layout import Layout

NARROW = 32
WIDE = 64
REGISTER_BITS = 512
VECTORS = 8
"""Vectors of leaf bits that stay in registers over all the splits of a tree."""

NARROW_ROWS = VECTORS * REGISTER_BITS // NARROW
WIDE_ROWS = VECTORS * REGISTER_BITS // WIDE


class BitTests(NamedTuple):
    """The splits of all trees of one width, tree by tree.

    Attributes:
        start: int64, shape (trees + 1,): where each tree's tests begin.
        row: int64, shape (tests,): where the keys that a test reads begin.
        operand: int32, shape (tests,): the key that they must exceed to fail the test, or the
            category bits that they must meet.
        mask: uint32 or uint64, shape (tests,): the leaves that remain for a row that fails.
    """

    start: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    operand: npt.NDArray[np.int32]
    mask: npt.NDArray[Any]


def plan_bit_tests(
    ensemble: TreeEnsemble, layout: Layout, keys: KeyPlan, width: int
) -> tuple[BitTests, BitTests]:
    """Return the numeric and the categorical tests of the trees whose leaves fit `width` bits."""
    fits = ensemble.leaves <= width
    if width == WIDE:
        fits &= ensemble.leaves > NARROW
    mine = ~ensemble.is_leaf & fits[layout.tree]
    numeric = np.flatnonzero(mine & (ensemble.category_set < 0))
    pairs = [
        (node, word, bits)
        for node in np.flatnonzero(mine & (ensemble.category_set >= 0)).tolist()
        for word, bits in enumerate(keys.goes_right[node])
        if bits
    ]
    category = np.array([node for node, _, _ in pairs], dtype=np.int64)
    word = np.array([word for _, word, _ in pairs], dtype=np.int64)
    bits = np.array([bits for _, _, bits in pairs], dtype=np.uint32)
    trees = ensemble.trees
    return (
        _tests(layout, trees, numeric, keys.split_row[numeric], keys.split_key[numeric], width),
        _tests(
            layout, trees, category, keys.split_row[category] + word, bits.view(np.int32), width
        ),
    )


def _tests(layout: Layout, trees: int, nodes: Any, rows: Any, operand: Any, width: int) -> BitTests:
    return BitTests(
        start=np.searchsorted(layout.tree[nodes], np.arange(trees + 1)).astype(np.int64),
        row=rows.astype(np.int64) * BLOCK,
        operand=operand.astype(np.int32),
        mask=_masks(layout, nodes, width),
    )


def _masks(layout: Layout, nodes: Any, width: int) -> npt.NDArray[Any]:
    """Return all bits but those of the leaves on a split's left."""
    count = layout.leaf_count[layout.left[nodes]].astype(np.uint64)
    first = layout.first_leaf[nodes].astype(np.uint64)
    one = np.uint64(1)
    cleared = ((one << count) - one) << (np.uint64(width) - first - count)
    return (~cleared).astype(np.uint32 if width == NARROW else np.uint64)


def _emit_tests(builder: Any, tests: dict[str, Any], ends: Any, bits: list[Any], fails: Any) -> Any:
    """Emit the loop over a tree's tests; the vectors of leaf bits are what it carries."""
    first, last = ends
    head = builder.block
    loop, end = builder.append_basic_block("test"), builder.append_basic_block("tested")
    builder.cbranch(builder.icmp_signed("<", first, last), loop, end)
    builder.position_at_end(loop)
    test = builder.phi(INT64)
    carried = [builder.phi(vector.type) for vector in bits]
    after = _emit_test(builder, tests, test, carried, fails)
    following = builder.add(test, ir.Constant(INT64, 1))
    builder.cbranch(builder.icmp_signed("<", following, last), loop, end)
    builder.position_at_end(end)
    results = [builder.phi(vector.type) for vector in bits]
    test.add_incoming(first, head)
    test.add_incoming(following, loop)
    for phis in (carried, results):
        for phi, before, new in zip(phis, bits, after, strict=True):
            phi.add_incoming(before, head)
            phi.add_incoming(new, loop)
    return results


def _emit_test(
    builder: Any, tests: dict[str, Any], test: Any, bits: list[Any], fails: Any
) -> list[Any]:
    lanes, element = bits[0].type.count, bits[0].type.element
    keys = builder.gep(tests["keys"], [builder.load(builder.gep(tests["row"], [test]))])
    operand = simd.splat(builder, builder.load(builder.gep(tests["operand"], [test])), lanes)
    mask = simd.splat(builder, builder.load(builder.gep(tests["mask"], [test])), lanes)
    every = simd.constant(element, lanes, -1)
    after: list[Any] = []
    for number, before in enumerate(bits):
        place = builder.gep(keys, [ir.Constant(INT64, number * lanes)])
        failed = fails(builder, simd.load(builder, place, INT32, lanes), operand)
        after.append(builder.and_(before, builder.select(failed, mask, every)))
    return after


def _exceeds(builder: Any, key: Any, operand: Any) -> Any:
    return builder.icmp_signed(">", key, operand)


def _meets(builder: Any, key: Any, operand: Any) -> Any:
    none = simd.constant(INT32, key.type.count, 0)
    return builder.icmp_signed("!=", builder.and_(key, operand), none)


def _find_leaves(width: int) -> Any:
    """Make the intrinsic for one width of leaf bits."""
    lanes = REGISTER_BITS // width

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        leaf, keys = (
            builder.gep(simd.pointer(context, builder, signature.args[i], arguments[i]), [row])
            for i, row in ((0, arguments[5]), (1, arguments[5]))
        )
        bits = [simd.constant(ir.IntType(width), lanes, -1)] * VECTORS
        for number, fails in ((2, _exceeds), (3, _meets)):
            tests = simd.pointers(context, builder, signature.args[number], arguments[number])
            start = builder.gep(tests["start"], [arguments[4]])
            ends = [
                builder.load(builder.gep(start, [ir.Constant(INT64, which)])) for which in (0, 1)
            ]
            bits = _emit_tests(builder, {**tests, "keys": keys}, ends, bits, fails)
        for number, vector in enumerate(bits):
            found = simd.leading_zeros(builder, vector)
            if width > INT32.width:
                found = builder.trunc(found, simd.vector(INT32, lanes))
            simd.store(builder, found, builder.gep(leaf, [ir.Constant(INT64, number * lanes)]))
        return context.get_dummy_value()

    @intrinsic
    def find(
        _context: Any, leaf: Any, keys: Any, numeric: Any, categories: Any, _tree: Any, _row: Any
    ) -> Any:
        return types.void(leaf, keys, numeric, categories, types.int64, types.int64), codegen

    return find


find_leaves_narrow = _find_leaves(NARROW)
"""Find the leaves of NARROW_ROWS rows, from `row` of the block on, in one tree."""

find_leaves_wide = _find_leaves(WIDE)
"""The same for WIDE_ROWS rows."""
