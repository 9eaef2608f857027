"""Digests: of files byte by byte, and of rows whatever their order, chunks or file layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.lake.order import is_strictly_ascending, plain_array, plain_layout
from batchinf_assets.lake.place import Place

_WORTH_A_THREAD = 16_384
"""Rows from which on starting threads costs less than they save."""

_DIGESTIBLE = (
    pa.types.is_large_string,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_timestamp,
    pa.types.is_date,
)


def file_sha256(place: Place) -> str:
    """Return the SHA-256 of a file as 64 hex digits.

    Raises:
        OSError: The file cannot be read.
    """
    with place.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(document: object) -> str:
    """Return the SHA-256 of a JSON value, the same for equal values however they are spelled."""
    return hashlib.sha256(canonical_json(document)).hexdigest()


def canonical_json(document: object) -> bytes:
    """Write a JSON value with sorted keys and no spaces; NaN is refused."""
    text = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def sort_by(table: pa.Table, key: Sequence[str]) -> pa.Table:
    """Sort rows by the key columns, ascending, each column in one piece.

    A Parquet writer cuts pages where its input is cut: only so do the same rows give the same file.
    """
    return _in_order(table, key).combine_chunks()


def content_digest(table: pa.Table, key: Sequence[str]) -> str:
    """Digest the rows of a table, in any order, as 64 hex digits; what counts: `RowsDigest`.

    Args:
        table: Rows with a unique key.
        key: Columns that identify a row.

    Raises:
        TypeError: A column has a type whose values have no bytes of their own, such as a list.
    """
    digest = RowsDigest(table.schema, key, threads=pa.cpu_count())
    plain = pa.table({name: plain_layout(table.column(name)) for name in table.column_names})
    digest.update(_in_order(plain, key))
    return digest.hexdigest()


class RowsDigest:
    """The content digest of rows that come table by table, in key order.

    Where the stream is cut, column order, chunking, dictionary encoding and string offset width do
    not matter; names, types, nulls and every value do. Values under a null are ignored, all NaN
    count as one. Holds one table at a time.

    The digest is the SHA-256 of the canonical JSON `["batchinf-rows-2", rows, [[name, type,
    column digest], …]]`, columns by name, string types as `large_string`. A column digest is the
    SHA-256 over three of the same: of the row numbers of nulls; of the byte lengths of strings,
    nothing for other types; of the values, with zero, false or nothing in the place of nulls. Row
    numbers and lengths are int64, numbers and times as in Arrow, booleans one byte, little-endian.

    Args:
        schema: The rows' names and types, so that no rows have a digest too.
        key: Columns that identify a row.
        threads: How many columns are digested at once.

    Raises:
        TypeError: A column has a type whose values have no bytes of their own, such as a list.
    """

    def __init__(self, schema: pa.Schema, key: Sequence[str], *, threads: int = 1) -> None:
        self.rows = 0
        self._key = [(name, "ascending") for name in key]
        self._threads = threads
        self._last: pa.Table | None = None
        self._columns = {
            name: ColumnDigest(_plain_type(schema.field(name).type))
            for name in sorted(schema.names)
        }

    def update(self, rows: pa.Table) -> None:
        """Digest the next rows.

        Args:
            rows: Rows in key order, beginning where the last ones ended.

        Raises:
            TypeError: The columns are not those of the schema.
            ValueError: The first row sorts before the last one digested so far.
        """
        found = {name: _plain_type(rows.schema.field(name).type) for name in rows.column_names}
        if found != {name: column.type for name, column in self._columns.items()}:
            raise TypeError(f"columns {found} are not those of the schema")
        if not rows.num_rows:
            return
        self._require_order(rows)
        self._each_column(rows)
        self.rows += rows.num_rows

    def hexdigest(self) -> str:
        """Return the digest of the rows so far as 64 hex digits."""
        columns = [[name, str(c.type), c.hexdigest()] for name, c in self._columns.items()]
        return json_sha256(["batchinf-rows-2", self.rows, columns])

    def _require_order(self, rows: pa.Table) -> None:
        if self._last is not None:
            joint = pa.concat_tables([self._last, self._plain_keys(rows.slice(0, 1))])
            if pc.sort_indices(joint, sort_keys=self._key).to_pylist() != [0, 1]:
                raise ValueError(f"row {self.rows} sorts before the one before it")
        # A copy: a slice would keep the whole table in memory.
        self._last = self._plain_keys(rows.slice(rows.num_rows - 1)).take([0])

    def _plain_keys(self, rows: pa.Table) -> pa.Table:
        return pa.table({name: plain_layout(rows.column(name)) for name, _ in self._key})

    def _each_column(self, rows: pa.Table) -> None:
        def digest(name: str) -> None:
            for chunk in rows.column(name).chunks:
                self._columns[name].update(chunk)

        if self._threads == 1 or rows.num_rows < _WORTH_A_THREAD:
            for name in self._columns:
                digest(name)
            return
        with ThreadPoolExecutor(self._threads) as threads:
            for done in [threads.submit(digest, name) for name in self._columns]:
                done.result()


class ColumnDigest:
    """The digest of one column, fed array by array.

    Attributes:
        type: The type that counts: no dictionary, strings as `large_string`.
    """

    def __init__(self, kind: pa.DataType) -> None:
        self.type = kind
        self._rows = 0
        self._parts = (hashlib.sha256(), hashlib.sha256(), hashlib.sha256())

    def update(self, values: pa.Array) -> None:
        """Digest the next values, in any layout of the type."""
        if not len(values):
            return
        plain = plain_array(values)
        nulls, lengths, numbers = self._parts
        if plain.null_count:
            positions = np.flatnonzero(_numpy(plain.is_null())).astype(np.int64)
            nulls.update((positions + self._rows).data)
        if pa.types.is_large_string(self.type):
            ends, data = _text_buffers(plain)
            lengths.update(np.diff(ends).astype(np.int64, copy=False).data)
            numbers.update(data)
        else:
            numbers.update(_numbers(plain).data)
        self._rows += len(values)

    def hexdigest(self) -> str:
        """Return the digest of the values so far as 64 hex digits."""
        return hashlib.sha256(b"".join(part.digest() for part in self._parts)).hexdigest()


def _in_order(table: pa.Table, key: Sequence[str]) -> pa.Table:
    if is_strictly_ascending(table.select(list(key))):
        return table
    return table.sort_by([(name, "ascending") for name in key])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_string(plain) or pa.types.is_string_view(plain):
        return pa.large_string()
    if not any(holds(plain) for holds in _DIGESTIBLE):
        raise TypeError(f"no digest of {plain} values")
    return plain


def _text_buffers(values: pa.Array) -> tuple[np.ndarray, memoryview]:
    """Return the ends of each text, from the first one's begin, and the bytes of them all."""
    # What lies under a null is not part of the value, yet in the buffer.
    filled = values.fill_null("") if values.null_count else values
    _, ends, data = filled.buffers()
    width = np.int64 if pa.types.is_large_string(filled.type) else np.int32
    ends = np.frombuffer(ends, width)[filled.offset : filled.offset + len(filled) + 1]
    return ends, memoryview(data or b"")[ends[0] : ends[-1]]


def _numbers(values: pa.Array) -> np.ndarray:
    if pa.types.is_boolean(values.type):
        return _numpy(values.cast(pa.uint8()).fill_null(0))
    if not pa.types.is_floating(values.type):
        whole = {32: pa.int32(), 64: pa.int64()}
        is_time = pa.types.is_temporal(values.type)
        plain = values.view(whole[values.type.bit_width]) if is_time else values
        return _numpy(plain.fill_null(0))
    numbers = _numpy(values.fill_null(0.0))
    if np.isnan(numbers.min()):  # The quickest question; a minimum passes NaN on.
        numbers = np.where(np.isnan(numbers), np.nan, numbers).astype(numbers.dtype)
    return numbers


def _numpy(values: pa.Array) -> np.ndarray:
    return np.asarray(values.to_numpy(zero_copy_only=False))
