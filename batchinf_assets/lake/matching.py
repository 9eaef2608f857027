"""Rows of two sorted tables put side by side by their key, and compared value by value.

What is equal is what `lake.digest` digests alike: null and null, any NaN and any NaN, and else the
same bits, so that -0.0 is not 0.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.lake.order import Key, KeySpan, first_key, last_key, plain_layout

Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_LARGEST_CODE = 2**62


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows of two sorted streams between the same two keys; one side may have none.

    Attributes:
        before: Rows of the one stream.
        after: Rows of the other.
    """

    before: pa.Table
    after: pa.Table


def match_rows(before: pa.Table, after: pa.Table, key: Sequence[str]) -> tuple[Rows, Rows]:
    """Return the row numbers of equal keys, ascending: of `before`, and of `after` beside them.

    Args:
        before: Rows strictly ascending by key, without nulls in it.
        after: The same of the other side; its key columns have the same types.
        key: The key columns.
    """
    if _same_keys(before, after, key):
        every = np.arange(after.num_rows, dtype=np.int64)
        return every, every
    if not before.num_rows or not after.num_rows:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    codes = _key_codes(before, after, key)
    old, new = codes[: before.num_rows], codes[before.num_rows :]
    place = np.minimum(np.searchsorted(old, new), len(old) - 1)
    found = np.flatnonzero(old[place] == new)
    return place[found], found


def same_rows(before: pa.Table, after: pa.Table, columns: Sequence[str]) -> Flags:
    """Say of each pair of rows whether all these columns are equal, shape (rows,).

    Args:
        before: As many rows as `after`.
        after: The rows beside them; columns may differ in type only by dictionaries and by the
            width of string offsets.
        columns: What to compare.
    """
    equal = np.ones(after.num_rows, dtype=np.bool_)
    for name in columns:
        equal &= _same_values(before.column(name), after.column(name))
    return equal


def chosen_rows(rows: pa.Table, places: Rows) -> pa.Table:
    """Return these rows of a table, ascending row numbers each named once."""
    return rows if len(places) == rows.num_rows else rows.take(pa.array(places))


def unmatched_rows(rows: pa.Table, places: Rows) -> pa.Table:
    """Return the rows of a table but those with these row numbers."""
    others = np.ones(rows.num_rows, dtype=np.bool_)
    others[places] = False
    return rows.filter(pa.array(others)) if others.any() else rows.slice(0, 0)


def rows_up_to(keys: pa.Table, limit: Key) -> int:
    """Return how many rows of ascending keys are not above `limit`, written as by `first_key`."""
    low, high = 0, keys.num_rows
    while low < high:
        middle = (low + high) // 2
        if first_key(keys.slice(middle, 1)) <= limit:
            low = middle + 1
        else:
            high = middle
    return low


def rows_within(rows: pa.Table, span: KeySpan, key: Sequence[str]) -> tuple[int, int]:
    """Return where the rows of a span begin in ascending rows, and where they end."""
    keys = rows.select(list(key))
    end = rows_up_to(keys, span.last)
    start = rows_up_to(keys, span.first)
    if start and first_key(keys.slice(start - 1, 1)) == span.first:
        start -= 1
    return start, end


def side_by_side(
    before: Iterator[pa.Table], after: Iterator[pa.Table], key: Sequence[str]
) -> Iterator[Block]:
    """Cut two streams that ascend by key at the same keys; holds one table of each at a time.

    Args:
        before: The one stream, table by table.
        after: The other.
        key: The key columns.

    Raises:
        ValueError: A key holds a null or a float that is not finite.
    """
    names = list(key)
    lefts, rights = _filled(before), _filled(after)
    left, right = next(lefts, None), next(rights, None)
    while left is not None and right is not None:
        limit = min(last_key(left.select(names)), last_key(right.select(names)))
        old, new = (rows_up_to(side.select(names), limit) for side in (left, right))
        yield Block(before=left.slice(0, old), after=right.slice(0, new))
        left = left.slice(old) if old < left.num_rows else next(lefts, None)
        right = right.slice(new) if new < right.num_rows else next(rights, None)
    while left is not None:
        yield Block(before=left, after=left.slice(0, 0))
        left = next(lefts, None)
    while right is not None:
        yield Block(before=right.slice(0, 0), after=right)
        right = next(rights, None)


def _filled(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    return (table for table in tables if table.num_rows)


def _same_keys(before: pa.Table, after: pa.Table, key: Sequence[str]) -> bool:
    return before.num_rows == after.num_rows and all(
        plain_layout(before.column(name)).equals(plain_layout(after.column(name))) for name in key
    )


def _key_codes(before: pa.Table, after: pa.Table, key: Sequence[str]) -> Rows:
    """Number the keys of both tables in their order: one integer per row, `before` first."""
    codes, largest = np.zeros(before.num_rows + after.num_rows, dtype=np.int64), 1
    for name in key:
        both = [*plain_layout(before.column(name)).chunks, *plain_layout(after.column(name)).chunks]
        column, width = _column_codes(pa.chunked_array(both).combine_chunks())
        if largest * width > _LARGEST_CODE:
            codes, largest = _renumbered(codes)
        if largest * width > _LARGEST_CODE:
            column, width = _renumbered(column)
        codes, largest = codes * width + column, largest * width
    return codes


def _column_codes(values: pa.Array) -> tuple[Rows, int]:
    """Return integers in the order of the values, from 0, and how many there may be."""
    kind = values.type
    if pa.types.is_temporal(kind) or pa.types.is_signed_integer(kind):
        whole = pa.int32() if pa.types.is_date32(kind) else pa.int64()
        plain = values.view(whole) if pa.types.is_temporal(kind) else values.cast(pa.int64())
        numbers = np.asarray(plain, dtype=np.int64)
        low, high = int(numbers.min()), int(numbers.max())
        if high - low < _LARGEST_CODE:
            return numbers - low, high - low + 1
        return _renumbered(numbers)
    encoded = values.dictionary_encode()
    ranks = np.asarray(pc.rank(encoded.dictionary, sort_keys="ascending"), dtype=np.int64) - 1
    return ranks[np.asarray(encoded.indices)], len(ranks)


def _renumbered(codes: Rows) -> tuple[Rows, int]:
    distinct, numbers = np.unique(codes, return_inverse=True)
    return numbers.astype(np.int64, copy=False), len(distinct)


def _same_values(before: pa.ChunkedArray, after: pa.ChunkedArray) -> Flags:
    left, right = (plain_layout(side).combine_chunks() for side in (before, after))
    if pa.types.is_floating(left.type):
        equal = _same_floats(left, right)
    else:
        equal = _flags(pc.fill_null(pc.equal(left, right), False))  # noqa: FBT003
    if not left.null_count and not right.null_count:
        return equal
    missing = [_flags(side.is_null()) for side in (left, right)]
    return np.where(missing[0] | missing[1], missing[0] & missing[1], equal)


def _same_floats(left: pa.Array, right: pa.Array) -> Flags:
    old, new = (np.asarray(side.fill_null(0.0)) for side in (left, right))
    bits = np.dtype(f"i{old.dtype.itemsize}")
    equal = old.view(bits) == new.view(bits)
    if not equal.all():
        equal |= np.isnan(old) & np.isnan(new)
    return equal


def _flags(values: pa.Array) -> Flags:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.bool_)
