"""What a machine forgets when its power fails: the bytes of files that were not fsynced.

A killed process leaves the kernel's page cache, so a missing fsync shows nowhere else.
"""

from __future__ import annotations

import os
from pathlib import Path

from batchinf_assets_tests.resilience.folder_faults import Change

WRITES = {"write", "pwrite64", "writev", "ftruncate", "fallocate", "copy_file_range", "sendfile"}
SYNCS = {"fsync", "fdatasync"}


class PageCache:
    """Follow which files below a folder hold bytes that no fsync has put on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unsynced: set[int] = set()  # inodes: files are renamed and linked meanwhile

    def follow(self, change: Change) -> None:
        """Take note of a change that is about to happen."""
        path = self._folder / change.path
        if change.syscall in WRITES:
            self._unsynced.add(path.stat().st_ino)
        elif change.syscall in SYNCS:
            self._unsynced.discard(path.stat().st_ino)

    def lose(self) -> list[str]:
        """Leave every unsynced file empty, as ext4 and XFS do; return their names."""
        lost: list[str] = []
        for path in sorted(self._folder.rglob("*")):
            if path.is_file() and path.stat().st_ino in self._unsynced:
                os.truncate(path, 0)
                lost.append(path.relative_to(self._folder).as_posix())
        return lost
