"""The log of a Delta table, on a local disk or on S3: made once, opened, and summed up.

Its commits are in `lake.table_commits`; which files a window has is `lake.table`'s business.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pyarrow as pa
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.entries import exists, is_dir
from batchinf_assets.lake.files import fsync
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_access import failed_on_the_way, storage_failure
from batchinf_assets.lake.table_commits import CHECKPOINT, COMMIT, LAST_CHECKPOINT, LOG

Read = TypeVar("Read")

KEEP_THE_LOG = {"delta.enableExpiredLogCleanup": "false"}
"""Which manifest a window was published with is asked of the log, also years later."""

LEGACY_WRITER = 2
"""The version of Delta's protocol for writers that delta-rs gives a table that needs no feature."""

CHECKPOINT_COMMITS = 100
"""Delta's usual distance between two sums of the log; who opens a table reads the commits since."""

LISTINGS = 5
"""Lists of a log's folder on a local disk until a gap in it is believed."""


def has_log(folder: Place) -> bool:
    """Say whether the table was ever made."""
    return is_dir(folder / LOG)


def open_table(folder: Place) -> DeltaTable:
    """Open a table that was made.

    Raises:
        DeltaError: The log is damaged.
        OSError: It cannot be read, or the store does not answer.
    """
    if isinstance(folder, Path):
        return _listed(lambda: DeltaTable(folder))
    return DeltaTable(folder.url, storage_options=folder.storage_options())


def up_to_date(folder: Place, opened: Callable[[Place], DeltaTable]) -> DeltaTable:
    """Return a table as of now.

    Args:
        folder: The table's root.
        opened: Gives the table that is brought up to date.

    Raises:
        ManifestInvalid: The log is damaged.
        OSError: It cannot be read.
        StorageRefused: The store does not let us read it.
        StorageUnavailable: The store does not answer.
    """
    try:
        table = opened(folder)
        if not isinstance(folder, Path):
            table.update_incremental()
        elif _has_moved(folder, table.version()):
            _listed(table.update_incremental)
    except (DeltaError, OSError) as error:
        if isinstance(folder, S3Place) and failed_on_the_way(error):
            raise storage_failure(folder / LOG, error) from error
        if isinstance(error, OSError):
            raise
        raise ManifestInvalid(
            f"The log {folder / LOG} of table {folder.name} cannot be read: "
            f"{str(error).splitlines()[0].rstrip('.')}.",
            next_step="Restore the folder from a backup; no file beside it was touched.",
        ) from error
    return table


def _listed(read: Callable[[], Read]) -> Read:
    """Read a log, and again where its folder was listed while commits came.

    Such a list may hold a commit and lack the one before it, which delta-rs takes for damage.
    """
    for _ in range(LISTINGS - 1):
        with suppress(DeltaError):
            return read()
    return read()


def _has_moved(folder: Path, known: int) -> bool:
    """Say whether a version is not the newest any more.

    One look tells: commits are numbered without a gap. And where ours is gone the whole log was
    replaced.
    """
    log = folder / LOG
    return exists(log / COMMIT.format(known + 1)) or not exists(log / COMMIT.format(known))


def make_table(folder: Place, columns: pa.Schema, partition: str) -> None:
    """Make a table unless somebody else did meanwhile.

    Its first commit is made aside and then put into its place as a whole: Delta lets two runs
    create a table twice over, and a run that dies inside leaves a log without a table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder if isinstance(folder, Path) else None
    with TemporaryDirectory(dir=aside, prefix=".") as staging:
        schema = DeltaSchema.from_arrow(columns)
        DeltaTable.create(
            staging, schema=schema, partition_by=[partition], configuration=KEEP_THE_LOG
        )
        made = Path(staging) / LOG
        if isinstance(folder, Path):
            fsync(made / COMMIT.format(0))
            if _renamed(made, folder / LOG):  # else another run was first
                fsync(folder)
        else:
            with suppress(FileExistsError):
                (folder / LOG / COMMIT.format(0)).create((made / COMMIT.format(0)).read_bytes())


def delta_features_asked(table: DeltaTable) -> frozenset[str]:
    """Return the features of Delta that a table asks its writers for.

    In the place of those that a version stands for which has no list of them, the version.
    """
    protocol = table.protocol()
    if protocol.writer_features is None and protocol.min_writer_version > LEGACY_WRITER:
        return frozenset([f"writer version {protocol.min_writer_version}"])
    return frozenset(protocol.writer_features or ())


def delta_features_needed(columns: DeltaSchema) -> frozenset[str]:
    """Return the features of Delta that a table of these columns asks for."""
    with TemporaryDirectory() as folder:
        return delta_features_asked(DeltaTable.create(folder, schema=columns))


def write_checkpoint(folder: Place) -> None:
    """Sum the log up; of a local one the sum has reached the disk when this returns.

    Else a machine that loses power forgets it, but not the pointer to it, and delta-rs refuses the
    table.

    Raises:
        DeltaError: The log is damaged.
        OSError: The disk is full or the folder cannot be written.
    """
    table = open_table(folder)
    table.create_checkpoint()
    if isinstance(folder, Path):
        log = folder / LOG
        for path in (log / CHECKPOINT.format(table.version()), log / LAST_CHECKPOINT, log):
            fsync(path)


def _renamed(folder: Path, target: Path) -> bool:
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False
    return True
