"""The checks of one window's rows: values, unique keys, no row lost or invented.

Each returns a `CheckResult` and raises for no data. All expect tables that `contracts.columns`
conformed. Where the rules come from: `contracts.schema`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
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
from batchinf_assets.contracts.row_texts import sample_keys
from batchinf_assets.contracts.schema import NOT_NULL, pandera_schema
from batchinf_assets.contracts.screen import suspects, unclear_rows
from batchinf_assets.contracts.value_rules import ValueSets, value_sets
from batchinf_assets.lake.schema import ARROW_TYPES
from batchinf_assets.spec.contract import ColumnSpec

# Counters beside key columns; with a blank in the name no declared column is called like them.
_ROWS, _ROWS_IN, _ROWS_OUT, _SURPLUS = "key rows", "rows in", "rows out", "surplus rows"

# Without these pandas turns integers with nulls into floats and rounds what is above 2**53.
_NULLABLE_DTYPES = {
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


@dataclass(frozen=True, kw_only=True)
class BrokenRule:
    """A rule and the rows that break it.

    Attributes:
        column: The column, or None for a rule over whole rows.
        rule: The rule in words.
        rows: Positions in the judged table, ascending; none where the column itself is missing.
    """

    column: str | None
    rule: str
    rows: npt.NDArray[np.int64]

    def violation(self, table: pa.Table, key: Sequence[str]) -> Violation:
        """Count the rows and name the first."""
        first = table.select(list(key)).take(pa.array(self.rows[:SAMPLE_KEYS]))
        samples = sample_keys(first, key) if self.rows.size else ()
        return Violation(column=self.column, rule=self.rule, count=self.rows.size, samples=samples)


def check_values(
    table: pa.Table,
    columns: Mapping[str, ColumnSpec],
    *,
    key: Sequence[str],
    asset: str,
    known: Mapping[str, pa.Array] = MappingProxyType({}),
) -> CheckResult:
    """Check the values of a whole conformed table; every rule blocks.

    Args:
        table: The rows.
        columns: Each column's spec by name.
        key: Columns that identify a row, for the samples.
        asset: The asset that is checked.
        known: Values of the reference of each column with `known_in`, by the column's name.

    Returns:
        One violation per column and rule, with the number of rows and the first keys. A table
        without rows passes; `measured["rows"]` says that there was nothing to judge.

    Raises:
        InvalidSpec: RE2 refuses a pattern, or a column's reference was not given.
        pandera.errors.SchemaError: The table is not conformed, so that a rule cannot be applied.
    """
    sets = value_sets(table, columns, known)
    (broken,) = broken_values([table], [Unclear.of(table, columns, sets)], sets)
    violations = [each.violation(table, key) for each in broken]
    return _result("contract", asset, violations, {"rows": table.num_rows})


@dataclass(frozen=True, kw_only=True)
class Unclear:
    """What of a table's values only pandera can judge.

    Attributes:
        columns: The columns in which it would find something wrong.
        rows: The positions of the rows in which it would, ascending.
    """

    columns: Mapping[str, ColumnSpec]
    rows: npt.NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table, columns: Mapping[str, ColumnSpec], sets: ValueSets) -> Unclear:
        """Screen conformed rows, all or some of those that `sets` was made for."""
        found = suspects(table, columns, sets)
        rows = unclear_rows(table, found, sets) if found else np.empty(0, np.int64)
        return cls(columns=found, rows=rows)


def broken_values(
    tables: Sequence[pa.Table], unclear: Sequence[Unclear], sets: ValueSets
) -> list[list[BrokenRule]]:
    """Return the broken rules of single columns, as pandera finds them; in the declared order.

    pandera costs milliseconds per column, however few the rows: it is asked once for all tables.

    Args:
        tables: Parts of one conformed table.
        unclear: What the screen left of each.
        sets: What the rules `known_in` and `unique` need to know of the whole table.

    Returns:
        For each part its broken rules, with positions in that part.
    """
    columns = {name: column for each in unclear for name, column in each.columns.items()}
    if not columns:
        return [[] for _ in tables]
    kept = [name for name in tables[0].column_names if name in columns]
    parts = [
        table.select(kept).take(pa.array(each.rows)) if kept else table.select(kept)
        for table, each in zip(tables, unclear, strict=True)
    ]
    found = pandera_verdict(pa.concat_tables(parts), columns, sets)
    ends = np.cumsum([each.rows.size for each in unclear])
    return [
        [part for rule in found if (part := _part_of(rule, end - each.rows.size, each)) is not None]
        for each, end in zip(unclear, ends, strict=True)
    ]


def _part_of(rule: BrokenRule, first: int, unclear: Unclear) -> BrokenRule | None:
    """Cut out of a verdict on several tables' unclear rows what is about one of them."""
    if not rule.rows.size:
        return rule if rule.column in unclear.columns else None
    start, end = np.searchsorted(rule.rows, (first, first + unclear.rows.size))
    if start == end:
        return None
    return replace(rule, rows=unclear.rows[rule.rows[start:end] - first])


def pandera_verdict(
    table: pa.Table, columns: Mapping[str, ColumnSpec], sets: ValueSets
) -> list[BrokenRule]:
    """Return what pandera finds in the columns of a conformed table."""
    errors = _pandera_errors(table, _schema(columns, sets))
    return [broken for error in errors for broken in _broken(error, table)]


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


def _schema(columns: Mapping[str, ColumnSpec], sets: ValueSets) -> pandera.DataFrameSchema:
    if any(column.unique or column.known_in is not None for column in columns.values()):
        return pandera_schema(columns, sets)
    return _cached_schema(tuple(columns.items()))


@lru_cache(maxsize=64)
def _cached_schema(columns: tuple[tuple[str, ColumnSpec], ...]) -> pandera.DataFrameSchema:
    return pandera_schema(dict(columns))


def _pandera_errors(table: pa.Table, schema: pandera.DataFrameSchema) -> list[SchemaError]:
    frame = _counted(table).to_pandas(types_mapper=_NULLABLE_DTYPES.get)
    # PANDERA_VALIDATION_ENABLED=false in the environment would make every window pass.
    with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        try:
            schema.validate(frame, lazy=True, inplace=True)
        except SchemaErrors as found:
            return found.schema_errors
    return []


def _counted(table: pa.Table) -> pa.Table:
    """Write times and dates as numbers: pandera cannot word those that Python's cannot hold."""
    kinds = {ARROW_TYPES["timestamp"]: pa.int64(), ARROW_TYPES["date"]: pa.int32()}
    arrays = [column.cast(kinds.get(column.type, column.type)) for column in table.columns]
    return pa.Table.from_arrays(arrays, names=table.column_names)


def _broken(error: SchemaError, table: pa.Table) -> Iterator[BrokenRule]:
    if error.reason_code is SchemaErrorReason.CHECK_ERROR:
        raise error
    if error.reason_code is SchemaErrorReason.COLUMN_NOT_IN_DATAFRAME:
        nowhere = np.empty(0, np.int64)
        yield BrokenRule(column=str(error.failure_cases), rule="present", rows=nowhere)
        return
    column = str(error.schema.name)
    # pandas shows NaN and null alike, Arrow does not: a NaN is not finite, a null is missing.
    is_null = table.column(column).is_null().to_numpy()
    about_nulls = error.reason_code is SchemaErrorReason.SERIES_CONTAINS_NULLS
    rows = _failed_rows(error)
    rows = rows[is_null[rows] == about_nulls]
    if rows.size:
        yield BrokenRule(column=column, rule=NOT_NULL if about_nulls else _rule(error), rows=rows)


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


def _result(
    name: str, asset: str, violations: Iterable[Violation], measured: Mapping[str, int]
) -> CheckResult:
    found = tuple(violations)
    return CheckResult(
        name=name, asset=asset, passed=not found, violations=found, measured=dict(measured)
    )
