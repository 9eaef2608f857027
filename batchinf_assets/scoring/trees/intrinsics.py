"""LLVM vectors inside numba kernels.

LLVM's own vectoriser takes half of the widest registers and keeps partial results in memory; with
explicit vectors they stay in registers. LLVM makes of them what the processor has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

BIT = ir.IntType(1)
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
FLOAT64 = ir.DoubleType()

ALIGNMENT = 4
"""Bytes; a block may begin at any element."""


def pointer(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """Return the pointer to the first element of an array argument."""
    return context.make_array(kind)(context, builder, array).data


def pointers(context: Any, builder: Any, kind: Any, values: Any) -> dict[str, Any]:
    """Return the fields of a named tuple argument: of arrays the pointer to the first element."""
    fields: dict[str, Any] = {}
    for number, (name, field) in enumerate(zip(kind.fields, kind.types, strict=True)):
        value = builder.extract_value(values, number)
        is_array = isinstance(field, types.Array)
        fields[name] = pointer(context, builder, field, value) if is_array else value
    return fields


def vector(element: Any, lanes: int) -> Any:
    """Return the type of a vector."""
    return ir.VectorType(element, lanes)


def constant(element: Any, lanes: int, value: int | Sequence[int]) -> Any:
    """Return a vector of one number, or of these."""
    values = [value] * lanes if isinstance(value, int) else list(value)
    return ir.Constant(ir.VectorType(element, lanes), values)


def splat(builder: Any, scalar: Any, lanes: int) -> Any:
    """Return a vector with the scalar in every lane."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(INT32, 0))
    return builder.shuffle_vector(first, first, constant(INT32, lanes, 0))


def load(builder: Any, pointer: Any, element: Any, lanes: int) -> Any:
    """Load adjacent elements."""
    address = builder.bitcast(pointer, ir.VectorType(element, lanes).as_pointer())
    return builder.load(address, align=ALIGNMENT)


def store(builder: Any, value: Any, pointer: Any) -> None:
    """Store adjacent elements."""
    address = builder.bitcast(pointer, value.type.as_pointer())
    builder.store(value, address, align=ALIGNMENT)


def gather(builder: Any, start: Any, index: Any, element: Any, where: Any = None) -> Any:
    """Load an element at an index from 0 to 2**31 - 1 per lane; 0 where a lane is masked out."""
    lanes = index.type.count
    if index.type.element.width < INT64.width:
        index = builder.sext(index, ir.VectorType(INT64, lanes))
    addresses = builder.gep(start, [index], source_etype=element)
    addresses.type = ir.VectorType(start.type, lanes)
    mask = constant(BIT, lanes, 1) if where is None else where
    kind = ir.VectorType(element, lanes)
    arguments = [addresses, ir.Constant(INT32, ALIGNMENT), mask, ir.Constant(kind, None)]
    function = ir.FunctionType(kind, [argument.type for argument in arguments])
    name = f"llvm.masked.gather.v{lanes}{element.intrinsic_name}.v{lanes}p0"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)


def leading_zeros(builder: Any, value: Any) -> Any:
    """Count the zero bits above the highest one bit of each lane."""
    lanes, width = value.type.count, value.type.element.width
    function = ir.FunctionType(value.type, [value.type, BIT])
    name = f"llvm.ctlz.v{lanes}i{width}"
    count = cgutils.get_or_insert_function(builder.module, function, name)
    return builder.call(count, [value, ir.Constant(BIT, 0)])
