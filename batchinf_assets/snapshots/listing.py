"""What landed for a declared pattern: the place of each window's file or folder of files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from batchinf_assets.snapshots.parts import Identity, identity_of, is_folder_of_parts, parts_of
from batchinf_assets.windows import WindowSpec


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


def identities(files: Mapping[str, Path]) -> dict[str, Identity]:
    """Return what tells a file from what it was before; one that went meanwhile is left out."""
    found: dict[str, Identity] = {}
    for key, path in files.items():
        try:
            found[key] = identity_of(path)
        except OSError:  # gone since it was listed: the next listing says so
            continue
    return found
