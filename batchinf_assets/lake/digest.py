"""Digests: of files byte by byte, and of rows whatever their order, chunks or file layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
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
    """Sort rows by the key columns, ascending."""
    return table.sort_by([(name, "ascending") for name in key])


def content_digest(table: pa.Table, key: Sequence[str]) -> str:
    """Digest the rows of a table as 64 hex digits.

    Row order, column order, chunking, dictionary encoding and string offset width do not matter;
    names, types, nulls and every value do. Values under a null are ignored, all NaN count as one.

    Args:
        table: Rows with a unique key.
        key: Columns that identify a row.

    Raises:
        TypeError: A column has a type whose values have no bytes of their own, such as a list.
    """
    plain = pa.table({name: _plain(table.column(name)) for name in sorted(table.column_names)})
    rows = sort_by(plain, key)
    digest = hashlib.sha256(f"batchinf-rows-1:{rows.num_rows}".encode())
    for name in rows.column_names:
        values = rows.column(name).combine_chunks()
        digest.update(canonical_json([name, str(values.type)]))
        digest.update(np.packbits(_numpy(values.is_valid())).tobytes())
        for part in _value_bytes(values):
            digest.update(part)
    return digest.hexdigest()


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text = pa.types.is_string(kind) or pa.types.is_string_view(kind)
    return column.cast(pa.large_string() if is_text else kind)


def _value_bytes(values: pa.Array) -> list[bytes]:
    if pa.types.is_large_string(values.type):
        filled = values.fill_null("")
        lengths = _numpy(pc.binary_length(filled)).astype(np.int64)
        return [lengths.tobytes(), "".join(filled.to_pylist()).encode()]
    if pa.types.is_boolean(values.type):
        return [np.packbits(_numpy(values.fill_null(fill_value=False))).tobytes()]
    if pa.types.is_floating(values.type):
        numbers = _numpy(values.fill_null(0.0))
        return [np.where(np.isnan(numbers), np.nan, numbers).astype(numbers.dtype).tobytes()]
    if pa.types.is_timestamp(values.type) or pa.types.is_date64(values.type):
        return [_numpy(values.cast(pa.int64()).fill_null(0)).tobytes()]
    if pa.types.is_date32(values.type):
        return [_numpy(values.cast(pa.int32()).fill_null(0)).tobytes()]
    if not pa.types.is_integer(values.type):
        raise TypeError(f"no digest of {values.type} values")
    return [_numpy(values.fill_null(0)).tobytes()]


def _numpy(values: pa.Array) -> np.ndarray:
    return np.asarray(values.to_numpy(zero_copy_only=False))
