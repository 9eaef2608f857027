"""How many of a column's thresholds lie below a float64 value: a binary search in vectors."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from batchinf_assets.scoring.trees import intrinsics as simd
from batchinf_assets.scoring.trees.intrinsics import FLOAT64, INT32, INT64

LANES = 8
VECTORS = 8
RANK_ROWS = LANES * VECTORS
HIGHEST = 2**31 - 1


def _codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    place, keys = (simd.pointer(context, builder, signature.args[i], arguments[i]) for i in (0, 1))
    numeric = simd.pointers(context, builder, signature.args[2], arguments[2])
    column, row, low, high = arguments[3:]
    place = builder.gep(place, [row])
    values = [
        simd.load(builder, builder.gep(place, [ir.Constant(INT64, first)]), FLOAT64, LANES)
        for first in range(0, RANK_ROWS, LANES)
    ]
    cuts = builder.gep(numeric["cuts"], [builder.load(builder.gep(numeric["cut_start"], [column]))])
    steps = builder.load(builder.gep(numeric["steps"], [column]))
    ranks = _emit_search(builder, cuts, builder.zext(steps, INT64), values)
    for number, (value, rank) in enumerate(zip(values, ranks, strict=True)):
        narrow = builder.trunc(rank, simd.vector(INT32, LANES))
        missing = builder.fcmp_unordered("uno", value, value)
        highest = builder.select(missing, simd.constant(INT32, LANES, HIGHEST), narrow)
        for target, key in ((low, narrow), (high, highest)):
            at = builder.add(builder.add(target, row), ir.Constant(INT64, number * LANES))
            simd.store(builder, key, builder.gep(keys, [at]))
    return context.get_dummy_value()


def _emit_search(builder: Any, cuts: Any, steps: Any, values: list[Any]) -> list[Any]:
    """Emit the loop over halvings; cuts are padded with infinity to one less than 2**steps."""
    one = ir.Constant(INT64, 1)
    whole = builder.shl(one, steps)
    head, loop = builder.block, builder.append_basic_block("halving")
    end = builder.append_basic_block("found")
    builder.branch(loop)
    builder.position_at_end(loop)
    size = builder.phi(INT64)
    ranks = [builder.phi(simd.vector(INT64, LANES)) for _ in values]
    half = builder.lshr(size, one)
    middle = builder.gep(cuts, [builder.sub(half, one)])
    step = simd.splat(builder, half, LANES)
    zero = simd.constant(INT64, LANES, 0)
    after: list[Any] = []
    for rank, value in zip(ranks, values, strict=True):
        cut = simd.gather(builder, middle, rank, FLOAT64)
        above = builder.fcmp_ordered(">", value, cut)
        after.append(builder.add(rank, builder.select(above, step, zero)))
    size.add_incoming(whole, head)
    size.add_incoming(half, loop)
    for rank, new in zip(ranks, after, strict=True):
        rank.add_incoming(zero, head)
        rank.add_incoming(new, loop)
    builder.cbranch(builder.icmp_unsigned(">", half, one), loop, end)
    builder.position_at_end(end)
    return after


def _typed(
    _context: Any,
    values: Any,
    keys: Any,
    numeric: Any,
    _column: Any,
    _row: Any,
    _low: Any,
    _high: Any,
) -> Any:
    return types.void(values, keys, numeric, *[types.int64] * 4), _codegen


find_ranks: Any = intrinsic(_typed)
"""Write the ranks of RANK_ROWS values into two rows of keys; NaN is 0 and 2**31 - 1."""
