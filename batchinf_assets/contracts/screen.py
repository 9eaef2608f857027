"""Two quick passes over a table: which columns break a rule, and in which rows that may be.

The rules are those of `contracts.schema`, which stays their only authority: what does not hold here
is judged there, and only that verdict counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.contracts.value_rules import (
    ValueSets,
    is_among,
    is_short,
    limits,
    matches,
    value_sets,
)
from batchinf_assets.lake.schema import ARROW_TYPES
from batchinf_assets.spec.contract import NUMERIC, ColumnSpec

Values = pa.Array | pa.ChunkedArray


def holds(table: pa.Table, columns: Mapping[str, ColumnSpec]) -> bool:
    """Say whether pandera would find nothing wrong with the values of a whole table.

    Args:
        table: Conformed rows; strings may be dictionary-encoded.
        columns: Each column's spec by name; none with `known_in`.

    Returns:
        True if every value keeps every rule. False if one does not, and also where a column is
        missing or has another type than declared.
    """
    return not suspects(table, columns, value_sets(table, columns, {}))


def suspects(
    table: pa.Table, columns: Mapping[str, ColumnSpec], sets: ValueSets
) -> dict[str, ColumnSpec]:
    """Return the columns in which pandera would find something wrong.

    Args:
        table: Conformed rows, all or some of those that `sets` was made for.
        columns: Each column's spec by name.
        sets: What the rules `known_in` and `unique` need to know.
    """
    return {
        name: column
        for name, column in columns.items()
        if not _column_holds(table, name, column, sets)
    }


def unclear_rows(
    table: pa.Table, columns: Mapping[str, ColumnSpec], sets: ValueSets
) -> npt.NDArray[np.int64]:
    """Return the positions of all rows in which pandera would find something wrong, ascending.

    Args:
        table: As for `suspects`.
        columns: What `suspects` returned.
        sets: As for `suspects`.
    """
    clear = np.ones(table.num_rows, dtype=bool)
    for name, column in columns.items():
        clear &= _clear_rows(table, name, column, sets)
    return np.flatnonzero(~clear)


def _column_holds(table: pa.Table, name: str, column: ColumnSpec, sets: ValueSets) -> bool:
    values = _column(table, name, column)
    if values is None:
        return False
    distinct = _distinct(values, column)
    if distinct.null_count and not column.nullable:
        return False
    return _numbers_hold(values, column) and all(
        pc.all(verdict, min_count=0).as_py() for verdict in _verdicts(distinct, name, column, sets)
    )


def _clear_rows(
    table: pa.Table, name: str, column: ColumnSpec, sets: ValueSets
) -> npt.NDArray[np.bool_]:
    found = _column(table, name, column)
    if found is None:
        return np.zeros(table.num_rows, dtype=bool)
    values = found.cast(ARROW_TYPES[column.type])
    clear = _clear_numbers(values, column)
    for verdict in _verdicts(values, name, column, sets):
        clear &= pc.fill_null(verdict, fill_value=pa.scalar(value=True)).to_numpy()
    nulls = values.is_null().to_numpy()
    return (clear | nulls) if column.nullable else (clear & ~nulls)


def _column(table: pa.Table, name: str, column: ColumnSpec) -> pa.ChunkedArray | None:
    """Return a column that is there once and has the declared type, strings in any encoding."""
    positions = table.schema.get_all_field_indices(name)
    if len(positions) != 1:
        return None
    values = table.column(positions[0])
    kind = values.type
    if column.type == "string" and pa.types.is_dictionary(kind):
        kind = kind.value_type
    return values if kind == ARROW_TYPES[column.type] else None


def _distinct(values: pa.ChunkedArray, column: ColumnSpec) -> Values:
    if pa.types.is_dictionary(values.type):
        # Entries that no row uses are no values, and a used one may be the null.
        return pc.unique(values).dictionary_decode()
    # Hashing a text is cheaper than matching it, and most texts occur often.
    return values if column.pattern is None else pc.unique(values)


def _verdicts(
    values: Values, name: str, column: ColumnSpec, sets: ValueSets
) -> Iterator[pa.Array | pa.ChunkedArray]:
    """Give, rule by rule, which values keep it; a null is no verdict."""
    if column.allowed is not None:
        yield is_among(values, pa.array(column.allowed, pa.string()))
    if column.max_length is not None:
        yield is_short(values, column.max_length)
    if column.pattern is not None:
        yield matches(values, column.pattern)
    if column.known_in is not None:
        yield is_among(values, sets.known[name])
    if column.unique and len(sets.repeated[name]):
        yield pc.invert(is_among(values, sets.repeated[name]))


def _clear_numbers(values: pa.ChunkedArray, column: ColumnSpec) -> npt.NDArray[np.bool_]:
    if column.type not in NUMERIC:
        return np.ones(len(values), dtype=bool)
    numbers = (values.fill_null(0) if values.null_count else values).to_numpy()
    least, most = limits(column)
    clear = (numbers >= least) & (numbers <= most)
    if pa.types.is_floating(values.type):
        clear &= np.isfinite(numbers)
        clear |= np.isnan(numbers) & column.nullable
    return clear


def _numbers_hold(values: pa.ChunkedArray, column: ColumnSpec) -> bool:
    if pa.types.is_floating(values.type):
        return all(_floats_hold(chunk, column) for chunk in values.chunks)
    if column.min is None and column.max is None:
        return True
    ends = pc.min_max(values).as_py()
    return ends["min"] is None or _inside(ends["min"], ends["max"], column)


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
