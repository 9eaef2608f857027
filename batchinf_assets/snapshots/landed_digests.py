"""Digests of landed files, each file read once per process for as long as it does not change."""

from __future__ import annotations

import errno
import stat
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.snapshots.parts import digest_of_parts, is_folder_of_parts, parts_of


@dataclass(frozen=True)
class LandedDigests:
    """The digests of the files below a landing folder, as they are when first asked for.

    Attributes:
        folder: The landing folder.
    """

    folder: Path
    _known: dict[str, str | None] = field(default_factory=dict[str, str | None], repr=False)

    def sha256(self, path: str) -> str | None:
        """Return the digest of a file by its path below the folder, None where there is no file.

        Raises:
            OSError: It is there and cannot be read, or went while it was read.
        """
        if path not in self._known:
            self._known[path] = _digest_of(self.folder / path)
        return self._known[path]


def _digest_of(path: Path) -> str | None:
    if not is_folder_of_parts(path):
        return _digest_of_file(path)
    digests = [(part.name, _digest_of_file(part)) for part in parts_of(path)]
    known = [(name, sha256) for name, sha256 in digests if sha256 is not None]
    return digest_of_parts(known) if known else None


def _digest_of_file(path: Path) -> str | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for who writes to it
        raise OSError(errno.EISDIR, "is no file", str(path))
    return _read(path, status.st_ino, status.st_ctime_ns, status.st_size)


@lru_cache(maxsize=100_000)
def _read(path: Path, _inode: int, _changed: int, _size: int) -> str:
    return file_sha256(path)
