"""The commits of a Delta table's log: put whole where there is none, and read for what they say.

How a log is made, opened and summed up is `lake.table_log`'s business. Commits are read and put as
the documents they are (https://github.com/delta-io/delta/blob/master/PROTOCOL.md): delta-rs would
hold the interpreter while it waits for S3, and with it the threads that score and the heartbeat of
a lease.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.entries import exists
from batchinf_assets.lake.files import fsync, naming, open_input, temporary_beside
from batchinf_assets.lake.place import Place

LOG = "_delta_log"
COMMIT, CHECKPOINT = "{:020d}.json", "{:020d}.checkpoint.parquet"
LAST_CHECKPOINT = "_last_checkpoint"

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems say that make no hard links, FAT and some network shares among them."""

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

    Then they are read from the commits: all are kept (`table_log.KEEP_THE_LOG`).
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
