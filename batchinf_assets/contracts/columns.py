"""The columns of a table against the declared ones: what changed upstream.

What their values may be is judged afterwards, in `contracts.validate`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from difflib import get_close_matches

import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.checks import LONGEST_TEXT, CheckResult, Violation, quoted
from batchinf_assets.contracts.nullability import JudgedNullability, Nullability, judge_nullability
from batchinf_assets.lake.schema import ARROW_TYPES, arrow_schema
from batchinf_assets.spec.contract import AcceptedChange, ColumnSpec, ColumnType

ANY_LAYOUT: tuple[AcceptedChange, ...] = ("widened", "reordered", "time_zone")
"""For tables that are read by column name and have no upstream contract, as SQL results."""

_SHOWN_NEW_COLUMNS = 20
_SHOWN_CANDIDATES = 3
_MOST_CANDIDATES = 500
_LIKENESS = 0.5
"""Ratio of `difflib` from which a new name may be the old one: `dest` for `destination`."""

_INTEGERS = frozenset({pa.int8(), pa.int16(), pa.int32(), pa.int64()})
_FLOATS = frozenset({pa.float32(), pa.float64()})
_READABLE: Mapping[ColumnType, frozenset[pa.DataType]] = {
    "string": frozenset({pa.string(), pa.large_string(), pa.string_view()}),
    "bool": frozenset({pa.bool_()}),
    "int32": _INTEGERS,
    "int64": _INTEGERS,
    "float32": _FLOATS,
    "float64": _FLOATS,
    "date": frozenset({pa.date32()}),
}
_WIDER: Mapping[ColumnType, pa.DataType] = {"int32": pa.int64(), "float32": pa.float64()}
_UTC = frozenset({"UTC", "Etc/UTC", "+00:00", "Z"})
_DECLARED_NAMES: Mapping[pa.DataType, str] = {arrow: name for name, arrow in ARROW_TYPES.items()}


def check_columns(
    table: pa.Table,
    columns: Mapping[str, ColumnSpec],
    *,
    asset: str,
    accept: Container[AcceptedChange] = (),
    nullability: Nullability | None = None,
) -> CheckResult:
    """Check that the declared columns are there, in their order and types, so that none is lost.

    Columns beside them are no violation (`check_new_columns` names them), nor is a mere layout:
    narrower signed integers, float32 for float64, any string layout, any unit of a timestamp. A
    wider number type, another order, another time zone than UTC, a nullable column that is not
    there and one that became optional are changes of the contract. Whatever is accepted, no value
    may change: each must fit the declared type, and a timestamp without a time zone has no instant.

    Args:
        table: Rows as they were read.
        columns: Each column's spec by name.
        asset: The asset that is checked.
        accept: Changes that pass.
        nullability: What the file and one before it say of nulls; None where that is not judged.

    Returns:
        The check `schema`: a violation per column, two where it also became optional, with what was
        found beside what was expected, and for a column that is gone the new one with the nearest
        name. `measured["accepted"]` names the changes that passed, if any did.
    """
    new = _undeclared(table, columns)
    nulls = JudgedNullability()
    if nullability is not None:
        nulls = judge_nullability(nullability, table.schema, columns, accept)
    violations = (
        *(
            violation
            for name, column in columns.items()
            for violation in _column_violations(table, name, column, new, accept)
        ),
        *nulls.violations,
        *(() if "reordered" in accept else _order_violations(table, columns)),
    )
    accepted = ", ".join(sorted({*_accepted_changes(table, columns, accept), *nulls.accepted}))
    return CheckResult(
        name="schema",
        asset=asset,
        passed=not violations,
        violations=violations,
        measured={
            "rows": table.num_rows,
            "columns": table.num_columns,
            **({"accepted": accepted} if accepted else {}),
            **nulls.measured,
        },
    )


def check_new_columns(
    table: pa.Table, columns: Mapping[str, ColumnSpec], *, asset: str
) -> CheckResult:
    """Warn of columns that nobody declared; the first twenty are named with their types.

    Args:
        table: Rows as they were read.
        columns: Each column's spec by name.
        asset: The asset that is checked.
    """
    new = _undeclared(table, columns)
    found = f"{len(new)} more: {_described(new, _SHOWN_NEW_COLUMNS)}"
    violation = Violation(column=None, rule="only the declared columns", found=found)
    return CheckResult(
        name="new_columns",
        asset=asset,
        passed=not new,
        blocking=False,
        violations=(violation,) if new else (),
        measured={"columns": table.num_columns, "new": len(new)},
    )


def conform(table: pa.Table, columns: Mapping[str, ColumnSpec]) -> pa.Table:
    """Return the declared columns in their order, cast to the declared Arrow types.

    Only for tables that passed `check_columns`. A nullable column that is not there is null in
    every row. Nulls in a non-nullable column stay, for the check of values to report.
    """
    schema = arrow_schema(columns)
    # Table.cast would refuse such nulls without saying in which rows.
    arrays = [_cast(table, field) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _cast(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.nullable and field.name not in table.schema.names:
        return pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    return table.column(field.name).cast(field.type)


def _undeclared(table: pa.Table, columns: Mapping[str, ColumnSpec]) -> list[pa.Field]:
    return [field for field in table.schema if field.name not in columns]


def _accepted_changes(
    table: pa.Table, columns: Mapping[str, ColumnSpec], accept: Container[AcceptedChange]
) -> Iterator[AcceptedChange]:
    for name, column in columns.items():
        positions = table.schema.get_all_field_indices(name)
        change = _change(table.schema.field(positions[0]).type, column.type) if positions else None
        if not positions and column.nullable and "missing_nullable" in accept:
            yield "missing_nullable"
        elif change and change in accept:
            yield change
    if "reordered" in accept and any(_order_violations(table, columns)):
        yield "reordered"


def _column_violations(
    table: pa.Table,
    name: str,
    column: ColumnSpec,
    new: Sequence[pa.Field],
    accept: Container[AcceptedChange],
) -> Iterator[Violation]:
    positions = table.schema.get_all_field_indices(name)
    if not positions:
        if not (column.nullable and "missing_nullable" in accept):
            yield Violation(column=name, rule=column.type, found=_absence(name, column, new))
    elif len(positions) > 1:
        found = f"{len(positions)} columns of this name"
        yield Violation(column=name, rule="to be there once", found=found)
    else:
        yield from _type_violations(name, table.column(positions[0]), column.type, accept)


def _type_violations(
    name: str, values: pa.ChunkedArray, declared: ColumnType, accept: Container[AcceptedChange]
) -> Iterator[Violation]:
    expected = "timestamp in UTC" if declared == "timestamp" else declared
    found, change = _type_name(values.type), _change(values.type, declared)
    if not _is_readable(values.type, declared):
        yield Violation(column=name, rule=expected, found=found)
    elif change and change not in accept:
        yield Violation(column=name, rule=expected, found=f"{found} ({_way_out(change)})")
    elif declared == "string" and not _is_intact(values):
        yield Violation(column=name, rule="valid UTF-8", found="other bytes")
    elif changed := _changed_by_cast(values, ARROW_TYPES[declared]):
        lost = f"{found} with {changed} value{'s' if changed > 1 else ''} that would change"
        yield Violation(column=name, rule=declared, found=lost, count=changed)


def _change(found: pa.DataType, declared: ColumnType) -> AcceptedChange | None:
    """Name the change of the contract that a readable type is, if it is one."""
    if pa.types.is_timestamp(found):
        return None if found.tz in _UTC else "time_zone"
    return "widened" if found == _WIDER.get(declared) else None


def _way_out(change: AcceptedChange) -> str:
    return f"passes where `accept` has {change}"


def _absence(name: str, column: ColumnSpec, new: Sequence[pa.Field]) -> str:
    nearest = _nearest(name, column.type, new)
    notes = [_way_out("missing_nullable")] if column.nullable else []
    if nearest is not None:
        notes.insert(0, f"nearest new one: {_described([nearest], 1)}")
    elif new:
        notes.insert(0, f"new ones: {_described(new, _SHOWN_CANDIDATES)}")
    return f"no such column ({'; '.join(notes)})" if notes else "no such column"


def _nearest(name: str, declared: ColumnType, new: Sequence[pa.Field]) -> pa.Field | None:
    """Return the new column that the missing one may have become, one of a fitting type first."""
    candidates = new[:_MOST_CANDIDATES]
    fitting = [field for field in candidates if _is_readable(field.type, declared)]
    for fields in (fitting, candidates):
        names = [field.name[:LONGEST_TEXT].casefold() for field in fields]
        if close := get_close_matches(name, names, n=1, cutoff=_LIKENESS):
            return fields[names.index(close[0])]
    return None


def _order_violations(table: pa.Table, columns: Mapping[str, ColumnSpec]) -> Iterator[Violation]:
    found = [name for name in table.column_names if name in columns]
    expected = [name for name in columns if name in found]
    if found == expected or len(found) != len(expected):  # one that is there twice has no place
        return
    at = next(i for i, (a, b) in enumerate(zip(expected, found, strict=True)) if a != b)
    there = f"{_around(found, at)} ({_way_out('reordered')})"
    rule = f"the columns in the order {_around(expected, at)}"
    yield Violation(column=None, rule=rule, found=there)


def _around(names: Sequence[str], at: int) -> str:
    """Write the names from the one before the first difference to the one after it."""
    first, last = max(at - 1, 0), at + 2
    before, after = "…, " if first else "", ", …" if last < len(names) else ""
    return f"{before}{', '.join(names[first:last])}{after}"


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
    rounds = pa.types.is_float64(column.type) and pa.types.is_float32(target)
    try:
        column.cast(target)
    except pa.ArrowInvalid:
        rounds = True
    if not rounds:  # the cast of a float rounds and does not complain
        return 0
    there_and_back = column.cast(target, safe=False).cast(column.type, safe=False)
    changed = pc.not_equal(column, there_and_back)
    if pa.types.is_floating(column.type):
        changed = pc.and_(changed, pc.invert(pc.is_nan(column)))
    return pc.sum(changed).as_py() or 0


def _described(fields: Sequence[pa.Field], shown: int) -> str:
    named = ", ".join(f"{quoted(field.name)} {_type_name(field.type)}" for field in fields[:shown])
    rest = len(fields) - shown
    return f"{named} and {rest} more" if rest > 0 else named


def _type_name(found: pa.DataType) -> str:
    """Name a type as the spec would; of a nested one only the first word, the rest is foreign."""
    if found in _DECLARED_NAMES:
        return _DECLARED_NAMES[found]
    if pa.types.is_dictionary(found):
        return f"dictionary of {_type_name(found.value_type)}"
    if pa.types.is_timestamp(found):
        kind = "timestamp" if found.unit == "us" else f"timestamp[{found.unit}]"
        return f"{kind} in {quoted(found.tz)}" if found.tz else f"{kind} without time zone"
    return quoted(str(found).partition("<")[0])
