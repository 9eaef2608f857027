"""The log of a Delta table, on a local disk or on S3: made once, opened, and kept commit by commit.

Which files a window has is `lake.table`'s business. Commits are read and put as the documents they
are (https://github.com/delta-io/delta/blob/master/PROTOCOL.md): delta-rs would hold the interpreter
while it waits for S3, and with it the threads that score and the heartbeat of a lease.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.entries import exists, is_dir
from batchinf_assets.lake.files import fsync, naming, open_input, temporary_beside
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_access import failed_on_the_way, storage_failure

Read = TypeVar("Read")

LOG = "_delta_log"
COMMIT, CHECKPOINT = "{:020d}.json", "{:020d}.checkpoint.parquet"
LAST_CHECKPOINT = "_last_checkpoint"
KEEP_THE_LOG = {"delta.enableExpiredLogCleanup": "false"}
"""Which manifest a window was published with is asked of the log, also years later."""

LEGACY_WRITER = 2
"""The version of Delta's protocol for writers that delta-rs gives a table that needs no feature."""

CHECKPOINT_COMMITS = 100
"""Delta's usual distance between two sums of the log; who opens a table reads the commits since."""

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems say that make no hard links, FAT and some network shares among them."""

LISTINGS = 5
"""Lists of a log's folder on a local disk until a gap in it is believed."""

READERS = 8
"""Commits read at once, because each takes S3 a moment."""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One commit of a table.

    Attributes:
        version: The version that it made.
        metadata: What its writer said of it, and what delta-rs did.
        tokens: Those that it keeps, by window key.
    """

    version: int
    metadata: Mapping[str, str]
    tokens: Mapping[str, int]


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


def put_commit(folder: Place, version: int, actions: Iterable[Mapping[str, Any]]) -> None:
    """Put a commit where there is none, whole, also where delta-rs commits at the same time.

    Of a local one the content has reached the disk, its name once `sync_commits` returns.

    Args:
        folder: The table's root.
        version: The version that it makes.
        actions: What it says, as Delta's protocol has it.

    Raises:
        FileExistsError: There is one.
        OSError: The disk is full or the folder cannot be written.
        StorageRefused: The store lets us not write.
        StorageUnavailable: The store does not answer.
    """
    content = "\n".join(map(json.dumps, actions)).encode()
    place = folder / LOG / COMMIT.format(version)
    if not isinstance(place, Path):
        place.create(content)
        return
    if exists(place):  # what is written aside first has to reach the disk
        raise FileExistsError(f"{place} exists already")
    temporary = temporary_beside(place)
    try:
        temporary.write_bytes(content)
        fsync(temporary)
        _link(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def _link(file: Path, name: Path) -> None:
    """Give a file a second name, which fails where a rename would replace."""
    try:
        name.hardlink_to(file)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        why = "its file system makes no hard links"
        raise OSError(errno.EOPNOTSUPP, why, str(name)) from error


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


def now_milliseconds() -> int:
    """Return the time as a log has it."""
    return int(datetime.now(UTC).timestamp() * 1000)


def sync_commits(folder: Place, versions: Iterable[int]) -> None:
    """Wait until commits and all names are on the disk; on S3 they are as soon as they exist."""
    if isinstance(folder, Path):
        log = folder / LOG
        for path in (*(log / COMMIT.format(version) for version in versions), log):
            with naming(path):
                fsync(path)


def read_commits(folder: Place, versions: Sequence[int]) -> list[Commit]:
    """Read what commits say of themselves, in the order of `versions`.

    What was read before is not read again, because commits never change.

    Raises:
        ManifestInvalid: One is missing or damaged.
        OSError: One is there and cannot be read.
    """
    read = _READ.setdefault(folder, {})
    missing = [version for version in versions if version not in read]
    if len(missing) > 1:
        with ThreadPoolExecutor(READERS) as readers:
            found = list(readers.map(partial(_read_commit, folder), missing))
    else:
        found = [_read_commit(folder, version) for version in missing]
    read.update({commit.version: commit for commit in found})
    return [read[version] for version in versions]


def forget_commits(folder: Place) -> None:
    """Read commits anew from now on, because another log is in the place of the one that was."""
    _READ.pop(folder, None)
    tokens_at.cache_clear()


@lru_cache(maxsize=64)
def tokens_at(folder: Place, version: int) -> Mapping[str, int]:
    """Return the highest token that a log knows for each window, by key, as of one version.

    All at once: delta-rs would read the log's newest sum, and all commits since, for each window.

    Raises:
        ManifestInvalid: The log is damaged.
        OSError: It cannot be read.
        StorageRefused: The store does not let us read it.
        StorageUnavailable: The store does not answer.
    """
    summed, tokens = _sum_of_tokens(folder / LOG)
    for commit in read_commits(folder, range(summed + 1, version + 1)):
        tokens |= commit.tokens
    return tokens


def _sum_of_tokens(log: Place) -> tuple[int, dict[str, int]]:
    """Return the tokens of the newest sum, and its version; of none that is one file, none and -1.

    Then they are read from the commits: all are kept (`KEEP_THE_LOG`).
    """
    place = log / LAST_CHECKPOINT
    try:
        version = int(json.loads(place.read_bytes())["version"])
        place = log / CHECKPOINT.format(version)
        found = pq.read_table(open_input(place), columns=["txn"])["txn"].to_pylist()
        return version, {str(t["appId"]): int(t["version"]) for t in found if t is not None}
    except FileNotFoundError:
        return -1, {}
    except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise ManifestInvalid(
            f"The sum {place} of a table's log cannot be read.",
            next_step="Restore the folder from a backup; no file beside it was touched.",
        ) from error


def latest_commit(folder: Place, key: str, value: str, newest: int) -> Commit | None:
    """Return the newest commit with this value in its metadata, or None.

    It is looked for from the end, where most that are asked for lie.

    Args:
        folder: The table's root.
        key: The metadata's key.
        value: Its value.
        newest: The version to begin with.

    Raises:
        ManifestInvalid: A commit is missing or damaged.
    """
    for last in range(newest, -1, -READERS):
        for commit in read_commits(folder, range(last, max(last - READERS, -1), -1)):
            if commit.metadata.get(key) == value:
                return commit
    return None


_READ: dict[Place, dict[int, Commit]] = {}


def _read_commit(folder: Place, version: int) -> Commit:
    place = folder / LOG / COMMIT.format(version)
    try:
        lines: list[dict[str, Any]] = [json.loads(line) for line in place.read_bytes().splitlines()]
        info = next(_of(lines, "commitInfo"), {})
        metadata = {str(name): str(value) for name, value in info.items()}
        tokens = {str(t["appId"]): int(t["version"]) for t in _of(lines, "txn")}
    except (FileNotFoundError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ManifestInvalid(
            f"Commit {place} cannot be read.",
            next_step="Restore the folder from a backup; no file beside it was touched.",
        ) from error
    return Commit(version=version, metadata=metadata, tokens=tokens)


def _of(lines: Iterable[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
    return (line[kind] for line in lines if kind in line)


def _renamed(folder: Path, target: Path) -> bool:
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False
    return True
