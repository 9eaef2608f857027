"""Rules of single values that Arrow decides alike for `contracts.screen` and `contracts.schema`.

Both ask for the same function, so they cannot disagree on what an expression matches, how long a
text is, or which values are equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.checks import quoted
from batchinf_assets.errors import InvalidSpec
from batchinf_assets.lake.order import is_strictly_ascending
from batchinf_assets.lake.schema import ARROW_TYPES
from batchinf_assets.spec.contract import ColumnSpec

UNIQUE = "unique"

Number = int | float | np.float32


@dataclass(frozen=True, kw_only=True)
class ValueSets:
    """What rules need to know beyond the rows at hand; by column, in the column's declared type.

    Attributes:
        known: The values that the reference of a column with `known_in` holds.
        repeated: The values that occur more than once in the whole table, for `unique` columns.
    """

    known: Mapping[str, pa.Array] = field(default_factory=dict[str, pa.Array])
    repeated: Mapping[str, pa.Array] = field(default_factory=dict[str, pa.Array])


def value_sets(
    table: pa.Table, columns: Mapping[str, ColumnSpec], known: Mapping[str, pa.Array]
) -> ValueSets:
    """Collect the sets that the rules of a whole table need.

    Holds, per `unique` column that is not in ascending order, its distinct values at once.

    Args:
        table: Conformed rows, all of them.
        columns: Each column's spec by name.
        known: What each reference holds, by the name of the column that must be in it.

    Raises:
        InvalidSpec: RE2 refuses a pattern, or a column's reference was not given.
    """
    require_expressions(columns)
    looked_up = {name: column for name, column in columns.items() if column.known_in is not None}
    unique = [
        name for name, c in columns.items() if c.unique and table.column_names.count(name) == 1
    ]
    return ValueSets(
        known={name: _known(name, column, known) for name, column in looked_up.items()},
        repeated={
            name: _repeated(table.column(name).cast(ARROW_TYPES[columns[name].type]))
            for name in unique
        },
    )


def require_expressions(columns: Mapping[str, ColumnSpec]) -> None:
    """Require that RE2 understands the columns' patterns.

    Raises:
        InvalidSpec: It refuses one.
    """
    for name, column in columns.items():
        _require_expression(name, column)


def blocking_alone(columns: Mapping[str, ColumnSpec]) -> dict[str, ColumnSpec]:
    """Return the columns with those rules alone that block and need no other row or table.

    For stages that see parts of a table whose key an earlier stage judged as a whole.
    """
    return {name: _blocking_alone(column) for name, column in columns.items()}


def limits(column: ColumnSpec) -> tuple[Number, Number]:
    """Return the bounds in the column's own precision, so that comparing never rounds a value.

    Infinity where none is declared.
    """
    low = -math.inf if column.min is None else column.min
    high = math.inf if column.max is None else column.max
    if column.type == "float32":
        with np.errstate(over="ignore"):
            return np.float32(low), np.float32(high)
    if column.type == "float64":
        return low, high
    least = math.ceil(low) if math.isfinite(low) else low
    return least, math.floor(high) if math.isfinite(high) else high


def matches(values: pa.Array | pa.ChunkedArray, pattern: str) -> pa.Array | pa.ChunkedArray:
    """Say of each text whether RE2 matches it as a whole; null of null."""
    return pc.match_substring_regex(values, pattern=rf"\A(?:{pattern})\z")


def is_short(values: pa.Array | pa.ChunkedArray, most: int) -> pa.Array | pa.ChunkedArray:
    """Say of each text whether it has at most that many characters; null of null."""
    return pc.less_equal(pc.utf8_length(values), most)


def is_among(values: pa.Array | pa.ChunkedArray, those: pa.Array) -> pa.Array | pa.ChunkedArray:
    """Say of each value whether it is one of `those`; null of null and of NaN."""
    plain = comparable(values)
    found = pc.is_in(plain, value_set=those)
    return pc.if_else(pc.is_valid(plain), found, None) if plain.null_count else found


def comparable(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Make equal what compares as equal: one zero, and null for NaN, which equals nothing."""
    if not pa.types.is_floating(values.type):
        return values
    positive = pc.add(values, pa.scalar(0.0, values.type))
    return pc.if_else(pc.is_nan(positive), pa.scalar(None, values.type), positive)


def _blocking_alone(column: ColumnSpec) -> ColumnSpec:
    if column.on_break == "warn":
        return ColumnSpec(type=column.type, nullable=True, on_break="warn")
    return column.model_copy(update={"known_in": None, "unique": False})


def _repeated(values: pa.ChunkedArray) -> pa.Array:
    if is_strictly_ascending(pa.table({"x": values})):
        return pa.array([], values.type)
    plain = comparable(values).drop_null()
    if len(pc.unique(plain)) == len(plain):
        return pa.array([], values.type)
    counts = plain.value_counts()
    return counts.field("values").filter(pc.greater(counts.field("counts"), 1))


def _known(name: str, column: ColumnSpec, known: Mapping[str, pa.Array]) -> pa.Array:
    if name not in known:
        raise InvalidSpec(
            f"Column '{name}' says known_in: {column.known_in}, which is not read where its values "
            "are judged.",
            next_step="Declare known_in for columns of source and features only.",
        )
    return comparable(_flat(known[name]).cast(ARROW_TYPES[column.type])).drop_null()


def _flat(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    one = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return one.dictionary_decode() if isinstance(one, pa.DictionaryArray) else one


def _require_expression(name: str, column: ColumnSpec) -> None:
    if column.pattern is None:
        return
    try:
        matches(pa.array([""]), column.pattern)
    except pa.ArrowInvalid as error:
        raise InvalidSpec(
            f"Column '{name}': pattern {quoted(column.pattern)} is no RE2 expression: "
            f"{quoted(str(error).rstrip('.'))}.",
            next_step="Write it without look-around and backreferences, which RE2 does not have.",
        ) from error
