"""Whether what landed for a window is all of it: by its marker, or because nobody writes any more.

Data that is run by hand is read as it is; this is asked before a sensor or a schedule requests it.
"""

from __future__ import annotations

from datetime import datetime

from batchinf_assets.lake.place import Place
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.snapshots.parts import is_folder_of_parts, landed_at, parts_of
from batchinf_assets.spec.contract import CompleteSpec


def is_whole(place: Place, declared: CompleteSpec, now: datetime) -> bool:
    """Say whether a window's file, or its folder of files, is complete.

    A marker counts only if it is not older than the file: that of a file which landed before says
    nothing of the one that takes its place. Without a marker a file is complete once it has kept
    its bytes for a while; an object on S3 always is, as nobody sees half of one, but not a folder
    of them. A file that is gone is not complete.

    Args:
        place: Where it lies.
        declared: How one knows.
        now: The time.

    Raises:
        OSError: The folder cannot be read.
    """
    try:
        if declared.marker is None:
            landed, wait = landed_at(place), declared.quiet_for
            return _is_put_whole(place) or not wait or now - landed >= wait
        return all(_is_marked(part, declared.marker) for part in parts_of(place))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_put_whole(place: Place) -> bool:
    return isinstance(place, S3Place) and not is_folder_of_parts(place)


def _is_marked(part: Place, marker: str) -> bool:
    beside = part.with_name(marker.replace("{file}", part.name))
    return beside.stat().st_ctime_ns >= part.stat().st_ctime_ns
