"""The checks of one window's table: columns, values, unique keys, no row lost or invented.

Each returns a `CheckResult` and raises for no data. The order of use is `check_columns`, `conform`,
then the others, which expect conformed tables. Where the rules come from: `contracts.schema`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc
from pandera.config import ValidationDepth, config_context
from pandera.errors import SchemaError, SchemaErrorReason, SchemaErrors

from batchinf_assets.checks import SAMPLE_KEYS, CheckResult, Violation
from batchinf_assets.contract_spec import ColumnSpec, ColumnType
from batchinf_assets.contracts.schema import NOT_NULL, pandera_schema
from batchinf_assets.contracts.screen import holds
from batchinf_assets.lake.schema import ARROW_TYPES, arrow_schema

LONGEST_TEXT = 80
"""Characters of a foreign text that a message quotes."""

_SHOWN_COLUMNS = 20

# Counters beside key columns; with a blank in the name no declared column is called like them.
_ROWS, _ROWS_IN, _ROWS_OUT, _SURPLUS = "key rows", "rows in", "rows out", "surplus rows"

_INTEGERS = frozenset({pa.int8(), pa.int16(), pa.int32(), pa.int64()})
_READABLE: Mapping[ColumnType, frozenset[pa.DataType]] = {
    "string": frozenset({pa.string(), pa.large_string(), pa.string_view()}),
    "bool": frozenset({pa.bool_()}),
    "int32": _INTEGERS,
    "int64": _INTEGERS,
    "float32": frozenset({pa.float32()}),
    "float64": frozenset({pa.float32(), pa.float64()}),
    "date": frozenset({pa.date32()}),
}
_DECLARED_NAMES: Mapping[pa.DataType, str] = {arrow: name for name, arrow in ARROW_TYPES.items()}

# Without these pandas turns integers with nulls into floats and rounds what is above 2**53.
_NULLABLE_DTYPES = {
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


def check_columns(table: pa.Table, columns: Mapping[str, ColumnSpec], *, asset: str) -> CheckResult:
    """Check that every declared column is there, with a type that `conform` can cast exactly.

    Extra columns are no violation. Integers of any signed width, float32 for float64, the string
    layouts (dictionaries of them too) and zoned timestamps of any unit fit as long as no value
    changes; a timestamp without a time zone never fits.
    """
    violations = [
        v for name, column in columns.items() for v in _column_violations(table, name, column.type)
    ]
    measured = {"rows": table.num_rows, "columns": table.num_columns}
    return _result("schema", asset, violations, measured)


def conform(table: pa.Table, columns: Mapping[str, ColumnSpec]) -> pa.Table:
    """Return the declared columns in their order, cast to the declared Arrow types.

    Only for tables that passed `check_columns`. Nulls in a non-nullable column stay, for
    `check_values` to report.
    """
    schema = arrow_schema(columns)
    # Table.cast would refuse such nulls without saying in which rows.
    arrays = [table.column(field.name).cast(field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def check_values(
    table: pa.Table, columns: Mapping[str, ColumnSpec], *, key: Sequence[str], asset: str
) -> CheckResult:
    """Check the values of a conformed table against the declared rules.

    Returns:
        One violation per column and rule, with the number of rows and the first keys. A table
        without rows passes; `measured["rows"]` says that there was nothing to judge.

    Raises:
        pandera.errors.SchemaError: The table is not conformed, so that a rule cannot be applied.
    """
    broken = () if holds(table, columns) else broken_rules(table, columns, key)
    return _result("contract", asset, broken, {"rows": table.num_rows})


def broken_rules(
    table: pa.Table, columns: Mapping[str, ColumnSpec], key: Sequence[str]
) -> list[Violation]:
    """Return what pandera finds in a conformed table; `check_values` asks only where it must."""
    errors = _pandera_errors(table, _cached_schema(tuple(columns.items())))
    return [v for error in errors for v in _value_violations(error, table, key)]


def check_unique_key(table: pa.Table, *, key: Sequence[str], asset: str) -> CheckResult:
    """Check that no key occurs twice; the violation counts every row of a repeated key.

    Two nulls count as the same value.
    """
    # One thread keeps the groups in the order of their first rows, and so the samples stable.
    counts = table.group_by(list(key), use_threads=False).aggregate([([], "count_all")])
    counts = counts.rename_columns([*key, _ROWS])
    repeated = counts.filter(pc.greater(counts.column(_ROWS), 1))
    violations = _over_keys("unique in their key", repeated, _ROWS, key)
    measured = {"rows": table.num_rows, "keys": counts.num_rows}
    return _result("unique_key", asset, violations, measured)


def check_same_keys(
    expected: pa.Table, found: pa.Table, *, key: Sequence[str], asset: str
) -> CheckResult:
    """Check that `found` has exactly the keys of `expected`, each as often.

    Always `rows_out = rows_in - lost + invented + surplus`, the counts of the three violations.
    """
    keys = _key_counts(expected, found, key)
    surplus = pc.subtract(keys.column(_ROWS_OUT), keys.column(_ROWS_IN))
    keys = keys.append_column(_SURPLUS, surplus)
    known, more = pc.greater(keys.column(_ROWS_IN), 0), pc.greater(surplus, 0)
    lost = keys.filter(pc.less(surplus, 0))
    invented = keys.filter(pc.and_(pc.invert(known), more))
    repeated = keys.filter(pc.and_(known, more))
    violations = [
        *_over_keys("all kept", lost, _SURPLUS, key),
        *_over_keys("among those given", invented, _SURPLUS, key),
        *_over_keys("kept only once", repeated, _SURPLUS, key),
    ]
    measured = {"rows_in": expected.num_rows, "rows_out": found.num_rows}
    return _result("row_conservation", asset, violations, measured)


def sample_keys(rows: pa.Table, key: Sequence[str]) -> tuple[str, ...]:
    """Write the first keys of conformed rows as `column=value, column=value`.

    Timestamps are ISO 8601 with offset, texts cut and their control characters escaped.
    """
    texts = [_texts(rows.column(name).slice(0, SAMPLE_KEYS)) for name in key]
    return tuple(
        ", ".join(f"{name}={text}" for name, text in zip(key, row, strict=True))
        for row in zip(*texts, strict=True)
    )


def _column_violations(table: pa.Table, name: str, declared: ColumnType) -> Iterator[Violation]:
    positions = table.schema.get_all_field_indices(name)
    if not positions:
        yield Violation(column=name, rule=f"present (found: {_column_list(table)})")
        return
    if len(positions) > 1:
        yield Violation(column=name, rule=f"present once (found {len(positions)} times)")
        return
    column = table.column(positions[0])
    found = _DECLARED_NAMES.get(column.type, _quoted(str(column.type)))
    if not _is_readable(column.type, declared):
        wanted = "timestamp with time zone" if declared == "timestamp" else declared
        yield Violation(column=name, rule=f"type {wanted} (found: {found})")
    elif declared == "string" and not _is_intact(column):
        yield Violation(column=name, rule="valid UTF-8")
    elif changed := _changed_by_cast(column, ARROW_TYPES[declared]):
        rule = f"type {declared} (found: {found} with values that do not fit)"
        yield Violation(column=name, rule=rule, count=changed)


def _is_readable(found: pa.DataType, declared: ColumnType) -> bool:
    if declared == "timestamp":
        return pa.types.is_timestamp(found) and found.tz is not None
    if declared == "string" and pa.types.is_dictionary(found):
        found = found.value_type
    return found in _READABLE[declared]


def _is_intact(column: pa.ChunkedArray) -> bool:
    # Readers hand on bytes that are no UTF-8, and dictionary indices that point nowhere.
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _changed_by_cast(column: pa.ChunkedArray, target: pa.DataType) -> int:
    try:
        column.cast(target)
    except pa.ArrowInvalid:
        there_and_back = column.cast(target, safe=False).cast(column.type, safe=False)
        return pc.sum(pc.not_equal(column, there_and_back)).as_py()
    return 0


def _column_list(table: pa.Table) -> str:
    names = [_quoted(name) for name in table.column_names[:_SHOWN_COLUMNS]]
    rest = table.num_columns - len(names)
    return ", ".join(names or ["no columns"]) + (f" and {rest} more" if rest else "")


@lru_cache(maxsize=64)
def _cached_schema(columns: tuple[tuple[str, ColumnSpec], ...]) -> pandera.DataFrameSchema:
    return pandera_schema(dict(columns))


def _pandera_errors(table: pa.Table, schema: pandera.DataFrameSchema) -> list[SchemaError]:
    frame = table.to_pandas(
        date_as_object=False, ignore_metadata=True, types_mapper=_NULLABLE_DTYPES.get
    )
    # PANDERA_VALIDATION_ENABLED=false in the environment would make every window pass.
    with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        try:
            schema.validate(frame, lazy=True, inplace=True)
        except SchemaErrors as found:
            return found.schema_errors
    return []


def _value_violations(
    error: SchemaError, table: pa.Table, key: Sequence[str]
) -> Iterator[Violation]:
    if error.reason_code is SchemaErrorReason.CHECK_ERROR:
        raise error
    if error.reason_code is SchemaErrorReason.COLUMN_NOT_IN_DATAFRAME:
        yield Violation(column=str(error.failure_cases), rule="present")
        return
    column = error.schema.name
    # pandas shows NaN and null alike, Arrow does not: a NaN is not finite, a null is missing.
    is_null = table.column(column).is_null().to_numpy()
    about_nulls = error.reason_code is SchemaErrorReason.SERIES_CONTAINS_NULLS
    rows = _failed_rows(error)
    rows = rows[is_null[rows] == about_nulls]
    if rows.size:
        rule = NOT_NULL if about_nulls else _rule(error)
        samples = sample_keys(table.select(list(key)).take(rows[:SAMPLE_KEYS]), key)
        yield Violation(column=column, rule=rule, count=rows.size, samples=samples)


def _rule(error: SchemaError) -> str:
    return cast("str", cast("pandera.Check", error.check).error)


def _failed_rows(error: SchemaError) -> npt.NDArray[np.int64]:
    if error.check_output is None:
        nulls = cast("pd.DataFrame", error.failure_cases)
        return nulls["index"].to_numpy(dtype=np.int64)
    failed = ~error.check_output.to_numpy(dtype=bool)
    return error.check_output.index[failed].to_numpy(dtype=np.int64)


def _key_counts(expected: pa.Table, found: pa.Table, key: Sequence[str]) -> pa.Table:
    # Not a join: a join finds no partner for a key with a null.
    sides = [
        _marked(expected.select(list(key)), rows_in=1, rows_out=0),
        _marked(found.select(list(key)), rows_in=0, rows_out=1),
    ]
    rows = pa.concat_tables(sides, promote_options="permissive")
    groups = rows.group_by(list(key), use_threads=False)
    counts = groups.aggregate([(_ROWS_IN, "sum"), (_ROWS_OUT, "sum")])
    return counts.rename_columns([*key, _ROWS_IN, _ROWS_OUT])


def _marked(keys: pa.Table, *, rows_in: int, rows_out: int) -> pa.Table:
    for name, mark in ((_ROWS_IN, rows_in), (_ROWS_OUT, rows_out)):
        keys = keys.append_column(name, pa.repeat(pa.scalar(mark, pa.int64()), keys.num_rows))
    return keys


def _over_keys(
    rule: str, broken: pa.Table, counted: str, key: Sequence[str]
) -> Iterator[Violation]:
    if broken.num_rows:
        count = abs(pc.sum(broken.column(counted)).as_py())
        yield Violation(column=None, rule=rule, count=count, samples=sample_keys(broken, key))


def _texts(column: pa.ChunkedArray) -> list[str]:
    # Arrow writes values that Python's datetime cannot hold; naive, it needs no zone database.
    is_time = pa.types.is_timestamp(column.type)
    plain = column.cast(pa.timestamp("us")) if is_time else column
    texts = ["null" if text is None else text for text in plain.cast(pa.string()).to_pylist()]
    return [_iso(text) if is_time else _quoted(text) for text in texts]


def _iso(text: str) -> str:
    """Turn Arrow's `2013-01-01 05:00:00.000000` into `2013-01-01T05:00:00+00:00`."""
    if text == "null" or text.startswith("<"):  # Arrow's way to say: beyond its calendar
        return text
    return text.replace(" ", "T").removesuffix(".000000") + "+00:00"


def _quoted(text: str) -> str:
    cut = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)


def _result(
    name: str, asset: str, violations: Iterable[Violation], measured: Mapping[str, int]
) -> CheckResult:
    found = tuple(violations)
    return CheckResult(
        name=name, asset=asset, passed=not found, violations=found, measured=dict(measured)
    )
