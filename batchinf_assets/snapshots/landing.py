"""Landed files: read whole, once, so that the bytes that were hashed are the bytes that are used.

Nothing here judges rows; `contracts` does.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchinf_assets.errors import LandedFileMissing, LandedFileUnreadable
from batchinf_assets.manifest import FileRecord
from batchinf_assets.snapshots.recent_rows import RecentRows
from batchinf_assets.windows import Window

MAX_DECODED_BYTES = 8 * 2**30
CACHED_BYTES = 512 * 10**6

CLOCK_TICK_SECONDS = 0.02
"""Two changes of a file within one tick of the kernel's clock can leave the same change time."""


@dataclass(frozen=True, kw_only=True)
class LandedFile:
    """One file as an upstream system dropped it.

    Attributes:
        record: Its path below the landing folder, digest and size.
        rows: Its rows, as they are.
    """

    record: FileRecord
    rows: pa.Table


@dataclass(frozen=True)
class Landing:
    """The folder into which upstream systems drop files.

    Attributes:
        folder: The landing folder.
        shown: How messages call it.
    """

    folder: Path
    shown: str

    def path(self, pattern: str, window: Window | None = None) -> Path:
        """Return the file that a declared pattern means for a window."""
        return self.folder / (pattern.replace("{window}", window.key) if window else pattern)

    def read(self, pattern: str, window: Window | None = None) -> LandedFile:
        """Read a declared file.

        Raises:
            LandedFileMissing: It has not landed.
            LandedFileUnreadable: It is empty, truncated, no Parquet file, closed to us, or somebody
                wrote to it meanwhile.
        """
        path = self.path(pattern, window)
        name = f"{self.shown}/{path.relative_to(self.folder).as_posix()}"
        try:
            status = path.stat()
        except PermissionError as error:
            raise _unreadable(name, "lies in a folder that cannot be read") from error
        except OSError as error:
            window_clause = f" of window {window}" if window else ""
            raise LandedFileMissing(
                f"{name}{window_clause} has not landed.",
                next_step="Drop the file there and run the window again.",
            ) from error
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(name, "is no file")
        found = _recent.get(path, _identity(status), lambda: _read(path, name))
        relative = path.relative_to(self.folder).as_posix()
        record = found.record.model_copy(update={"path": relative})
        return LandedFile(record=record, rows=found.rows)


_recent = RecentRows(CACHED_BYTES)


def _read(path: Path, name: str) -> tuple[FileRecord, pa.Table]:
    try:
        content = _unchanged_bytes(path, name)
    except OSError as error:
        raise _unreadable(name, f"cannot be read ({error.strerror})") from error
    if not content:
        raise _unreadable(name, "is empty (0 bytes)")
    record = FileRecord(path=name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    try:
        return record, _decoded(content, name)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise _unreadable(name, f"is no whole Parquet file ({reason})") from error


def _unchanged_bytes(path: Path, name: str) -> bytes:
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        if time.time() - before.st_ctime < CLOCK_TICK_SECONDS:
            time.sleep(CLOCK_TICK_SECONDS)
            before = os.fstat(file.fileno())
        content = file.read()
        after = os.fstat(file.fileno())
    if _identity(before) != _identity(after) or len(content) != after.st_size:
        raise LandedFileUnreadable(
            f"{name} was changed while it was read.",
            next_step="Run the window again once it is written; upstream should write elsewhere "
            "and then rename the file.",
        )
    return content


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    """Copying tools set the modification time back; nothing sets the change time."""
    return status.st_ino, status.st_ctime_ns, status.st_size


def _decoded(content: bytes, name: str) -> pa.Table:
    """Read the rows, texts as dictionaries until it is known what they would take written out.

    A text that stands once in a file of kilobytes can stand in millions of its rows.
    """
    file = pq.ParquetFile(io.BytesIO(content))
    groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
    _require_bounded(sum(max(c.total_uncompressed_size, 8 * c.num_values) for c in chunks), name)
    leaves = [file.schema.column(index) for index in range(file.metadata.num_columns)]
    texts = [leaf.path for leaf in leaves if leaf.logical_type.type in ("STRING", "NONE")]
    rows = pq.ParquetFile(
        io.BytesIO(content), page_checksum_verification=True, read_dictionary=texts
    ).read()
    encoded = [column for column in rows.columns if pa.types.is_dictionary(column.type)]
    _require_bounded(rows.nbytes + sum(map(_text_bytes, encoded)), name)
    for index, column in enumerate(rows.columns):
        if pa.types.is_dictionary(column.type):
            field = rows.field(index).with_type(column.type.value_type)
            rows = rows.set_column(index, field, column.cast(field.type))
    return rows.replace_schema_metadata(None)


def _text_bytes(column: pa.ChunkedArray) -> int:
    lengths = [pc.take(pc.binary_length(c.dictionary), c.indices) for c in column.chunks]
    return sum(pc.sum(length.cast(pa.int64())).as_py() or 0 for length in lengths)


def _require_bounded(decoded: int, name: str) -> None:
    if decoded > MAX_DECODED_BYTES:
        raise _unreadable(name, f"decodes to {decoded} bytes, the limit is {MAX_DECODED_BYTES}")


def _unreadable(name: str, reason: str) -> LandedFileUnreadable:
    return LandedFileUnreadable(
        f"{name} {reason}.", next_step="Ask upstream to drop it again, then run the window again."
    )
