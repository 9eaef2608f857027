"""The files of a pipeline as they lie in the lake, whoever knows of them, and how one is removed.

Which of them must stay is said in `retention`, which go in `maintain`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.entries import entries, is_dir
from batchinf_assets.lake.place import Place, path_within
from batchinf_assets.lake.table_commits import LOG
from batchinf_assets.lake.table_state import PARTITION
from batchinf_assets.project import Project
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

MANIFESTS, CHECKPOINTS, LEASES = "_manifests", "_checkpoints", "_leases"
TABLES = (
    "snapshot",
    "features",
    "quarantine",
    "predictions",
    "evaluation",
    "performance",
    "score_changes",
    "sketches",
    "labelled_scores",
    "labelled_residuals",
)

_TEMPORARY = re.compile(r"\..+\.\d+(-[0-9a-f]+)*\.tmp|\.[a-z0-9_]{8}|\d{20}\.json#\d+")
"""What `lake.files.aside`, Python's `tempfile` and delta-rs name what is not finished."""

_PARTITION_FOLDER = re.compile(rf"{PARTITION}=(?P<name>[0-9-]+)")
_WINDOW_FOLDER = re.compile(r"(?P<name>[0-9][0-9-]*)")


def pipeline_folder(project: Project, spec: PipelineSpec) -> Place:
    """Return the folder of everything that a pipeline keeps."""
    return project.lake / spec.name


def all_files(folder: Place) -> Iterator[Place]:
    """Yield the files below a folder; of Delta logs those alone that no commit came of.

    No link is followed or yielded.
    """
    if not isinstance(folder, Path):
        for place in folder.rglob("*"):
            if LOG not in place.relative_to(folder).parts:
                yield place
    elif is_dir(folder) and not folder.is_symlink():
        yield from _walk(folder)


def files_by_window(folder: Place, files: Iterable[Place]) -> dict[str | None, list[Place]]:
    """Sort the files of a pipeline by the window whose folder they lie in, None for no window's.

    Args:
        folder: The pipeline's.
        files: Files in it.

    Returns:
        Files by the name of the window's folder: its key without a colon.
    """
    found: dict[str | None, list[Place]] = {}
    for place in files:
        found.setdefault(_window_name(parts_within(place, folder)), []).append(place)
    return found


def files_of_window(folder: Place, name: str) -> list[Place]:
    """List the files of one window again.

    Args:
        folder: The pipeline's.
        name: The name of the window's folder.
    """
    folders = [
        *(folder / table / f"{PARTITION}={name}" for table in TABLES),
        *(folder / kept / name for kept in (MANIFESTS, CHECKPOINTS)),
    ]
    return [place for each in folders for place in all_files(each)]


def window_of(spec: PipelineSpec, name: str) -> Window:
    """Return the window whose folder has this name.

    Raises:
        UnknownWindow: The pipeline does not declare it.
    """
    return spec.window.window(spec.window.key_of_folder(name))


def parts_within(place: Place, folder: Place) -> tuple[str, ...]:
    """Return the path from a folder to a place in it, cut at its slashes."""
    return tuple(path_within(place, folder).split("/"))


def is_temporary(place: Place, folder: Place) -> bool:
    """Say whether a file was left by a write that did not end; a lock file never is.

    Args:
        place: The file.
        folder: The pipeline's, or the ledger's.
    """
    if place.name.endswith(".lock"):
        return False
    return any(_TEMPORARY.fullmatch(part) for part in parts_within(place, folder))


def remove_file(place: Place, lake: Place) -> None:
    """Remove a file that lies in the lake, and the folders below a window's that it leaves empty.

    Raises:
        ManifestInvalid: It is a link, or lies behind one that leads out of the lake.
        OSError: It cannot be removed.
    """
    if isinstance(place, Path) and isinstance(lake, Path):
        inside = place.parent.resolve().is_relative_to(lake.resolve())
        if place.is_symlink() or not inside:
            raise ManifestInvalid(
                f"{place} leads out of the lake by a link: it was not removed.",
                next_step="Remove the link, or put what it leads to in its place.",
            )
        place.unlink(missing_ok=True)
        _remove_empty(place.parent, lake)
    else:
        place.unlink(missing_ok=True)


def _remove_empty(folder: Path, lake: Path) -> None:
    with suppress(OSError):  # another file lies in it
        while len(folder.relative_to(lake).parts) > 3 or _TEMPORARY.fullmatch(folder.name):
            folder.rmdir()
            folder = folder.parent


def _walk(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as listed:
            found = sorted(listed, key=lambda entry: entry.name)
    except FileNotFoundError:  # somebody finished meanwhile what lay here
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            if entry.name != LOG or _TEMPORARY.fullmatch(folder.name):  # a log that was begun
                yield from _walk(folder / entry.name)
            else:
                logged = entries(folder / LOG, "*")
                yield from (place for place in logged if _TEMPORARY.fullmatch(place.name))
        elif entry.is_file(follow_symlinks=False):
            yield folder / entry.name


def _window_name(parts: tuple[str, ...]) -> str | None:
    if len(parts) < 3:
        return None
    form = _PARTITION_FOLDER if parts[0] in TABLES else _WINDOW_FOLDER
    found = form.fullmatch(parts[1])
    return found["name"] if found and parts[0] in (*TABLES, MANIFESTS, CHECKPOINTS) else None
