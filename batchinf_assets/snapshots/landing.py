"""Landed files: read whole, once, so that the bytes that were hashed are the bytes that are used.

Nothing here judges rows; `contracts` does.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.errors import LandedFileMissing, LandedFileUnreadable
from batchinf_assets.manifest import FileRecord
from batchinf_assets.windows import Window

MAX_DECODED_BYTES = 8 * 2**30
CACHED_FILES = 64


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
            LandedFileUnreadable: It is empty, truncated or no Parquet file.
        """
        path = self.path(pattern, window)
        name = f"{self.shown}/{path.relative_to(self.folder).as_posix()}"
        try:
            status = path.stat()
        except OSError as error:
            window_clause = f" of window {window}" if window else ""
            raise LandedFileMissing(
                f"{name}{window_clause} has not landed.",
                next_step="Drop the file there and run the window again.",
            ) from error
        identity = (status.st_ino, status.st_mtime_ns, status.st_size)
        record, rows = _read(path, name, identity)
        relative = path.relative_to(self.folder).as_posix()
        return LandedFile(record=record.model_copy(update={"path": relative}), rows=rows)


@lru_cache(maxsize=CACHED_FILES)
def _read(path: Path, name: str, _identity: tuple[int, int, int]) -> tuple[FileRecord, pa.Table]:
    content = path.read_bytes()
    if not content:
        raise _unreadable(name, "is empty (0 bytes)")
    record = FileRecord(path=name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    try:
        file = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
        _require_bounded(file, name)
        return record, file.read().replace_schema_metadata(None)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise _unreadable(name, f"is no whole Parquet file ({reason})") from error


def _require_bounded(file: pq.ParquetFile, name: str) -> None:
    groups = range(file.metadata.num_row_groups)
    decoded = sum(file.metadata.row_group(index).total_byte_size for index in groups)
    if decoded > MAX_DECODED_BYTES:
        raise _unreadable(name, f"decodes to {decoded} bytes, the limit is {MAX_DECODED_BYTES}")


def _unreadable(name: str, reason: str) -> LandedFileUnreadable:
    return LandedFileUnreadable(
        f"{name} {reason}.", next_step="Ask upstream to drop it again, then run the window again."
    )
