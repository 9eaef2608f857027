"""Adding the values of the leaves that rows fell into."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from batchinf_assets.scoring.trees import intrinsics as simd
from batchinf_assets.scoring.trees.intrinsics import FLOAT64, INT32, INT64

LANES = 8
VECTORS = 8
ADD_ROWS = LANES * VECTORS


def _codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    total, values, leaf = (
        simd.pointer(context, builder, signature.args[i], arguments[i]) for i in range(3)
    )
    first_total, first_value, row = arguments[3:]
    total = builder.gep(total, [builder.add(first_total, row)])
    values = builder.gep(values, [first_value])
    leaf = builder.gep(leaf, [row])
    for start in range(0, ADD_ROWS, LANES):
        offset = [ir.Constant(INT64, start)]
        index = simd.load(builder, builder.gep(leaf, offset), INT32, LANES)
        place = builder.gep(total, offset)
        before = simd.load(builder, place, FLOAT64, LANES)
        simd.store(
            builder, builder.fadd(before, simd.gather(builder, values, index, FLOAT64)), place
        )
    return context.get_dummy_value()


def _typed(
    _context: Any, total: Any, values: Any, leaf: Any, _total: Any, _value: Any, _row: Any
) -> Any:
    return types.void(total, values, leaf, *[types.int64] * 3), _codegen


add_values: Any = intrinsic(_typed)
"""Add to ADD_ROWS totals, from `row` of a block on, the values of the leaves of those rows."""
