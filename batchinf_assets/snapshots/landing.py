"""Landed files: read whole, once, so that the bytes that were hashed are the bytes that are used.

How bytes become rows is for `formats`; nothing here judges rows, `contracts` does.
"""

from __future__ import annotations

import errno
import hashlib
import stat
from collections.abc import Container, Mapping
from dataclasses import dataclass

import pyarrow as pa

from batchinf_assets.contracts.nullability import required_columns
from batchinf_assets.errors import LandedFileMissing, LandingFault
from batchinf_assets.lake.entries import is_dir
from batchinf_assets.lake.place import Place, path_within
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.snapshots.file_limits import FileLimits, unreadable
from batchinf_assets.snapshots.formats import FileFormat, decode, format_of
from batchinf_assets.snapshots.landed_bytes import ChangedWhileRead, unchanged_bytes
from batchinf_assets.snapshots.landed_status import Status, revision_of
from batchinf_assets.snapshots.parts import is_folder_of_parts, parts_of
from batchinf_assets.snapshots.recent_rows import RecentRows
from batchinf_assets.spec.contract import ColumnSpec, LimitsSpec
from batchinf_assets.windows import Window

CACHED_BYTES = 512 * 10**6


@dataclass(frozen=True, kw_only=True)
class LandedFile:
    """One file as an upstream system dropped it.

    Attributes:
        record: Its path below the landing folder, digest and size.
        rows: Its rows, as they are.
    """

    record: FileRecord
    rows: pa.Table

    def required(self, columns: Container[str]) -> frozenset[str] | None:
        """Return which of these columns it calls required; None where its format cannot say."""
        if not format_of(self.record.path).typed:
            return None
        return required_columns(self.rows.schema, columns)


@dataclass(frozen=True)
class Landing:
    """The folder, or the place on S3, into which upstream systems drop files.

    Attributes:
        folder: The landing folder.
        shown: How messages call it.
    """

    folder: Place
    shown: str

    def path(self, pattern: str, window: Window | None = None) -> Place:
        """Return the file that a declared pattern means for a window."""
        return self.folder / (pattern.replace("{window}", window.key) if window else pattern)

    def read(
        self,
        pattern: str,
        window: Window | None = None,
        *,
        limits: LimitsSpec,
        columns: Mapping[str, ColumnSpec],
    ) -> LandedFile:
        """Read a declared file.

        Args:
            pattern: The path below the landing folder; its ending is the format.
            window: The window that the pattern is for.
            limits: What the file may ask of this machine.
            columns: The declared columns: texts of CSV and JSON Lines get their types.

        Raises:
            InvalidSpec: The pattern's ending is no known format.
            LandedFileMissing: It has not landed.
            LandedFileUnreadable: It is empty, damaged, not of its format, above a limit, closed to
                us, or somebody wrote to it meanwhile.
        """
        path = self.path(pattern, window)
        relative = path_within(path, self.folder)
        name = f"{self.shown}/{relative}"
        reading = _Reading(path, name, format_of(pattern), limits, columns)
        try:
            status = _status(path, name)
        except FileNotFoundError as error:
            raise self._missing(name, window) from error
        found = _recent.get(path, reading.identity(status), reading.rows)
        record = found.record.model_copy(update={"path": relative})
        return LandedFile(record=record, rows=found.rows)

    def read_parts(
        self,
        pattern: str,
        window: Window,
        *,
        limits: LimitsSpec,
        columns: Mapping[str, ColumnSpec],
    ) -> tuple[LandedFile, ...]:
        """Read the file of a window, or all files of its folder in their order.

        Arguments and errors as for `read`; limits are those of each file.
        """
        path = self.path(pattern, window)
        if not is_folder_of_parts(path):
            return (self.read(pattern, window, limits=limits, columns=columns),)
        names = [path_within(part, self.folder) for part in parts_of(path)]
        if not names:
            raise self._missing(f"{self.shown}/{path_within(path, self.folder)}", window)
        return tuple(self.read(name, limits=limits, columns=columns) for name in names)

    def _missing(self, name: str, window: Window | None) -> LandedFileMissing:
        """Tell a file that has not landed from a place where nothing can: S3 says the same of both.

        Raises:
            StorageUnavailable: There is no such bucket.
        """
        of_window = f" of window {window}" if window else ""
        if not is_dir(self.folder):
            return LandedFileMissing(
                f"The landing folder {self.shown} is not there, so neither is {name}{of_window}.",
                next_step="Set BATCHINF_LANDING to where files land, or mount it; then run the "
                "window again.",
            )
        return LandedFileMissing(
            f"{name}{of_window} has not landed.",
            next_step="Drop the file there and run the window again.",
        )


_recent = RecentRows(CACHED_BYTES)


@dataclass(frozen=True)
class _Reading:
    """One way to read one file."""

    path: Place
    name: str
    file_format: FileFormat
    limits: LimitsSpec
    columns: Mapping[str, ColumnSpec]

    def identity(self, status: Status) -> tuple[int | str, ...]:
        """Tell this file, read in this way, from others."""
        types = () if self.file_format.typed else self.columns.items()
        declared = ",".join(f"{name} {column.type}" for name, column in types)
        return *revision_of(status), self.limits.model_dump_json(), declared

    def rows(self) -> tuple[FileRecord, pa.Table]:
        """Read and decode it; only bytes that nobody changed meanwhile count."""
        try:
            content = unchanged_bytes(self.path, self._require_size)
            digest = hashlib.sha256(content).hexdigest()
            record = FileRecord(path=self.name, sha256=digest, bytes=len(content))
            limits = self._limited(len(content))
            return record, decode(content, self.file_format, self.columns, limits)
        except ChangedWhileRead as error:
            clause = "was changed while it was read"
            raise unreadable(self.name, LandingFault.CHANGED_WHILE_READ, clause) from error
        except MemoryError as error:
            clause = "does not fit in this machine's memory"
            raise unreadable(self.name, LandingFault.TOO_LARGE, clause) from error
        except OSError as error:
            clause = f"cannot be read ({error.strerror})"
            raise unreadable(self.name, LandingFault.UNREADABLE, clause) from error

    def _limited(self, file_bytes: int) -> FileLimits:
        return FileLimits(name=self.name, file_bytes=file_bytes, declared=self.limits)

    def _require_size(self, file_bytes: int) -> None:
        self._limited(file_bytes).require_file_bytes()


def _status(path: Place, name: str) -> Status:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:
        raise FileNotFoundError(*error.args) from error
    except PermissionError as error:
        clause = "lies in a folder that cannot be read"
        raise unreadable(name, LandingFault.UNREADABLE, clause) from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # no file can lie there
            raise FileNotFoundError(*error.args) from error
        # A file system that is gone tells nothing of the file.
        clause = f"cannot be read ({error.strerror})"
        raise unreadable(name, LandingFault.UNREADABLE, clause) from error
    if not stat.S_ISREG(status.st_mode):
        raise unreadable(name, LandingFault.NO_FILE, "is no file")
    return status
