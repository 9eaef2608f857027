"""Small documents that are replaced only by who knows what they replace: compare and swap.

On a local disk a lock file beside the document makes reading, comparing and renaming one step; a
reader needs no lock, because `lake.files` renames whole files. An object store compares by itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from batchinf_assets.errors import BatchinfError
from batchinf_assets.lake.entries import exists
from batchinf_assets.lake.files import read_bounded, write_bytes
from batchinf_assets.lake.versioned import Versioned, outdated

LOCK_PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.005


class LockStuck(BatchinfError):
    """Another process has kept the lock of a document for far longer than a write takes."""


class ConditionalStore(Protocol):
    """A place in a store that compares versions by itself; errors as the functions below say."""

    def read_versioned(self) -> Versioned | None:
        """See the function of this name."""
        ...

    def create(self, content: bytes) -> str:
        """See the function of this name."""
        ...

    def replace(self, content: bytes, version: str) -> str:
        """See the function of this name."""
        ...


ConditionalPlace = Path | ConditionalStore


def read_versioned(place: ConditionalPlace) -> Versioned | None:
    """Read a document with its version, or None where there is none.

    Raises:
        DocumentTooLarge: It is larger than any document.
        OSError: It is there and cannot be read.
    """
    if not isinstance(place, Path):
        return place.read_versioned()
    try:
        content = read_bounded(place)
    except FileNotFoundError:
        return None
    return Versioned(content=content, version=_version(content))


def create(place: ConditionalPlace, content: bytes) -> str:
    """Write a document where there is none.

    Returns:
        Its version.

    Raises:
        FileExistsError: There is one; it was not touched.
        LockStuck: A process holds the document's lock and does not go on.
        OSError: The disk is full or the folder cannot be written.
    """
    if not isinstance(place, Path):
        return place.create(content)
    with locked(place):
        if exists(place):
            raise FileExistsError(f"{place} exists already")
        write_bytes(place, content)
    return _version(content)


def replace(place: ConditionalPlace, content: bytes, version: str) -> str:
    """Write a document in the place of exactly this version of it.

    Returns:
        The new version.

    Raises:
        Outdated: The document is another version by now, or gone; it was not touched.
        LockStuck: A process holds the document's lock and does not go on.
        OSError: The disk is full or the folder cannot be written.
    """
    if not isinstance(place, Path):
        return place.replace(content, version)
    with locked(place):
        found = read_versioned(place)
        if found is None or found.version != version:
            raise outdated(place)
        write_bytes(place, content)
    return _version(content)


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Keep every other process and thread from changing a document.

    The lock file stays: to remove it would let two processes lock two files of the same name.

    Raises:
        LockStuck: Somebody else kept the lock for `LOCK_PATIENCE_SECONDS`.
        OSError: The lock file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with lock.open("ab") as file:
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:  # a process can be stopped while it holds a lock
                raise LockStuck(
                    f"Another process has held {lock} for {LOCK_PATIENCE_SECONDS:.0f} s.",
                    next_step="Find it (`fuser` on that file) and let it go on, or end it.",
                )
            time.sleep(POLL_SECONDS)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
