"""Parquet files: judged by what their footer says, then decoded without writing out repeated texts.

The bytes are in memory already; nothing here opens files. Nested columns that nobody declared are
not decoded: what they would take is not in the footer.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchinf_assets.checks import quoted
from batchinf_assets.errors import LandingFault
from batchinf_assets.snapshots.file_limits import FileLimits, is_text

_MAGIC = b"PAR1"
_SMALLEST = 12
"""Magic at both ends and the length of the footer."""

_BITS = {"BOOLEAN": 1, "INT32": 32, "FLOAT": 32}
"""Of a decoded value by physical type; all others take at least 64."""


def decode_parquet(content: bytes, limits: FileLimits, declared: Container[str]) -> pa.Table:
    """Decode a Parquet file; the writer's metadata is left behind.

    Nested columns that are not declared come out as columns of nulls.

    Args:
        content: The whole file.
        limits: Rows, columns and size are judged by the footer, before anything is decoded.
        declared: Names of the columns that may not be nested; what else the file has is free.

    Raises:
        LandedFileUnreadable: It is no Parquet file, incomplete, damaged, above a limit, or a name
            in it stands twice.
    """
    _require_whole(content, limits)
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        _require_schema(file.schema_arrow, declared, limits)
        _require_footer(file, limits)
        return _decoded(content, file, limits)
    except pa.ArrowMemoryError:
        raise
    except UnicodeDecodeError as error:
        clause = "has a column name that is not UTF-8"
        raise limits.refused(LandingFault.BAD_ENCODING, clause) from error
    except (pa.ArrowException, OSError) as error:
        clause = f"is no whole Parquet file ({_first_line(error)})"
        raise limits.refused(LandingFault.DAMAGED, clause) from error


def _require_whole(content: bytes, limits: FileLimits) -> None:
    if not content.startswith(_MAGIC):
        clause = "is no whole Parquet file (it does not begin like one)"
        raise limits.refused(LandingFault.NOT_PARQUET, clause)
    if len(content) < _SMALLEST or not content.endswith(_MAGIC):
        clause = "is no whole Parquet file (it does not end like one)"
        raise limits.refused(LandingFault.TRUNCATED, clause)


def _require_schema(schema: pa.Schema, declared: Container[str], limits: FileLimits) -> None:
    limits.require_columns(len(schema.names))
    require_distinct(schema.names, limits)
    for field in schema:
        if field.name in declared and pa.types.is_nested(field.type):
            clause = (
                f"has nested values in column '{quoted(field.name)}' ({quoted(str(field.type))})"
            )
            raise limits.refused(LandingFault.NESTED_COLUMN, clause)


def require_distinct(names: Iterable[str], limits: FileLimits, place: str = "") -> None:
    """Require that no column's name stands twice.

    Raises:
        LandedFileUnreadable: One does; `place` says where, as in ` in line 1`.
    """
    seen = set[str]()
    for name in names:
        if name in seen:
            clause = f"names column '{quoted(name)}' twice{place}"
            raise limits.refused(LandingFault.DUPLICATE_COLUMN, clause)
        seen.add(name)


def _require_footer(file: pq.ParquetFile, limits: FileLimits) -> None:
    # Not `group.column(…)`: where the footer is damaged, pyarrow 26 ends the process there.
    footer = file.metadata
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    limits.require_columns(footer.num_columns)
    count = max(footer.num_rows, sum(group.num_rows for group in groups))
    limits.require_rows(count)
    row_bits = sum(_BITS.get(leaf.physical_type, 64) for leaf in _leaves(file))
    encoded = sum(group.total_byte_size for group in groups)
    limits.require_decoded(max(encoded, count * row_bits // 8))


def _leaves(file: pq.ParquetFile) -> list[pq.ColumnSchema]:
    return [file.schema.column(index) for index in range(file.metadata.num_columns)]


def _text_leaves(file: pq.ParquetFile) -> list[str]:
    texts = [leaf for leaf in _leaves(file) if leaf.physical_type == "BYTE_ARRAY"]
    return [leaf.path for leaf in texts if leaf.logical_type.type != "DECIMAL"]


def _decoded(content: bytes, file: pq.ParquetFile, limits: FileLimits) -> pa.Table:
    """Read the rows, texts as dictionaries until it is known what they would take written out.

    A text that stands once in a file of kilobytes can stand in millions of its rows.
    """
    flat = [field.name for field in file.schema_arrow if not pa.types.is_nested(field.type)]
    reader = pq.ParquetFile(
        pa.BufferReader(content),
        page_checksum_verification=True,
        read_dictionary=_text_leaves(file),
    )
    groups = list(_groups(reader, flat, limits))
    rows = pa.concat_tables(groups) if groups else reader.read(flat)
    if rows.num_rows != file.metadata.num_rows:
        clause = f"has {rows.num_rows} rows, its footer says {file.metadata.num_rows}"
        raise limits.refused(LandingFault.DAMAGED, clause)
    limits.require_texts(rows)
    for index, column in enumerate(rows.columns):
        if pa.types.is_dictionary(column.type):
            field = rows.field(index).with_type(column.type.value_type)
            rows = rows.set_column(index, field, column.cast(field.type))
    for index, name in enumerate(file.schema_arrow.names):
        if name not in flat:
            rows = rows.add_column(index, name, pa.nulls(rows.num_rows))
    return rows.replace_schema_metadata(None)


def _groups(reader: pq.ParquetFile, names: list[str], limits: FileLimits) -> Iterator[pa.Table]:
    """Read one row group after the other, as a footer may say less than the pages hold."""
    decoded = 0
    for index in range(reader.metadata.num_row_groups):
        rows = reader.read_row_group(index, columns=names)
        decoded += rows.nbytes + sum(map(_text_bytes, rows.columns))
        limits.require_decoded(decoded)
        yield rows


def _text_bytes(column: pa.ChunkedArray) -> int:
    if not (pa.types.is_dictionary(column.type) and is_text(column.type.value_type)):
        return 0
    lengths = [pc.take(pc.binary_length(c.dictionary), c.indices) for c in column.chunks]
    return sum(pc.sum(length.cast(pa.int64())).as_py() or 0 for length in lengths)


def _first_line(error: Exception) -> str:
    return quoted(str(error).strip().partition("\n")[0].rstrip("."))
