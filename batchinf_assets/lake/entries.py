"""What lies in a folder of a lake, or a failure: never less than is there.

`Path.glob` takes a folder that it may not list for an empty one, and what a lake does not hold
decides what readers see: a manifest without a signature, a revision that nobody condemned.
"""

from __future__ import annotations

import os
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
