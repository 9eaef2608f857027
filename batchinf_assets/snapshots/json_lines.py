r"""JSON Lines: one object per line, in UTF-8; a field that is not there is null.

Fields have no order, so columns come as declared. Of fields that are not declared only the names
are kept, as columns of nulls: those of the first object of each block of lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson

from batchinf_assets.checks import quoted
from batchinf_assets.errors import LandedFileUnreadable, LandingFault
from batchinf_assets.lake.schema import ARROW_TYPES
from batchinf_assets.snapshots.file_limits import FileLimits
from batchinf_assets.snapshots.text_blocks import TextBlock
from batchinf_assets.snapshots.typed_text import Misfit, TypedText
from batchinf_assets.spec.contract import ColumnSpec, ColumnType

_WRITTEN_AS_TEXT: frozenset[ColumnType] = frozenset({"string", "timestamp", "date"})
_INT_BITS: Mapping[ColumnType, int] = {"int32": 32, "int64": 64}

# pyarrow 26 reads through a null pointer where `null` stands for a whole row.
_NULL_ROW = re.compile(rb"\}\s*null")

_REFUSED_BY_ARROW = (pa.ArrowInvalid, UnicodeDecodeError)
"""It cannot say what it refuses where that is no UTF-8: half of a surrogate pair."""

_Lines = list[tuple[int, bytes]]
"""Lines that are not blank, with their numbers."""


class _Object(list[tuple[str, Any]]):
    """A JSON object as it is written: a name can stand twice."""


def decode_json_lines(
    blocks: Iterator[TextBlock], columns: Mapping[str, ColumnSpec], limits: FileLimits
) -> pa.Table:
    """Decode a JSON Lines file.

    Args:
        blocks: Its lines.
        columns: The declared columns; one that no line names is no column of the result.
        limits: Judged block by block.

    Raises:
        LandedFileUnreadable: A line is no JSON object, a value is not of its column's type, or a
            limit is passed.
    """
    file = _JsonLines(columns, limits)
    for block in blocks:
        file.add(block)
    return file.rows()


class _JsonLines:
    """What is known of a file up to some line."""

    def __init__(self, columns: Mapping[str, ColumnSpec], limits: FileLimits) -> None:
        self._columns, self._limits = columns, limits
        self._typing = TypedText(columns)
        self._schema = pa.schema([(name, _parsed_type(c.type)) for name, c in columns.items()])
        self._row_bytes = sum(_least_bytes(kind) for kind in self._schema.types)
        self._named: dict[str, None] = {}
        self._parts: list[pa.Table] = []
        self._count = 0
        self._decoded = 0

    def add(self, block: TextBlock) -> None:
        numbered = enumerate(block.content.split(b"\n"), block.first_line)
        lines = [(number, line) for number, line in numbered if line.strip()]
        if not lines:
            return
        self._count += len(lines)
        self._limits.require_rows(self._count)
        # A line of two bytes can stand for a row of many nulls.
        self._limits.require_decoded(self._decoded + len(lines) * self._row_bytes)
        part = self._typed(self._parsed(block, lines), lines)
        self._decoded += part.nbytes
        self._limits.require_decoded(self._decoded)
        self._note_names(part, lines)
        self._parts.append(part)

    def rows(self) -> pa.Table:
        rows = self._typing.joined(self._parts)
        rows = rows.select([name for name in self._columns if name in self._named])
        for name in self._named:
            if name not in self._columns:
                rows = rows.append_column(name, pa.nulls(self._count))
        return rows

    def _parsed(self, block: TextBlock, lines: _Lines) -> pa.Table:
        if not _is_plain(block, lines):
            self._require_objects(lines)
        try:
            part = self._arrow(block.content)
        except _REFUSED_BY_ARROW as error:
            self._require_objects(lines)
            raise self._malformed(lines) from error
        if part.num_rows != len(lines):  # two objects in a line, or one in two
            self._require_objects(lines)
            raise self._malformed(lines)
        self._limits.require_texts(part)
        return part

    def _arrow(self, content: bytes) -> pa.Table:
        """Parse lines in one piece, so that an object never lies across two."""
        options = pajson.ParseOptions(
            explicit_schema=self._schema, unexpected_field_behavior="ignore"
        )
        whole = pajson.ReadOptions(block_size=len(content) + 1)
        return pajson.read_json(pa.BufferReader(content), whole, options)

    def _typed(self, part: pa.Table, lines: _Lines) -> pa.Table:
        try:
            return self._typing.typed(part)
        except Misfit as misfit:
            line = lines[misfit.row][0]
            raise self._misfit(line, misfit.column, misfit.text, misfit.expected) from misfit

    def _note_names(self, part: pa.Table, lines: _Lines) -> None:
        first = self._object(*lines[0])
        self._limits.require_columns(len(first))
        self._named |= dict.fromkeys(name for name, _ in first)
        self._limits.require_columns(len(self._named))
        for name in self._columns.keys() - self._named:
            if part.column(name).null_count < part.num_rows or self._is_named(name, lines):
                self._named[name] = None

    def _is_named(self, name: str, lines: _Lines) -> bool:
        quoted_name = f'"{name}"'.encode()
        candidates = (self._object(*line) for line in lines if quoted_name in line[1])
        return any(name == found for candidate in candidates for found, _ in candidate)

    def _require_objects(self, lines: _Lines) -> None:
        """Name the first line that is wrong: slower than Arrow by far, which does not."""
        for number, line in lines:
            seen = set[str]()
            for name, value in self._object(number, line):
                if name in seen & self._columns.keys():
                    clause = f"names field '{name}' twice in line {number}"
                    raise self._limits.refused(LandingFault.DUPLICATE_COLUMN, clause)
                seen.add(name)
                if name in self._columns and not _fits(value, self._columns[name].type):
                    kind = self._columns[name].type
                    raise self._misfit(number, name, value, kind)

    def _object(self, number: int, line: bytes) -> _Object:
        try:
            found = json.loads(line, object_pairs_hook=_Object)
        except (ValueError, RecursionError) as error:
            deep = isinstance(error, RecursionError)
            why = "nested too deep" if deep else quoted(str(error).partition(": line")[0])
            clause = f"has no JSON object in line {number} ({why})"
            raise self._limits.refused(LandingFault.MALFORMED_LINE, clause) from error
        if not isinstance(found, _Object):
            clause = f"has no JSON object in line {number} (found: {_shown(line)})"
            raise self._limits.refused(LandingFault.MALFORMED_LINE, clause)
        return found

    def _misfit(self, line: int, column: str, value: object, kind: str) -> LandedFileUnreadable:
        place = f"in line {line}, column {column}: expected {kind}"
        if isinstance(value, list):
            return self._limits.refused(LandingFault.NESTED_COLUMN, f"has a nested value {place}")
        found = f"'{quoted(value)}'" if isinstance(value, str) else quoted(json.dumps(value))
        clause = f"has a bad value {place}, found {found}"
        return self._limits.refused(LandingFault.BAD_VALUE, clause)

    def _malformed(self, lines: _Lines) -> LandedFileUnreadable:
        """Name the line that only Arrow refuses, found by halves."""
        while len(lines) > 1:
            first, second = lines[: len(lines) // 2], lines[len(lines) // 2 :]
            lines = second if self._is_accepted(first) else first
        clause = f"has no JSON object in line {lines[0][0]} (found: {_shown(lines[0][1])})"
        return self._limits.refused(LandingFault.MALFORMED_LINE, clause)

    def _is_accepted(self, lines: _Lines) -> bool:
        try:
            return self._arrow(b"\n".join(line for _, line in lines)).num_rows == len(lines)
        except _REFUSED_BY_ARROW:
            return False


def _is_plain(block: TextBlock, lines: _Lines) -> bool:
    objects = all(line.lstrip().startswith(b"{") for _, line in lines)
    return objects and not _NULL_ROW.search(block.content)


def _parsed_type(declared: ColumnType) -> pa.DataType:
    return pa.string() if declared in _WRITTEN_AS_TEXT else ARROW_TYPES[declared]


def _least_bytes(kind: pa.DataType) -> int:
    return 4 if pa.types.is_string(kind) else -(-kind.bit_width // 8)


def _fits(value: object, declared: ColumnType) -> bool:
    if value is None:
        return True
    if declared in _WRITTEN_AS_TEXT:
        return isinstance(value, str) and _is_utf8(value)
    if declared == "bool" or isinstance(value, bool):
        return declared == "bool" and isinstance(value, bool)
    if bits := _INT_BITS.get(declared):
        return isinstance(value, int) and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)
    return isinstance(value, int | float)


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(line: bytes) -> str:
    return quoted(line.decode("utf-8", "replace").strip())
