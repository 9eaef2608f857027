"""One look at the landing folder: what landed, held against what the lake knows.

`arrivals` plans; nothing here knows Dagster, which is asked by `sensors.requested` what it has run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.files import read_described
from batchinf_assets.lake.place import Place, path_within
from batchinf_assets.project import Project
from batchinf_assets.snapshots.arrivals import Arrival, Asked, Effort, Evidence, Plan, plan_arrivals
from batchinf_assets.snapshots.completeness import is_whole
from batchinf_assets.snapshots.freeze import SnapshotFooter, snapshot_table
from batchinf_assets.snapshots.landed_digests import BoundedDigests, LandedDigests
from batchinf_assets.snapshots.listing import identities, landed_files, listed_for
from batchinf_assets.snapshots.parts import Identity, identity_of, landed_sha256
from batchinf_assets.snapshots.source import landing_of
from batchinf_assets.snapshots.stock import Stock, keep_stock, read_stock, take_stock
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

EFFORT = Effort(arrivals=20, windows=1_000)
READ_BYTES = 4 * 2**30
"""Of landed files in one look, for their digests: some seconds of a tick."""
READ_SECONDS = 20.0
"""After which a look begins no further file, so that a tick ends within its minute."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look found.

    Attributes:
        plan: Windows to run, and those that wait.
        gone: Windows that were frozen and whose file is not there any more.
        unreadable: Windows whose file cannot be read, and why.
    """

    plan: Plan
    gone: tuple[str, ...]
    unreadable: Mapping[str, str]

    def __str__(self) -> str:
        """Name what does not run, and why."""
        told = [
            _told("not complete yet", self.plan.unfinished),
            _told("for the next tick", self.plan.later),
            _told("frozen, and no longer landed", self.gone),
            _told("unreadable", sorted(self.unreadable.values())),
        ]
        return "; ".join(filter(None, told)) or "Nothing landed that did not run."


def look_at_landing(
    project: Project,
    spec: PipelineSpec,
    cursor: str | None,
    asked: Callable[[str], Asked | None],
    now: datetime,
    *,
    effort: Effort = EFFORT,
    read_bytes: int = READ_BYTES,
    read_seconds: float = READ_SECONDS,
) -> Look:
    """Find out which windows must run because their source landed or changed.

    The first look of all takes stock; see `stock`.

    Args:
        project: Where files land, and the lake.
        spec: The pipeline.
        cursor: What the last look left; None at first, or where it was lost.
        asked: Tells the last request for a window that was followed.
        now: The time.
        effort: The limits of one look.
        read_bytes: How much of landed files is read in one look.
        read_seconds: How long they are read in one look.

    Raises:
        ManifestInvalid: The snapshot table's log, or the stock, is damaged.
        OSError: The landing folder or the lake cannot be read.
    """
    landing = listed_for(project.landing, spec.source.files)
    files = landed_files(landing, spec.source.files, spec.window)
    landed = identities(files)
    digests = bounded_digests(landing, files, landed, read_bytes, read_seconds)
    whole = _whole(files, spec, now)
    stock = _stock(project, spec, landed, whole, now)
    frozen = snapshot_table(project, spec).files()
    evidence = Evidence(
        left=stock.left,
        used=lambda window: _used(frozen.get(window)),
        whole=whole,
        sha256=digests.sha256,
        asked=asked,
    )
    plan = plan_arrivals(cursor, landed, evidence, effort)
    keep_stock(project, spec, stock, stock.read(landed, digests.sha256))
    return Look(
        plan=plan,
        gone=tuple(sorted(frozen.keys() - files.keys())),
        unreadable=digests.unreadable,
    )


def landed_arrival(
    project: Project, spec: PipelineSpec, window: Window, now: datetime
) -> Arrival | None:
    """Return what landed for one window as the landing sensor would ask for it.

    Returns:
        None where nothing landed, or not all of it.

    Raises:
        OSError: It is there and cannot be read.
    """
    place = landing_of(project).path(spec.source.files, window)
    if not is_whole(place, spec.source.complete, now):
        return None
    changed, _ = identity_of(place)
    return Arrival(window=window.key, sha256=landed_sha256(place), landing=str(changed))


def frozen_from(project: Project, spec: PipelineSpec, window: Window) -> str | None:
    """Return the SHA-256 of what a window's snapshot was made of; None where none can be read."""
    return _used(snapshot_table(project, spec).files_of(window))


def bounded_digests(
    landing: Place,
    files: Mapping[str, Place],
    landed: Mapping[str, Identity],
    allowed: int,
    seconds: float = READ_SECONDS,
) -> BoundedDigests:
    """Return what reads the digests of files below the landing folder, as far as is allowed."""
    return BoundedDigests(
        digests=LandedDigests(landing),
        paths={key: path_within(path, landing) for key, path in files.items()},
        sizes={key: identity[1] for key, identity in landed.items()},
        allowed=allowed,
        seconds=seconds,
    )


def _stock(
    project: Project,
    spec: PipelineSpec,
    landed: Mapping[str, Identity],
    whole: Callable[[str], bool],
    now: datetime,
) -> Stock:
    kept = read_stock(project, spec)
    if kept is not None:
        return kept
    # What is being written right now lands while somebody watches.
    there = {window: identity for window, identity in landed.items() if whole(window)}
    return take_stock(project, spec, there, now)


def _whole(files: Mapping[str, Place], spec: PipelineSpec, now: datetime) -> Callable[[str], bool]:
    return lambda window: is_whole(files[window], spec.source.complete, now)


def _used(files: tuple[Place, ...] | None) -> str | None:
    try:
        return read_described(files[0], SnapshotFooter).record.source.sha256 if files else None
    except ManifestInvalid:  # a run makes it anew
        return None


def _told(what: str, windows: tuple[str, ...] | list[str]) -> str | None:
    if not windows:
        return None
    more = f" and {len(windows) - 5} more" if len(windows) > 5 else ""
    return f"{what}: {', '.join(windows[:5])}{more}"
