"""The bytes of a landed file, read whole; only bytes that nobody changed meanwhile count."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from batchinf_assets.lake.place import Place
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_access import ObjectReplaced
from batchinf_assets.snapshots.landed_status import revision_of

CLOCK_TICK_SECONDS = 0.02
"""Two changes of a file within one tick of the kernel's clock can leave the same change time."""

PIECE_BYTES = 8 * 2**20
"""Bytes of an object that one request asks for: each has a time limit of its own."""


class ChangedWhileRead(Exception):
    """Somebody wrote to the file, put another object in its place, or took it away."""


def unchanged_bytes(place: Place, require_size: Callable[[int], None]) -> bytes:
    """Read a file whole.

    Args:
        place: Where it lies.
        require_size: Is given its size before anything is read, and may refuse it.

    Raises:
        ChangedWhileRead: It was changed meanwhile.
        OSError: It cannot be read.
    """
    if isinstance(place, Path):
        return _of_file(place, require_size)
    return _of_object(place, require_size)


def _of_file(path: Path, require_size: Callable[[int], None]) -> bytes:
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        require_size(before.st_size)
        if time.time() - before.st_ctime < CLOCK_TICK_SECONDS:
            time.sleep(CLOCK_TICK_SECONDS)
            before = os.fstat(file.fileno())
        content = file.read(before.st_size + 1)
        after = os.fstat(file.fileno())
    if revision_of(before) != revision_of(after) or len(content) != after.st_size:
        raise ChangedWhileRead
    return content


def _of_object(place: S3Place, require_size: Callable[[int], None]) -> bytes:
    """Ask for one version piece by piece; that it is still the one there counts too."""
    before = place.stat()
    require_size(before.st_size)
    try:
        with place.open(buffering=0) as file:
            content = b"".join(iter(lambda: file.read(PIECE_BYTES) or b"", b""))
        after = place.stat()
    except (ObjectReplaced, FileNotFoundError) as error:
        raise ChangedWhileRead from error
    if revision_of(before) != revision_of(after) or len(content) != after.st_size:
        raise ChangedWhileRead
    return content
