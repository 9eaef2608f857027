"""What lies in a folder of a lake, or a failure: never less than is there.

`Path.glob` takes a folder that it may not list for an empty one, and `Path.exists`, `is_file` and
`is_dir` of Python 3.14 take what they may not look at for nothing. But what a lake does not hold
decides what readers see: a manifest without a signature, a revision that nobody condemned.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import overload

from batchinf_assets.lake.place import Place


@overload
def entries(folder: Path, pattern: str) -> Iterator[Path]: ...
@overload
def entries(folder: Place, pattern: str) -> Iterator[Place]: ...
def entries(folder: Place, pattern: str) -> Iterator[Place]:
    """Yield what lies below a folder and matches part by part, by name; nothing without a folder.

    Args:
        folder: Where to look.
        pattern: Parts as `fnmatch` has them, with slashes between; there is no `**`.

    Raises:
        OSError: A folder is there and cannot be listed.
        StorageRefused: The store lets us not list it.
        StorageUnavailable: The store does not answer.
    """
    if not isinstance(folder, Path):
        yield from folder.glob(pattern)
        return
    first, _, rest = pattern.partition("/")
    for entry in _scanned(folder):
        if not fnmatchcase(entry.name, first):
            continue
        if not rest:
            yield folder / entry.name
        elif entry.is_dir():
            yield from entries(folder / entry.name, rest)


def _scanned(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def exists(place: Place) -> bool:
    """Say whether something is there.

    Raises:
        OSError: We may not look.
        StorageRefused: The store lets us not look.
        StorageUnavailable: The store does not answer.
    """
    return _mode(place) is not None if isinstance(place, Path) else place.exists()


def is_file(place: Place) -> bool:
    """Say whether a file is there; raises as `exists` does."""
    return stat.S_ISREG(_mode(place) or 0) if isinstance(place, Path) else place.is_file()


def is_dir(place: Place) -> bool:
    """Say whether a folder is there; raises as `exists` does."""
    return stat.S_ISDIR(_mode(place) or 0) if isinstance(place, Path) else place.is_dir()


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
