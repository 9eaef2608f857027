"""Which types the texts of a sample seem to have, where the file's format does not say it.

Texts become numbers or times only where every one of them is spelled as one without doubt: `007`
stays a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.errors import LandingFault
from batchinf_assets.snapshots.file_limits import FileLimits
from batchinf_assets.snapshots.text_blocks import TextBlock
from batchinf_assets.snapshots.typed_text import Misfit, TypedText
from batchinf_assets.spec.contract import ColumnSpec, ColumnType

_WHOLE = r"^-?(0|[1-9][0-9]{0,18})$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
_SPELLINGS: Sequence[tuple[ColumnType, str]] = (
    ("bool", "^(true|false)$"),
    ("int64", _WHOLE),
    ("float64", _NUMBER),
    ("date", f"{_DAY}$"),
    ("timestamp", f"{_DAY}[T ][0-9]{{2}}:"),
)
_IN_QUOTES = frozenset({"date", "timestamp"})
"""What JSON writes as a text; a number in quotes is a text."""


def typed_texts(texts: pa.Table, *, quoted_only: bool = False) -> pa.Table:
    """Give each column of texts the type that all its values are spelled in.

    Args:
        texts: Columns of strings, and others, which stay.
        quoted_only: Whether only times are looked for, as in JSON.
    """
    for index, name in enumerate(texts.column_names):
        column = texts.column(index)
        if pa.types.is_string(column.type) and column.null_count < len(column):
            texts = texts.set_column(index, name, _typed(column, quoted_only=quoted_only))
    return texts


def _typed(texts: pa.ChunkedArray, *, quoted_only: bool) -> pa.ChunkedArray:
    for column_type, spelling in _SPELLINGS:
        if quoted_only and column_type not in _IN_QUOTES:
            continue
        if not pc.all(pc.match_substring_regex(texts, spelling)).as_py():
            continue
        try:
            typing = TypedText({"texts": ColumnSpec(type=column_type)})
            return typing.typed(pa.table({"texts": texts})).column(0)
        except Misfit:  # such as a thirteenth month
            continue
    return texts


def json_columns(
    blocks: Sequence[TextBlock], limits: FileLimits
) -> tuple[pa.Table, dict[str, str]]:
    """Read JSON Lines whose columns nobody declared.

    Args:
        blocks: The lines.
        limits: How many columns there may be, and how long a text.

    Returns:
        The rows, and by name why a column could not be read; it is null in every row.

    Raises:
        LandedFileUnreadable: A line is no JSON object, or a limit is passed.
    """
    objects = [found for block in blocks for found in _objects(block, limits)]
    names = list(dict.fromkeys(name for found in objects for name in found))
    limits.require_columns(len(names))
    columns: dict[str, pa.Array] = {}
    untold: dict[str, str] = {}
    for name in names:
        values = [found.get(name) for found in objects]
        reason = _why_untold(values)
        if reason is not None:
            untold[name] = reason
        columns[name] = pa.nulls(len(values)) if reason is not None else _column(values)
    rows = pa.table(columns) if columns else pa.table({})
    limits.require_texts(rows)
    return typed_texts(rows, quoted_only=True), untold


def _column(values: list[Any]) -> pa.Array:
    if any(isinstance(value, float) for value in values):
        values = [None if value is None else float(value) for value in values]
    return pa.array(values)


def _why_untold(values: Sequence[object]) -> str | None:
    kinds = {type(value) for value in values} - {type(None)}
    if kinds & {list, dict}:
        return "nested values cannot be declared"
    if len(kinds) > 1 and kinds != {int, float}:
        written = sorted(_written(kind) for kind in kinds)
        return f"values of several kinds: {', '.join(written)}"
    if any(isinstance(value, int) and not -(2**63) <= value < 2**63 for value in values):
        return "whole numbers beyond 64 bits cannot be declared"
    texts = (value for value in values if isinstance(value, str))
    if any("\ud800" <= c <= "\udfff" for text in texts for c in text):
        return "texts with half of a surrogate pair are not UTF-8"
    return None


def _written(kind: type[object]) -> str:
    if kind is str:
        return "text"
    return "true or false" if kind is bool else "number"


def _objects(block: TextBlock, limits: FileLimits) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(block.content.split(b"\n"), block.first_line):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            clause = f"has no JSON object in line {number}"
            raise limits.refused(LandingFault.MALFORMED_LINE, clause)
        yield found
