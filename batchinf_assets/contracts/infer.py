"""A contract proposed from a sample: what its columns are, and what their values seem to be.

A sample shows what was seen, not what may come, so every rule has a margin and says what it rests
on. The figures are `contracts.infer_bounds`', the shape of codes `contracts.infer_text`'s, the keys
`contracts.infer_keys`', the YAML `contracts.infer_yaml`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from batchinf_assets.checks import quoted
from batchinf_assets.contracts.infer_bounds import friendly_bounds, friendly_length
from batchinf_assets.contracts.infer_keys import candidate_keys, repeated_rows
from batchinf_assets.contracts.infer_text import regular_pattern
from batchinf_assets.errors import UsageError
from batchinf_assets.lake.schema import ARROW_TYPES
from batchinf_assets.spec.contract import NUMERIC, ColumnSpec, ColumnType, Name

MOST_ALLOWED = 20
"""Different texts up to which a list of them is proposed."""

ROWS_EACH = 10
"""Rows in which each text of such a list must stand: one that is rare is hardly the last."""

ENOUGH_ROWS = 20
"""Fewer rows without a repetition say nothing about uniqueness."""

_LONGEST_ALLOWED = 64
_INTEGERS: Mapping[pa.DataType, ColumnType] = {
    pa.int8(): "int32",
    pa.int16(): "int32",
    pa.int32(): "int32",
    pa.int64(): "int64",
}
UTC_NAMES = frozenset({"UTC", "Etc/UTC", "+00:00", "Z"})
_TEXTS = frozenset({pa.string(), pa.large_string(), pa.string_view()})
_SAME: Mapping[pa.DataType, ColumnType] = {
    pa.bool_(): "bool",
    pa.float32(): "float32",
    pa.float64(): "float64",
    pa.date32(): "date",
}
_KEY_TYPES: frozenset[ColumnType] = frozenset({"string", "int32", "int64", "timestamp", "date"})
_NAME = TypeAdapter[str](Name)


@dataclass(frozen=True, kw_only=True)
class ProposedColumn:
    """What one column seems to be.

    Attributes:
        name: As in the file.
        spec: The proposed declaration; None where none could be told, or the name is none that can
            be declared.
        notes: What the proposal rests on, and what could not be told.
    """

    name: str
    spec: ColumnSpec | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A contract for the owner to correct.

    Attributes:
        columns: One for each column of the file, in its order.
        key: Columns that identify a row; none where no few columns do.
        time: The column of the row's event, if one was found.
        notes: Other candidates, and what could not be told.
        rows: How many rows were looked at.
        rows_in_file: How many there are; None where not all were read.
    """

    columns: tuple[ProposedColumn, ...]
    key: tuple[str, ...]
    time: str | None
    notes: tuple[str, ...]
    rows: int
    rows_in_file: int | None

    @property
    def declarable(self) -> dict[str, ColumnSpec]:
        """The proposed `source.columns`."""
        return {column.name: column.spec for column in self.columns if column.spec is not None}


def propose(
    rows: pa.Table,
    *,
    rows_in_file: int | None,
    untold: Mapping[str, str] = MappingProxyType({}),
    key: Sequence[str] = (),
    time: str | None = None,
) -> Proposal:
    """Propose a contract that the rows keep.

    Args:
        rows: A sample as a reader returns it, types of the file.
        rows_in_file: How many the sample was taken from; None where that is not known.
        untold: Why a column's type could not be told, by its name.
        key: Columns that identify a row, where that is known; else they are looked for.
        time: The column of the row's event, where that is known.

    Raises:
        UsageError: `key` or `time` names a column that the sample lacks or that cannot be one.
    """
    columns = [
        _proposed(rows, index, untold.get(name)) for index, name in enumerate(rows.column_names)
    ]
    specs = {column.name: column.spec for column in columns if column.spec is not None}
    chosen_time, time_notes = _time(specs, time)
    chosen_key, key_notes = _key(rows, specs, key)
    named = {*chosen_key, *([chosen_time] if chosen_time else [])}
    return Proposal(
        columns=tuple(
            _never_null(column) if column.name in named else column for column in columns
        ),
        key=chosen_key,
        time=chosen_time,
        notes=(*key_notes, *time_notes),
        rows=rows.num_rows,
        rows_in_file=rows_in_file,
    )


def _proposed(rows: pa.Table, index: int, untold: str | None) -> ProposedColumn:
    name, values = rows.column_names[index], rows.column(index)
    column_type, reason = _column_type(values.type)
    if untold is not None:
        reason = untold
    elif not _can_be_declared(name):
        reason = "the name cannot be declared: lower-case letters, digits and _, at most 63"
    elif rows.column_names.count(name) > 1:
        reason = "the name stands more than once"
    if reason is not None or column_type is None:
        return ProposedColumn(name=name, spec=None, notes=(reason or "no type fits",))
    rules, notes = _rules(values, column_type)
    spec = ColumnSpec.model_validate({"type": column_type, **rules})
    return ProposedColumn(name=name, spec=spec, notes=tuple(notes))


def _can_be_declared(name: str) -> bool:
    try:
        _NAME.validate_python(name)
    except ValidationError:
        return False
    return True


def _column_type(found: pa.DataType) -> tuple[ColumnType | None, str | None]:
    """Return the type to declare, or why there is none."""
    plain = found.value_type if pa.types.is_dictionary(found) else found
    if plain in _TEXTS:
        return "string", None
    if pa.types.is_timestamp(found):
        zoned = "timestamp" if found.tz else None
        return zoned, None if zoned else "times without a time zone: upstream must write one"
    if pa.types.is_null(found):
        return None, "no value seen: the type could not be told"
    known = _INTEGERS.get(found) or _SAME.get(found)
    return known, None if known else f"type {quoted(str(found))} cannot be declared"


def _rules(values: pa.ChunkedArray, column_type: ColumnType) -> tuple[dict[str, Any], list[str]]:
    """Return the rules to declare for a column of a known type, and the notes on them."""
    present = values.drop_null()
    missing = len(values) - len(present)
    if column_type in ("float32", "float64"):
        missing += pc.sum(pc.is_nan(present)).as_py() or 0
    rules: dict[str, Any] = {"nullable": True} if missing else {}
    notes = [f"missing in {missing:,} of {len(values):,} rows"] if missing else []
    if len(present) == 0:
        return {"nullable": True}, ["no value seen"]
    if column_type == "string":
        found, said = _text_rules(present)
    elif column_type in NUMERIC:
        found, said = _number_rules(present, column_type)
    else:
        found, said = dict[str, Any](), list(_time_notes(present))
    return rules | found, notes + said


def _time_notes(values: pa.ChunkedArray) -> Iterator[str]:
    if not pa.types.is_timestamp(values.type):
        return
    if values.type.tz not in UTC_NAMES:
        yield f"in zone {quoted(values.type.tz)}: it needs `accept: [time_zone]`"
    try:
        values.cast(ARROW_TYPES["timestamp"])
    except pa.ArrowInvalid:
        yield "some times have parts of a microsecond, which do not fit"


def _number_rules(
    values: pa.ChunkedArray, column_type: ColumnType
) -> tuple[dict[str, Any], list[str]]:
    is_float = column_type.startswith("float")
    finite = values.filter(pc.is_finite(values)) if is_float else values
    infinite = len(values) - len(finite) - (pc.sum(pc.is_nan(values)).as_py() if is_float else 0)
    notes = [f"{infinite:,} rows are infinite, which no contract allows"] if infinite else []
    if len(finite) == 0:
        return {}, [*notes, "no finite value seen"]
    seen = pc.min_max(finite).as_py()
    low, high = friendly_bounds(seen["min"], seen["max"], column_type)
    rules: dict[str, Any] = {"min": low, "max": high}
    notes.append(f"seen {seen['min']:g} to {seen['max']:g}")
    if not is_float and _never_repeats(values):
        # What only counts up has no largest value, only the largest so far.
        rules = {"min": low, "unique": True}
        notes.append("never repeats, so no largest value is proposed")
    return {rule: bound for rule, bound in rules.items() if bound is not None}, notes


def _text_rules(values: pa.ChunkedArray) -> tuple[dict[str, Any], list[str]]:
    # Repeated texts may be dictionaries; written out they could take any memory.
    counted = pc.value_counts(values.unify_dictionaries())
    distinct, rows = counted.field("values").cast(pa.string()), counted.field("counts")
    longest = pc.max(pc.utf8_length(distinct)).as_py()
    often = pc.min(rows).as_py() >= ROWS_EACH and longest <= _LONGEST_ALLOWED
    if len(distinct) <= MOST_ALLOWED and often:
        return {"allowed": tuple(sorted(distinct.to_pylist()))}, [f"{len(distinct)} values seen"]
    rules: dict[str, Any] = {"max_length": friendly_length(longest)}
    notes = [f"{len(distinct):,} values, the longest of {longest} characters"]
    if len(distinct) == len(values) >= ENOUGH_ROWS:
        rules["unique"] = True
        notes.append("never repeats")
    pattern = regular_pattern(distinct)
    if pattern is not None:
        notes.append(f"all match pattern: '{pattern}'")
    return rules, notes


def _never_repeats(values: pa.ChunkedArray) -> bool:
    return len(values) >= ENOUGH_ROWS and pc.count_distinct(values).as_py() == len(values)


def _time(
    specs: Mapping[str, ColumnSpec], wanted: str | None
) -> tuple[str | None, tuple[str, ...]]:
    if wanted is not None:
        _require_declarable([wanted], specs)
        if specs[wanted].type != "timestamp":
            raise _no_such(f"'{quoted(wanted)}' has type {specs[wanted].type}, not timestamp.")
        return wanted, ()
    zoned = [name for name, spec in specs.items() if spec.type == "timestamp" and not spec.nullable]
    if not zoned:
        return None, ("time: no timestamp column without nulls was found",)
    rest = f"time: it could be {', '.join(zoned[1:])} as well"
    return zoned[0], (rest,) if len(zoned) > 1 else ()


def _key(
    rows: pa.Table, specs: Mapping[str, ColumnSpec], wanted: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if wanted:
        _require_declarable(wanted, specs)
        repeated = repeated_rows(rows, wanted)
        note = f"key: {repeated:,} rows repeat the key of another, and the window would block"
        return tuple(wanted), (note,) if repeated else ()
    fit = [n for n, spec in specs.items() if spec.type in _KEY_TYPES and not spec.nullable]
    found = candidate_keys(rows, fit)
    if not found:
        return (), ("key: no one, two or three columns identify a row; name it with --key",)
    notes = [f"key: [{', '.join(other)}] never repeats either" for other in found[1:4]]
    if rows.num_rows < ENOUGH_ROWS:
        notes.append(f"key: {rows.num_rows} rows are too few to tell")
    return found[0], tuple(notes)


def _never_null(column: ProposedColumn) -> ProposedColumn:
    if column.spec is None or not column.spec.nullable:
        return column
    spec = column.spec.model_copy(update={"nullable": False})
    notes = (*column.notes, "key and time columns cannot be nullable: such rows break the contract")
    return ProposedColumn(name=column.name, spec=spec, notes=notes)


def _require_declarable(names: Sequence[str], specs: Mapping[str, ColumnSpec]) -> None:
    if len(set(names)) != len(names):
        raise _no_such("The key names a column twice.")
    for name in names:
        if name not in specs:
            raise _no_such(f"The file has no column '{quoted(name)}' that can be declared.")


def _no_such(message: str) -> UsageError:
    return UsageError(message, next_step="Run it without --key and --time to see the columns.")
