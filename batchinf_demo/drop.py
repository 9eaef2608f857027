"""Drop a file as a careful upstream system does: whole, and only where it is another one."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.lake.place import Place


def write_if_changed(place: Place, table: pa.Table) -> bool:
    """Write `table` unless `place` holds the same bytes; return whether it did."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, write_page_checksum=True)
    content = sink.getvalue().to_pybytes()
    if place.is_file() and place.read_bytes() == content:
        return False
    if isinstance(place, Path):
        _write(place, content)
    else:
        place.write_bytes(content)
    return True


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps two landings at once from writing into one temporary file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
