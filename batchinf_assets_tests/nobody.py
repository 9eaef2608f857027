"""The user `nobody`, who meets refusals where root meets none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


def give_to_nobody(root: Path) -> None:
    """Let nobody own everything below a folder of a test, and get there.

    Without root's rights everything belongs to whoever runs the test, and nothing is to be done.
    """
    if os.geteuid() == 0:
        for place in _way_to(root):
            os.chown(place, NOBODY, NOBODY)


def show_to_nobody(root: Path) -> None:
    """Let nobody read everything below a folder of a test, and write nothing."""
    for place in _way_to(root):
        more = 0o555 if place.is_dir() else 0o444
        less = 0 if os.geteuid() == 0 else 0o222
        place.chmod((place.stat().st_mode | more) & ~less)


def _way_to(root: Path) -> Iterator[Path]:
    """Open the folders above, and yield everything below."""
    for above in root.parents[:-1]:
        if (mode := above.stat().st_mode) & 0o555 != 0o555:
            above.chmod(mode | 0o555)
    for folder, _, files in list(os.walk(root)):
        yield Path(folder)
        yield from (Path(folder) / name for name in files)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up the rights of root for a while."""
    root = os.geteuid() == 0
    if root:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
            os.setegid(0)
