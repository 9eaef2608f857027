"""How our Parquet files are laid out: encodings by type, compression, page checksums.

Chosen by measurement on random float32 features (see `docs/decisions/0010-scoring-engine.md`):
floats without a dictionary and LZ4 decode at twice the speed of zstd; numbers that ascend, such as
keys, shrink by their differences.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

ROW_GROUP_ROWS = 131_072
"""Most rows of a row group: what a worker holds at a time."""


def parquet_options(schema: pa.Schema, *, scan: bool = False) -> dict[str, Any]:
    """Return the options of a Parquet writer.

    Args:
        schema: The columns.
        scan: Whether reading speed comes before size: floats are then written as they are.
    """
    floats = "PLAIN" if scan else "BYTE_STREAM_SPLIT"
    encodings = {field.name: _encoding(field.type, floats) for field in schema}
    return {
        "compression": "lz4",
        "use_dictionary": [name for name, encoding in encodings.items() if encoding is None],
        "column_encoding": {name: chosen for name, chosen in encodings.items() if chosen},
        "write_page_checksum": True,
    }


def row_group_rows(shard_rows: int) -> int:
    """Return how many rows a row group has, so that whole groups make shards of `shard_rows`.

    At most `ROW_GROUP_ROWS`. Where the groups do not come out even, a shard is a few rows smaller.
    """
    groups = -(-shard_rows // ROW_GROUP_ROWS)
    return shard_rows // groups


def _encoding(type_: pa.DataType, floats: str) -> str | None:
    if pa.types.is_floating(type_):
        return floats
    if pa.types.is_integer(type_) or pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        return "DELTA_BINARY_PACKED"
    return None
