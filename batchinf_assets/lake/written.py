"""Whether anything was written into a folder of a lake lately, before anything in it is read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from batchinf_assets.lake.entries import entries
from batchinf_assets.lake.place import Place


def is_written_since(folder: Place, when: datetime) -> bool:
    """Say whether a document was added to a folder since a time.

    A local folder's own time tells, on S3 that of each object; of a place that `listed` returned
    nothing is asked. Documents of a lake that are replaced in their place change no folder's time.

    Args:
        folder: A folder, or on S3 what objects lie directly below.
        when: The time; clocks of the store and of whoever wrote may differ from it.

    Raises:
        OSError: The folder is not there, or cannot be looked at.
    """
    return any(time >= when.timestamp() for time in _times(folder))


def _times(folder: Place) -> Iterator[float]:
    if isinstance(folder, Path):
        yield folder.stat().st_mtime
        return
    for place in entries(folder, "*"):
        yield place.stat().st_mtime
