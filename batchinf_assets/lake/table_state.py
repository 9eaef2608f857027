"""What a table's log says of its windows: their files, and the tokens of those who wrote them.

delta-rs reads a log as a whole. What was committed since is read commit by commit
(https://github.com/delta-io/delta/blob/master/PROTOCOL.md): delta-rs would list the folder for it,
and then all files of the table anew, which takes longer than a small window's own work.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from batchinf_assets.lake.place import Place
from batchinf_assets.lake.table_commits import COMMIT, LOG, forget_commits, tokens_at
from batchinf_assets.lake.table_log import CHECKPOINT_COMMITS, open_table, up_to_date
from batchinf_assets.windows import Window

PARTITION = "window"


@dataclass(frozen=True, kw_only=True)
class TableState:
    """A table's windows as of one version.

    Attributes:
        folder: The table's root.
        version: The newest commit.
        files: The bytes of each file by its path as the log writes it, a URL below `folder`, by
            window key.
        tokens: By window key, where a commit that delta-rs has not read says it.
        read: The table as of the version that delta-rs read last.
        newest: Which file the newest commit is, on a local disk.
    """

    folder: Place
    version: int
    files: Mapping[str, Mapping[str, int]]
    tokens: Mapping[str, int]
    read: DeltaTable
    newest: tuple[int, int] | None

    def token_of(self, window: Window) -> int:
        """Return the highest token that the log knows for a window, 0 without one."""
        token = self.tokens.get(window.key)
        if token is None:
            token = tokens_at(self.folder, self.read.version()).get(window.key, 0)
        return token


def table_state(folder: Place) -> TableState:
    """Return what the log of a table that was made says now.

    Raises:
        ManifestInvalid: The log is damaged.
        OSError: It cannot be read.
        StorageRefused: The store does not let us read it.
        StorageUnavailable: The store does not answer.
    """
    known = _known(folder)
    state = _followed(known) if known is not None else None
    _KNOWN[folder] = state = state or _read(folder)
    return state


_KNOWN: dict[Place, TableState] = {}


def _known(folder: Place) -> TableState | None:
    """Return the state that was read last, unless another log is in its place by now.

    So it is after a backup was restored; then all that was read of the old one is forgotten.
    """
    known = _KNOWN.get(folder)
    if known is not None and known.newest != _file(folder, known.version):
        _opened.cache_clear()
        forget_commits(folder)
        return None
    return known


@lru_cache(maxsize=64)
def _opened(folder: Place) -> DeltaTable:
    """Open a table for reading once per process; who reads brings it up to date first.

    Writers open their own: what a commit is based on must not move with somebody else's reading.
    """
    return open_table(folder)


def read_table(folder: Place) -> DeltaTable:
    """Return the table itself as of now; fails as `table_state` does."""
    _known(folder)
    return up_to_date(folder, _opened)


def _read(folder: Place) -> TableState:
    table = up_to_date(folder, _opened)
    version = table.version()
    actions = pa.table(table.get_add_actions(flatten=True))
    columns = [actions.column(n) for n in (f"partition.{PARTITION}", "path", "size_bytes")]
    files: dict[str, dict[str, int]] = {}
    for key, path, size in zip(*(column.to_pylist() for column in columns), strict=True):
        files.setdefault(str(key), {})[str(path)] = int(size)
    newest = _file(folder, version)
    return TableState(
        folder=folder, version=version, files=files, tokens={}, read=table, newest=newest
    )


def _file(folder: Place, version: int) -> tuple[int, int] | None:
    """Tell a commit's file from another one of its name; None where there is none to look at."""
    if not isinstance(folder, Path):
        return None
    try:
        found = (folder / LOG / COMMIT.format(version)).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _followed(known: TableState) -> TableState | None:
    """Return the state after the commits since; None where delta-rs has to read the log.

    So it has after so many that the log was summed up since, as it begins with the newest sum.
    """
    contents = _contents(known.folder / LOG, known.version + 1)
    newer = [*islice(contents, CHECKPOINT_COMMITS + 1)]
    if not newer:
        return known
    if len(newer) > CHECKPOINT_COMMITS:
        return None
    files, tokens = dict(known.files), dict(known.tokens)
    if not all(_applied(content, files, tokens) for content in newer):
        return None
    version = known.version + len(newer)
    newest = _file(known.folder, version)
    return replace(known, version=version, files=files, tokens=tokens, newest=newest)


def _contents(log: Place, version: int) -> Iterator[bytes]:
    """Read commits until there is none: they are numbered without a gap, and each appears whole."""
    with suppress(FileNotFoundError):
        for number in count(version):
            yield (log / COMMIT.format(number)).read_bytes()


def _applied(content: bytes, files: dict[str, Mapping[str, int]], tokens: dict[str, int]) -> bool:
    """Follow a commit; False where it says what only delta-rs understands, or is damaged."""
    try:
        actions: list[Any] = [json.loads(line) for line in content.splitlines()]
    except ValueError:
        return False
    removed, added = defaultdict[str, set[str]](set), defaultdict[str, dict[str, int]](dict)
    for action in actions:
        match action:
            case {"add": {"deletionVector": dict()}}:
                return False
            case {
                "add": {
                    "path": str(path),
                    "size": int(size),
                    "partitionValues": {"window": str(key)},
                }
            }:
                added[key][path] = size
            case {"remove": {"path": str(path), "partitionValues": {"window": str(key)}}}:
                removed[key].add(path)
            case {"txn": {"appId": str(key), "version": int(token)}}:
                tokens[key] = token
            case {"commitInfo": _}:
                pass
            case _:
                return False
    _exchange(files, removed, added)
    return True


def _exchange(
    files: dict[str, Mapping[str, int]],
    removed: Mapping[str, Collection[str]],
    added: Mapping[str, Mapping[str, int]],
) -> None:
    """Change each window at once, because it may have thousands of files."""
    for key in {*removed, *added}:
        before, gone = files.pop(key, {}), removed.get(key, ())
        left = {path: size for path, size in before.items() if path not in gone}
        left |= added.get(key, {})  # a file that is removed and added stays
        files |= {key: left} if left else {}
