"""Files that somebody else could have put there: read bounded, without following or waiting.

A link could lead anywhere, a pipe or device could keep the reader waiting for ever, and any file
could be larger than memory. Names are made fit for a message before one is written.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.untrusted_text import one_line


def read_plain(
    path: Path, what: str, *, limit: int, missing: Refusal = Refusal.MISSING_FILE
) -> bytes:
    """Read a file that must be a plain one.

    Args:
        path: The file.
        what: What it belongs to, for a message.
        limit: How many bytes are expected at most.
        missing: The reason code when there is none.

    Returns:
        Its bytes; `limit` + 1 of them where it has more.

    Raises:
        ModelRefused: It is missing, unreadable, a link, or anything else that is no plain file.
    """
    try:
        _require_regular(path.lstat(), path, what)  # opening a device can already have an effect
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags), "rb") as file:
            found = os.fstat(file.fileno())  # it could have been exchanged meanwhile
            _require_regular(found, path, what)
            return file.read(min(found.st_size, limit) + 1)
    except FileNotFoundError as error:
        raise refused(what, f"{one_line(path.name)} is missing", missing) from error
    except OSError as error:
        problem = f"{one_line(path.name)} cannot be read ({error.strerror})"
        if error.errno in _NO_FILE:
            raise refused(what, problem, Refusal.NO_PLAIN_FILE) from error
        raise _unreadable(what, problem) from error


def plain_folder_names(folder: Path, what: str) -> frozenset[str]:
    """Return the names in a folder that must be no link.

    Raises:
        ModelRefused: It is missing, unreadable, a link or no folder.
    """
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise refused(what, f"{folder} is no folder of its own", Refusal.NO_PLAIN_FILE)
        return frozenset(os.listdir(folder))  # noqa: PTH208 - no Path is needed per name
    except FileNotFoundError as error:
        raise refused(what, f"{folder} is no folder any more", Refusal.MISSING_FILE) from error
    except OSError as error:
        raise _unreadable(what, f"{folder} cannot be read ({error.strerror})") from error


def refused(what: str, problem: str, reason: Refusal) -> ModelRefused:
    """Return the refusal of a folder that is not as it was signed."""
    return ModelRefused(
        f"{what}: {problem}.",
        reason=reason,
        next_step="Restore the folder from a backup and find out who changed it; or register the "
        "model again (`batchinf model register`) and promote it.",
    )


def _unreadable(what: str, problem: str) -> ModelRefused:
    """Return the refusal of what may be as it was signed, for all that anybody knows."""
    return ModelRefused(
        f"{what}: {problem}.",
        reason=Refusal.UNREADABLE,
        next_step="Let this user read it, or mend the disk; nobody knows that it was changed.",
    )


_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.ENOTDIR})


def _require_regular(found: os.stat_result, path: Path, what: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise refused(what, f"{one_line(path.name)} is no plain file", Refusal.NO_PLAIN_FILE)
