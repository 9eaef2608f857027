"""Texts of a CSV or JSON Lines file as values of their declared types, or the first that is none.

Only spellings that leave no doubt: ISO 8601 for times and dates, no blanks around numbers, no unit
guessed for a time that is a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from batchinf_assets.lake.schema import ARROW_TYPES
from batchinf_assets.spec.contract import ColumnSpec

_NAIVE = pa.timestamp("us")


@dataclass
class Misfit(Exception):
    """A text that is no value of its column's type.

    Attributes:
        column: The column.
        row: The position among the texts that were to be typed.
        text: The text.
        expected: The type in words.
    """

    column: str
    row: int
    text: str
    expected: str


class TypedText:
    """Types the texts of one file, block after block.

    A column's first time decides whether its times carry a zone. Without one they stay naive, for
    the contract to refuse; the same column may not have both.

    Args:
        columns: The declared columns; any others stay texts.
    """

    def __init__(self, columns: Mapping[str, ColumnSpec]) -> None:
        self._columns = columns
        self._times: dict[str, pa.DataType] = {}

    def typed(self, texts: pa.Table) -> pa.Table:
        """Type the string columns of some rows.

        Raises:
            Misfit: A text is no value of its column's type.
        """
        for index, name in enumerate(texts.column_names):
            declared = self._columns.get(name)
            column = texts.column(index)
            if declared is not None and pa.types.is_string(column.type):
                texts = texts.set_column(index, name, self._column(name, column))
        return texts

    def joined(self, parts: list[pa.Table]) -> pa.Table:
        """Put typed rows together; columns without any value get their declared types."""
        rows = pa.concat_tables(parts, promote_options="default")
        for index, name in enumerate(rows.column_names):
            declared = self._columns.get(name)
            if declared is not None and pa.types.is_null(rows.column(index).type):
                column = rows.column(index).cast(ARROW_TYPES[declared.type])
                rows = rows.set_column(index, name, column)
        return rows

    def _column(self, name: str, texts: pa.ChunkedArray) -> pa.ChunkedArray:
        declared = self._columns[name].type
        target = self._time_type(name, texts) if declared == "timestamp" else ARROW_TYPES[declared]
        if pa.types.is_null(target):
            return pa.chunked_array([pa.nulls(len(texts))])
        try:
            return texts.cast(target)
        except pa.ArrowInvalid as error:
            row = _first_misfit(texts, target)
            expected = _described(declared, target)
            text = str(texts[row].as_py())
            raise Misfit(column=name, row=row, text=text, expected=expected) from error

    def _time_type(self, name: str, texts: pa.ChunkedArray) -> pa.DataType:
        first = texts.drop_null().slice(0, 1)
        if name not in self._times and len(first):
            self._times[name] = _NAIVE if _fits(first, _NAIVE) else ARROW_TYPES["timestamp"]
        return self._times.get(name, pa.null())


def _described(declared: str, target: pa.DataType) -> str:
    if declared != "timestamp":
        return declared
    zone = "without time zone, like those above" if target == _NAIVE else "with time zone"
    return f"timestamp {zone}"


def _first_misfit(texts: pa.ChunkedArray, target: pa.DataType) -> int:
    low, high = 0, len(texts)
    while high - low > 1:
        middle = (low + high) // 2
        if _fits(texts.slice(low, middle - low), target):
            low = middle
        else:
            high = middle
    return low


def _fits(texts: pa.ChunkedArray, target: pa.DataType) -> bool:
    try:
        texts.cast(target)
    except pa.ArrowInvalid:
        return False
    return True
