"""Which windows must run because files landed or changed: a pure plan over what was seen before."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from batchinf_assets.snapshots.parts import Identity, is_folder_of_parts, parts_of
from batchinf_assets.windows import WindowSpec


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A file as it was when it was last looked at.

    Attributes:
        identity: To notice a change without reading the file.
        sha256: Its content.
    """

    identity: Identity
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A file revision that calls for a run.

    Attributes:
        window: The window's key.
        sha256: The revision.
    """

    window: str
    sha256: str


def plan_arrivals(
    cursor: str | None,
    landed: Mapping[str, Identity],
    used: Callable[[str], str | None],
    sha256_of: Callable[[str], str],
    *,
    limit: int,
) -> tuple[list[Arrival], str]:
    """Decide which windows to run.

    Without a cursor it takes stock: what landed before is left to backfills, unless its window
    already used other bytes. With one, every new or changed file is an arrival, unless its window
    already used just these bytes. What exceeds `limit` is left for the next call.

    Args:
        cursor: What the last call returned; None at first.
        landed: Files there now, by window key.
        used: Reads the SHA-256 of the file that a window was last run with, if it ever was.
        sha256_of: Reads the content digest of a window's file.
        limit: At most this many arrivals.

    Returns:
        The arrivals, earliest window first, and the next cursor.
    """
    before = _parse(cursor)
    seen: dict[str, Seen] = {}
    arrivals: list[Arrival] = []
    for window, identity in sorted(landed.items()):
        known = before.get(window)
        if known is not None and known.identity == identity:
            seen[window] = known
        elif cursor is None or len(arrivals) < limit:
            sha256 = sha256_of(window)
            calls = _calls_for_run(known, sha256, used(window), first=cursor is None)
            if calls and len(arrivals) == limit:
                continue  # not seen yet; what calls for no run is, or the next call would run it
            seen[window] = Seen(identity=identity, sha256=sha256)
            if calls:
                arrivals.append(Arrival(window=window, sha256=sha256))
        elif known is not None:
            seen[window] = known
    return arrivals, _written(seen)


def landed_files(folder: Path, pattern: str, windows: WindowSpec) -> dict[str, Path]:
    """Find what landed for a declared pattern, by window key; names of no window are left out.

    Where a window has a folder of files, its place is that folder with the files' common ending.

    Args:
        folder: The landing folder.
        pattern: A path below it with `{window}` in it.
        windows: The pipeline's windows.
    """
    before, after = pattern.split("{window}")
    before_name = before.rpartition("/")[2]
    found: dict[str, Path] = {}
    for path in folder.glob(f"{before}*{after}"):
        name = path.relative_to(folder).as_posix()
        key = name[len(before) :].removesuffix(after)
        place = path
        if is_folder_of_parts(Path(after)):
            key, place = path.parent.name.removeprefix(before_name), path.with_name(after[1:])
        if windows.has(key) and any(part.is_file() for part in parts_of(place)):
            found[key] = place
    return found


def _calls_for_run(known: Seen | None, sha256: str, used: str | None, *, first: bool) -> bool:
    if known is not None and known.sha256 == sha256:
        return False
    return used not in (None, sha256) if first else used != sha256


def _parse(cursor: str | None) -> dict[str, Seen]:
    entries = json.loads(cursor) if cursor else {}
    return {
        window: Seen(identity=(mtime, size), sha256=sha256)
        for window, (mtime, size, sha256) in entries.items()
    }


def _written(seen: Mapping[str, Seen]) -> str:
    return json.dumps({w: [*entry.identity, entry.sha256] for w, entry in seen.items()})
