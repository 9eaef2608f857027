"""One quick pass over a table that says whether any declared rule is broken, but not which.

The rules are those of `contracts.schema`, which stays their only authority: a table that does not
hold here is judged there, and only that verdict counts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.contract_spec import ColumnSpec
from batchinf_assets.lake.schema import ARROW_TYPES


def holds(table: pa.Table, columns: Mapping[str, ColumnSpec]) -> bool:
    """Say whether pandera would find nothing wrong with the values.

    Args:
        table: Conformed rows; strings may be dictionary-encoded.
        columns: Each column's spec by name.

    Returns:
        True if every value keeps every rule. False if one does not, and also where a column is
        missing or has another type than declared.
    """
    return all(_column_holds(table, name, column) for name, column in columns.items())


def _column_holds(table: pa.Table, name: str, column: ColumnSpec) -> bool:
    positions = table.schema.get_all_field_indices(name)
    if len(positions) != 1:
        return False
    values = table.column(positions[0])
    if column.type == "string":
        return _strings_hold(values, column)
    if values.type != ARROW_TYPES[column.type] or (values.null_count and not column.nullable):
        return False
    if pa.types.is_floating(values.type):
        return all(_floats_hold(chunk, column) for chunk in values.chunks)
    if column.min is None and column.max is None:
        return True
    limits = pc.min_max(values).as_py()
    return limits["min"] is None or _inside(limits["min"], limits["max"], column)


def _strings_hold(values: pa.ChunkedArray, column: ColumnSpec) -> bool:
    if pa.types.is_dictionary(values.type):
        if values.type.value_type != pa.string():
            return False
        # Entries that no row uses are no values, and a used one may be the null.
        values = pc.unique(values).dictionary_decode()
    elif values.type != pa.string():
        return False
    if values.null_count and not column.nullable:
        return False
    if column.allowed is None:
        return True
    known = pc.is_in(values, value_set=pa.array(column.allowed, pa.string()))
    return (pc.sum(known).as_py() or 0) + values.null_count == len(values)


def _floats_hold(chunk: pa.Array, column: ColumnSpec) -> bool:
    numbers = np.asarray((chunk.drop_null() if chunk.null_count else chunk).to_numpy())
    if not numbers.size:
        return True
    # Both pairs are one vectorised pass each; `min` and `max` pass a NaN on, the others leave it.
    least, most = _extremes(numbers, skip_nan=column.nullable)
    if np.isnan(least):
        return column.nullable
    return bool(np.isfinite(least) and np.isfinite(most)) and _inside(least, most, column)


def _extremes(numbers: npt.NDArray[np.floating], *, skip_nan: bool) -> tuple[float, float]:
    if skip_nan:
        return float(np.fmin.reduce(numbers)), float(np.fmax.reduce(numbers))
    return float(numbers.min()), float(numbers.max())


def _inside(least: float, most: float, column: ColumnSpec) -> bool:
    """Compare exactly: Python compares whole numbers of any size with a float without rounding."""
    lower, upper = (_bound(column, bound) for bound in (column.min, column.max))
    return (lower is None or least >= lower) and (upper is None or most <= upper)


def _bound(column: ColumnSpec, bound: float | None) -> float | None:
    if bound is None or column.type != "float32":
        return bound
    with np.errstate(over="ignore"):
        return float(np.float32(bound))
