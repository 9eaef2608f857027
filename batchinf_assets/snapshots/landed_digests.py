"""Digests of landed files, each file read once per process for as long as it does not change."""

from __future__ import annotations

import errno
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from batchinf_assets.errors import StorageRefused
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.s3_listing import ListedPlace
from batchinf_assets.snapshots.landed_status import Revision, revision_of
from batchinf_assets.snapshots.parts import digest_of_parts, is_folder_of_parts, parts_of


@dataclass(frozen=True)
class LandedDigests:
    """The digests of the files below a landing folder, as they are when first asked for.

    Attributes:
        folder: The landing folder.
    """

    folder: Place
    _known: dict[str, str | None] = field(default_factory=dict[str, str | None], repr=False)

    def sha256(self, path: str) -> str | None:
        """Return the digest of a file by its path below the folder, None where there is no file.

        Raises:
            OSError: It is there and cannot be read, or went while it was read.
        """
        if path not in self._known:
            self._known[path] = _digest_of(self.folder / path)
        return self._known[path]


@dataclass(kw_only=True)
class BoundedDigests:
    """Digests of windows' files, of which no more is read in one go than is allowed.

    What this process has read before costs nothing, so a file that was too much comes next time.

    Attributes:
        digests: Reads them.
        paths: Where each window's file lies, below the landing folder.
        sizes: How many bytes each has.
        allowed: Bytes to read; the first file is read whatever its size.
        seconds: How long after the first one was asked for files are begun: small files on S3 cost
            time, not bytes. What was done before, such as listing them, takes none of it.
        clock: A monotonic clock, in seconds.
        unreadable: Windows whose file could not be read, and why.
    """

    digests: LandedDigests
    paths: Mapping[str, str]
    sizes: Mapping[str, int]
    allowed: int
    seconds: float
    clock: Callable[[], float] = time.monotonic
    unreadable: dict[str, str] = field(default_factory=dict[str, str])
    _spent: int = 0
    _until: float | None = None

    def sha256(self, window: str) -> str | None:
        """Return the digest of a window's file, or None where it is not to be had now."""
        if self._spent >= self.allowed or self._is_late():
            return None
        before = _read.cache_info().misses
        try:
            found = self.digests.sha256(self.paths[window])
        except OSError as error:
            self.unreadable[window] = f"{self.paths[window]}: {error.strerror or 'unreadable'}"
            return None
        except StorageRefused:
            self.unreadable[window] = f"{self.paths[window]}: the store refused access"
            return None
        if _read.cache_info().misses > before:
            self._spent += self.sizes[window]
        return found

    def _is_late(self) -> bool:
        now = self.clock()
        if self._until is None:
            self._until = now + self.seconds
        return now >= self._until


def _digest_of(path: Place) -> str | None:
    if not is_folder_of_parts(path):
        return _digest_of_file(path)
    digests = [(part.name, _digest_of_file(part)) for part in parts_of(path)]
    known = [(name, sha256) for name, sha256 in digests if sha256 is not None]
    return digest_of_parts(known) if known else None


def _digest_of_file(path: Place) -> str | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for who writes to it
        raise OSError(errno.EISDIR, "is no file", str(path))
    place = path.alone() if isinstance(path, ListedPlace) else path
    return _read(place, revision_of(status))


@lru_cache(maxsize=100_000)
def _read(place: Place, _revision: Revision) -> str:
    return file_sha256(place)
