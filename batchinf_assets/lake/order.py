"""The order of rows by their key: strictly ascending or not, first and last key, equal streams.

The order is the one of `lake.digest.sort_by`, which sorts; nothing here moves a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

KeyValue = str | int | float | bool
Key = tuple[KeyValue, ...]

# Blocks whose comparison fits a core's cache; below the smallest one, calls cost more than copies.
_BLOCK_ROWS, _SMALLEST_BLOCK = 131_072, 1_024


@dataclass(frozen=True, kw_only=True)
class KeySpan:
    """Where a sorted run of rows begins and ends; its fields are values that JSON keeps exactly.

    Attributes:
        first: Key of the first row, as `first_key` writes it; empty where there are no rows.
        last: Key of the last row.
        rows: Row count.
    """

    first: Key
    last: Key
    rows: int

    @classmethod
    def of(cls, keys: pa.Table) -> KeySpan:
        """Return the span of key columns that are in order.

        Raises:
            ValueError: The first or last key holds a null or a float that is not finite.
        """
        if keys.num_rows == 0:
            return cls(first=(), last=(), rows=0)
        return cls(first=first_key(keys), last=last_key(keys), rows=keys.num_rows)

    def follows(self, other: KeySpan) -> bool:
        """Say whether no key here is as small as one of `other`, so also where either has none.

        That makes a chain with an empty span in the middle look unbroken: see `spans_ascend`.
        """
        return not self.rows or not other.rows or self.first > other.last


def spans_ascend(spans: Iterable[KeySpan]) -> bool:
    """Say whether each span follows all those before it."""
    filled = [span for span in spans if span.rows]
    return all(later.follows(earlier) for earlier, later in pairwise(filled))


def first_key(keys: pa.Table) -> Key:
    """Return the key of the first row as plain values, which compare as the rows are sorted.

    Timestamps are integers in the column's unit since 1970 UTC, dates are days since then, the
    other types Python's own.

    Args:
        keys: The key columns, at least one row.

    Raises:
        IndexError: There is no row.
        ValueError: The key holds a null or a float that is not finite, which JSON cannot say.
    """
    return _key_at(keys, 0)


def last_key(keys: pa.Table) -> Key:
    """Return the key of the last row; see `first_key`."""
    return _key_at(keys, keys.num_rows - 1)


def is_strictly_ascending(keys: pa.Table) -> bool:
    """Say whether each row's key is greater than the one before it, column by column.

    Strings compare by their UTF-8 bytes, -0.0 equals 0.0. Keys with a null or NaN are in no order.

    Args:
        keys: The key columns in the order of their weight, any chunks and dictionaries.
    """
    order = KeyOrder()
    order.add(keys)
    return order.holds


class KeyOrder:
    """Whether the keys of a stream are strictly ascending, wherever it is cut.

    Attributes:
        rows: Rows seen.
        holds: False as soon as a key was not greater than the one before it.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.holds = True
        self._last: list[pa.Array] | None = None

    def add(self, keys: pa.Table) -> None:
        """Take the next rows of the stream: its key columns, always in the same order."""
        self.rows += keys.num_rows
        for block in _blocks(keys):
            self.holds = self.holds and self._continues(block)

    def _continues(self, block: list[pa.Array]) -> bool:
        if any(_has_gaps(column) for column in block):
            return False
        first, end = [column.slice(0, 1) for column in block], len(block[0]) - 1
        begins = self._last is None or _all_less(self._last, first)
        # A copy: a slice would keep the whole block in memory.
        self._last = [column.take(pa.array([end])) for column in block]
        heads, tails = [c.slice(0, end) for c in block], [c.slice(1) for c in block]
        return begins and _all_less(heads, tails)


def same_keys_in_order(expected: Iterator[pa.Table], found: Iterator[pa.Table]) -> bool:
    """Say whether two streams hold the same keys row by row, however each is cut into tables.

    Columns have the same names, order and types, but for dictionaries and offset widths. Nulls are
    equal, floats where their bits are. Holds one table of each stream at a time.

    Args:
        expected: Key columns, table by table.
        found: The same of the other side.
    """
    lefts, rights = _filled(expected), _filled(found)
    left, right = next(lefts, None), next(rights, None)
    while left is not None and right is not None:
        rows = min(left.num_rows, right.num_rows)
        if not _equal(left.slice(0, rows), right.slice(0, rows)):
            return False
        left = left.slice(rows) if left.num_rows > rows else next(lefts, None)
        right = right.slice(rows) if right.num_rows > rows else next(rights, None)
    return left is None and right is None


def plain_layout(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the same values without dictionaries, and every kind of string as `large_string`."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text = pa.types.is_string(kind) or pa.types.is_string_view(kind)
    return column.cast(pa.large_string() if is_text else kind)


def plain_array(values: pa.Array) -> pa.Array:
    """Return the same values without a dictionary and no string views: what kernels take."""
    plain = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    return plain.cast(pa.large_string()) if pa.types.is_string_view(plain.type) else plain


def _key_at(keys: pa.Table, row: int) -> Key:
    if not 0 <= row < keys.num_rows:
        raise IndexError("no rows, so no key")
    values = [_plain_value(column.slice(row, 1)) for column in keys.columns]
    return tuple(values)


def _plain_value(column: pa.ChunkedArray) -> KeyValue:
    plain = plain_layout(column)
    if pa.types.is_date32(plain.type):
        plain = plain.cast(pa.int32())
    elif pa.types.is_temporal(plain.type):
        plain = plain.cast(pa.int64())
    if any(_has_gaps(chunk) for chunk in plain.chunks) or not _is_finite(plain):
        raise ValueError(f"{column[0]} is no value of a key")
    return plain[0].as_py()


def _is_finite(column: pa.ChunkedArray) -> bool:
    return not pa.types.is_floating(column.type) or pc.all(pc.is_finite(column)).as_py()


def _blocks(keys: pa.Table) -> Iterator[list[pa.Array]]:
    chunks = max((column.num_chunks for column in keys.columns), default=0)
    if chunks > 1 and keys.num_rows < chunks * _SMALLEST_BLOCK:
        keys = keys.combine_chunks()
    for batch in keys.to_batches(max_chunksize=_BLOCK_ROWS):
        if batch.num_rows:
            yield [plain_array(column) for column in batch.columns]


def _has_gaps(column: pa.Array) -> bool:
    is_float = pa.types.is_floating(column.type)
    return column.null_count > 0 or (is_float and pc.any(pc.is_nan(column)).as_py() is True)


def _all_less(heads: list[pa.Array], tails: list[pa.Array]) -> bool:
    """Say whether each row of `heads` sorts before the same row of `tails`."""
    rows = len(heads[0])
    tied = None
    for head, tail in zip(heads, tails, strict=True):
        less = pc.less(head, tail)
        if tied is not None:
            less = pc.or_(less, pc.invert(tied))
        if less.true_count == rows:
            return True
        tied = pc.equal(head, tail) if tied is None else pc.and_(tied, pc.equal(head, tail))
        if less.true_count + tied.true_count < rows:
            return False
    return False


def _filled(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    return (table for table in tables if table.num_rows)


def _equal(left: pa.Table, right: pa.Table) -> bool:
    return left.column_names == right.column_names and all(
        _bits(a).equals(_bits(b)) for a, b in zip(left.columns, right.columns, strict=True)
    )


def _bits(column: pa.ChunkedArray) -> pa.ChunkedArray:
    plain = plain_layout(column)
    if not pa.types.is_floating(plain.type):
        return plain
    whole = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[plain.type.bit_width]
    return pa.chunked_array([chunk.view(whole) for chunk in plain.chunks], whole)
