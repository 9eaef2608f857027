"""A window's source in one file, or in a folder of several that are read as one.

`flights/{window}/*.parquet` means every such file of the window's folder, in the order of their
names. Where the key of a row stands in a later file again, the later row counts: a correction is
one more file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePath

import pyarrow as pa

from batchinf_assets.lake.digest import file_sha256, json_sha256
from batchinf_assets.lake.entries import is_file
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.query import query, quoted
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.snapshots.landed_status import Status, change_time_of

_PART = "file of the row"
"""With blanks in it no declared column is called like it."""

Identity = tuple[int, int]
"""Change time in nanoseconds, as `change_time_of` has it, and size: cheap to read; no copying tool
can set the change time."""


def is_folder_of_parts(path: Place | PurePath) -> bool:
    """Whether a place means all files of a folder with this ending."""
    return path.name.startswith("*.")


def parts_of(path: Place) -> tuple[Place, ...]:
    """Return the files that a place means, in the order in which they count.

    A single file is returned whether it is there or not. Hidden files are somebody's unfinished
    ones.
    """
    if not is_folder_of_parts(path):
        return (path,)
    found = (each for each in path.parent.glob(path.name) if not each.name.startswith("."))
    return tuple(sorted((each for each in found if is_file(each)), key=lambda each: each.parts))


def identity_of(path: Place) -> Identity:
    """Return what changes whenever one of the files is written, added or removed.

    Raises:
        OSError: A file is gone.
    """
    found = _statuses(path)
    return change_time_of(found), sum(each.st_size for each in found)


def landed_at(path: Place) -> datetime:
    """Return since when what landed surely has its bytes: the change time of its newest file.

    Copying tools set the modification time to whatever it was elsewhere. The change time is the
    kernel's own; it can be later than the last write (a rename, another owner), never earlier.

    Raises:
        OSError: A file is not there.
    """
    return datetime.fromtimestamp(max(each.st_ctime for each in _statuses(path)), UTC)


def _statuses(path: Place) -> list[Status]:
    found = [part.stat() for part in parts_of(path)]
    if not found:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return found


def landed_sha256(path: Place) -> str:
    """Return the digest that `source_record` gives to what lies at a place now.

    Raises:
        OSError: A file is gone or cannot be read.
    """
    if not is_folder_of_parts(path):
        return file_sha256(path)
    return digest_of_parts([(part.name, file_sha256(part)) for part in parts_of(path)])


def digest_of_parts(parts: Sequence[tuple[str, str]]) -> str:
    """Digest several files by their names and digests, in their order."""
    return json_sha256([list(part) for part in parts])


def source_record(path: str, parts: Sequence[FileRecord]) -> FileRecord:
    """Describe what was read from a place by its path below the landing folder."""
    if not is_folder_of_parts(PurePath(path)):
        return parts[0]
    digests = [(PurePath(part.path).name, part.sha256) for part in parts]
    size = sum(part.bytes for part in parts)
    return FileRecord(path=path, sha256=digest_of_parts(digests), bytes=size)


def newest_rows(parts: Sequence[pa.Table], key: Sequence[str]) -> pa.Table:
    """Put files together: of the rows with one key those of the last file that has it.

    A row without a whole key replaces none and is replaced by none. Rows of one file that share
    their key all stay, for the contract to refuse.

    Args:
        parts: Rows of each file, of equal columns, the oldest first.
        key: Columns that identify a row.
    """
    if len(parts) == 1:
        return parts[0]
    numbered = [
        rows.append_column(_PART, pa.repeat(pa.scalar(at, pa.int32()), rows.num_rows))
        for at, rows in enumerate(parts)
    ]
    names, part = ", ".join(map(quoted, key)), quoted(_PART)
    missing = " OR ".join(f"{quoted(name)} IS NULL" for name in key)
    found = query(
        f"SELECT * EXCLUDE ({part}) FROM landed "  # noqa: S608 - every name is quoted
        f"QUALIFY {part} = max({part}) OVER (PARTITION BY {names}) OR {missing}",
        {"landed": pa.concat_tables(numbered)},
    )
    return found.cast(parts[0].schema)
