"""What the file system, or S3, says of a landed file without reading it: when it changed, and how.

A file system tells the change time to the nanosecond, S3 to the second; there the entity tag tells
what was put within one second apart.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeAlias

from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.lake.s3_stat import S3Stat

Status: TypeAlias = os.stat_result | S3Stat

Revision: TypeAlias = tuple[int | str, int, int]
"""What tells the content of one file from what it was before; see `revision_of`."""

_SECOND = 10**9


def revision_of(status: Status) -> Revision:
    """Tell a file from what it was before: by inode or entity tag, change time and size.

    Copying tools set the modification time back; nothing sets the change time.
    """
    which = status.e_tag if isinstance(status, S3Stat) else status.st_ino
    return which, status.st_ctime_ns, status.st_size


def change_time_of(statuses: Sequence[Status]) -> int:
    """Return when the newest of several files changed, in nanoseconds.

    Of objects the part below a second is no time: it stands for all their entity tags, so that it
    differs where one of them was replaced within a second.
    """
    newest = max(each.st_ctime_ns for each in statuses)
    tags = [each.e_tag.strip('"') for each in statuses if isinstance(each, S3Stat)]
    return newest + (int(json_sha256(tags)[:15], 16) % _SECOND if tags else 0)
