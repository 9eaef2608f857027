"""Which code, libraries and machine are running, as a manifest records it.

`source`, `python` and `libraries` decide a revision; commit, lock file and platform are on record
for people, who find the code by them.
"""

from __future__ import annotations

import hashlib
import platform
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path

from batchinf_assets import __version__
from batchinf_assets.manifest.means import CodeRecord
from batchinf_assets.project import CHECKOUT

LIBRARIES = (
    "deltalake",
    "duckdb",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "skops",
)
ROOMS_THAT_DECIDE_OUTPUT = ("contracts", "features", "lake", "registry", "scoring", "snapshots")
LOCK_FILE = "requirements.lock"

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_POINTER = re.compile(r"(?:gitdir|ref): (?P<target>[^\n]+)\n?")


@cache
def running_code() -> CodeRecord:
    """Describe the running code; `source` digests the rooms that decide what rows come out."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for room in ROOMS_THAT_DECIDE_OUTPUT:
        for path in sorted((package / room).rglob("*.py")):
            digest.update(
                f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes() + b"\0"
            )
    return CodeRecord(
        version=__version__,
        source=digest.hexdigest(),
        commit=git_commit(CHECKOUT),
        lock=lock_digest(CHECKOUT),
        python=platform.python_version(),
        platform=platform.platform(),
        libraries={name: version(name) for name in LIBRARIES},
    )


def git_commit(checkout: Path) -> str | None:
    """Return the commit that a checkout is at, or None where there is none to be found.

    Read from the files of git's repository layout (gitrepository-layout(5)), so that git need not
    be installed. Files may differ from their commit: `source` is what holds.

    Args:
        checkout: The folder that has `.git`; folders above it are not searched, because a package
            may be installed below somebody else's checkout.
    """
    folder = checkout / ".git"
    if folder.is_file():  # a worktree's or a submodule's
        folder = checkout / (_target(_text(folder)) or ".git")
    head = _text(folder / "HEAD")
    ref = _target(head)
    if ref is None:
        return _commit(head)
    shared = folder / _text(folder / "commondir").strip()
    loose = (_commit(_text(place / ref)) for place in (folder, shared))
    return next((found for found in loose if found), None) or _packed(shared, ref)


def lock_digest(checkout: Path) -> str | None:
    """Return the SHA-256 of the lock file that names every library, or None where there is none."""
    path = checkout / LOCK_FILE
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _packed(folder: Path, ref: str) -> str | None:
    for line in _text(folder / "packed-refs").splitlines():
        commit, _, name = line.partition(" ")
        if name == ref:
            return _commit(commit)
    return None


def _target(text: str) -> str | None:
    match = _POINTER.fullmatch(text)
    return match["target"] if match else None


def _commit(text: str) -> str | None:
    found = text.strip()
    return found if _COMMIT.fullmatch(found) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
