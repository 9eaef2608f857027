"""What lay in the landing folder before anybody watched it: a document in the lake.

It is what keeps a sensor that is switched on from running years of data, which backfills do on
purpose. It is written by the first look and outlives the sensor's cursor, so that a lost cursor
makes nothing of it run and forgets nothing that landed since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.conditional import create, read_versioned, replace
from batchinf_assets.lake.digest import canonical_json
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.versioned import Outdated
from batchinf_assets.manifest.values import Digest
from batchinf_assets.project import Project
from batchinf_assets.snapshots.arrivals import Left
from batchinf_assets.snapshots.parts import Identity
from batchinf_assets.spec.contract import Name
from batchinf_assets.spec.pipeline import PipelineSpec

FOLDER = "_landing"


class Stock(BaseModel):
    """The files that were there at the first look, by window key.

    Attributes:
        format_version: Of this document.
        pipeline: The pipeline.
        taken_at: When the first look was.
        files: Change time in nanoseconds and size, and the SHA-256 of what was read since: it tells
            a file that was merely touched from one that changed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    pipeline: Name
    taken_at: AwareDatetime
    files: Mapping[str, tuple[int, int, Digest | None]]

    def left(self, window: str) -> Left | None:
        """Return what was there for a window."""
        found = self.files.get(window)
        return Left(identity=found[:2], sha256=found[2]) if found else None

    @property
    def unread(self) -> tuple[str, ...]:
        """The windows whose file nobody has read yet."""
        return tuple(window for window, file in self.files.items() if file[2] is None)

    def read(self, landed: Mapping[str, Identity], sha256: Callable[[str], str | None]) -> Stock:
        """Return the stock with the digests of files that are still what they were.

        Args:
            landed: Files there now, by window key.
            sha256: Reads the digest of a window's file; None where that must wait.
        """
        found = {
            window: (*identity, sha256(window))
            for window in self.unread
            if (identity := self.files[window][:2]) == landed.get(window)
        }
        # One that changed or went before it was read cannot be told from one that landed since.
        kept = {w: file for w, file in self.files.items() if file[2] is not None}
        return self.model_copy(update={"files": kept | found})

    def to_json(self) -> bytes:
        """Return the bytes that are kept."""
        return canonical_json(self.model_dump(mode="json")) + b"\n"


def take_stock(
    project: Project, spec: PipelineSpec, landed: Mapping[str, Identity], now: datetime
) -> Stock:
    """Return what was there at the first look, which this is where there was none before.

    Args:
        project: Where the lake is.
        spec: The pipeline.
        landed: Complete files there now, by window key.
        now: The time.

    Raises:
        ManifestInvalid: The document is damaged, or about something else.
        OSError: The disk is full or the folder cannot be written.
    """
    files = {window: (*identity, None) for window, identity in sorted(landed.items())}
    first = Stock(pipeline=spec.name, taken_at=now, files=files)
    with suppress(FileExistsError):
        create(stock_place(project, spec), first.to_json())
    kept = read_stock(project, spec)
    assert kept is not None  # nobody removes it
    return kept


def read_stock(project: Project, spec: PipelineSpec) -> Stock | None:
    """Return what was there at the first look; None where nobody has looked yet.

    Raises:
        ManifestInvalid: The document is damaged, or about something else.
    """
    place = stock_place(project, spec)
    found = read_versioned(place)
    return _parsed(found.content, place, spec) if found else None


def keep_stock(project: Project, spec: PipelineSpec, before: Stock, after: Stock) -> None:
    """Keep what was read of the stock since; another process that was faster is let be.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    place = stock_place(project, spec)
    found = read_versioned(place)
    if after != before and found is not None and found.content == before.to_json():
        with suppress(Outdated):
            replace(place, after.to_json(), found.version)


def stock_place(project: Project, spec: PipelineSpec) -> Place:
    """Return where it is kept what was there at the first look."""
    return project.lake / spec.name / FOLDER / "stock.json"


def _parsed(content: bytes, place: Place, spec: PipelineSpec) -> Stock:
    try:
        found = Stock.model_validate_json(content)
    except ValidationError:
        found = None
    if found is None or found.pipeline != spec.name:
        raise ManifestInvalid(
            f"{place} does not say what had landed before {spec.name} was watched.",
            next_step="Remove it: the next look takes stock anew, and what lies there then is "
            "left to backfills.",
        )
    return found
