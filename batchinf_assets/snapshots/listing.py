"""What landed for a declared pattern: the place of each window's file or folder of files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from batchinf_assets.lake.entries import is_dir, is_file
from batchinf_assets.lake.place import Place, path_within
from batchinf_assets.lake.s3_listing import listed
from batchinf_assets.snapshots.parts import Identity, identity_of, is_folder_of_parts, parts_of
from batchinf_assets.windows import WindowSpec


def landed_files(folder: Place, pattern: str, windows: WindowSpec) -> dict[str, Place]:
    """Find what landed for a declared pattern, by window key; names of no window are left out.

    On S3 what is returned knows from one listing what is there.

    Where a window has a folder of files, its place is that folder with the files' common ending.

    Args:
        folder: The landing folder.
        pattern: A path below it with `{window}` in it.
        windows: The pipeline's windows.
    """
    before, after = pattern.split("{window}")
    before_name = before.rpartition("/")[2]
    found: dict[str, Place] = {}
    for path in listed_for(folder, pattern).glob(f"{before}*{after}"):
        name = path_within(path, folder)
        key = name[len(before) :].removesuffix(after)
        place = path
        if is_folder_of_parts(PurePosixPath(after)):
            key, place = path.parent.name.removeprefix(before_name), path.with_name(after[1:])
        if windows.has(key) and any(is_file(part) for part in parts_of(place)):
            found[key] = place
    return found


def landed_windows(folder: Place, pattern: str, windows: WindowSpec) -> frozenset[str] | None:
    """Return the windows that landed for a declared pattern.

    Returns:
        None where the landing folder is not there: then nobody knows what landed.

    Raises:
        StorageRefused: The store lets us not list it.
        StorageUnavailable: The store does not answer.
    """
    return frozenset(landed_files(folder, pattern, windows)) if is_dir(folder) else None


def listed_for(folder: Place, pattern: str) -> Place:
    """List the landing folder on S3, as far as a declared pattern reaches; see `listed`."""
    return listed(folder, pattern.partition("{window}")[0].rpartition("/")[0])


def identities(files: Mapping[str, Place]) -> dict[str, Identity]:
    """Return what tells a file from what it was before; one that went meanwhile is left out."""
    found: dict[str, Identity] = {}
    for key, path in files.items():
        try:
            found[key] = identity_of(path)
        except OSError:  # gone since it was listed: the next listing says so
            continue
    return found
