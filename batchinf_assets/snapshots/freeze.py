"""Freeze the source rows of a window: what `snapshots.source` lets through, under its digest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from batchinf_assets.checks import CheckResult
from batchinf_assets.contracts.nullability import RequiredBefore
from batchinf_assets.contracts.passed import require_passed as require_passed
from batchinf_assets.errors import ManifestInvalid, WindowMissing
from batchinf_assets.lake.digest import content_digest, json_sha256
from batchinf_assets.lake.files import read_described, read_parquet
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.manifest.inputs import SnapshotRecord
from batchinf_assets.project import Project
from batchinf_assets.seasons import windows_alike
from batchinf_assets.side_by_side import OneByOne, Order
from batchinf_assets.snapshots.earlier import Earlier
from batchinf_assets.snapshots.lateness import require_accepted
from batchinf_assets.snapshots.parts import landed_at
from batchinf_assets.snapshots.quarantine import keep_snapshot_lines
from batchinf_assets.snapshots.source import (
    ASSET,
    SourceRows,
    landing_of,
    read_source,
    source_contract,
)
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

LOOKED_BACK = 28
"""Windows whose files are asked which columns are required; usually the first one says it."""


class SnapshotFooter(BaseModel):
    """What a snapshot's file says of itself: its record and the checks it passed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    record: SnapshotRecord
    checks: tuple[CheckResult, ...]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A window's frozen source rows.

    Attributes:
        record: Digest, row count and the landed file.
        checks: What was checked before they were frozen.
        path: The file that holds them, sorted by key.
    """

    record: SnapshotRecord
    checks: tuple[CheckResult, ...]
    path: Place

    @property
    def rows(self) -> pa.Table:
        """The rows; the whole window is read."""
        return read_parquet(self.path)


def snapshot_table(project: Project, spec: PipelineSpec) -> WindowTable:
    """Return the pipeline's snapshot table."""
    return WindowTable(project.lake / spec.name / ASSET, arrow_schema(spec.source.columns))


def freeze_snapshot(
    project: Project, spec: PipelineSpec, window: Window, *, order: Order | None = None
) -> Snapshot:
    """Freeze what landed for a window; a no-op where the same rows are frozen already.

    Rows that break a rule which sets them aside are told of in the quarantine table instead.

    Args:
        project: Where the tables and the landed files are.
        spec: The pipeline.
        window: The window.
        order: Its place among those that are frozen at the same time.

    Raises:
        LandedFileMissing: The source file, or a reference that it is held against, has not landed.
        LandedFileUnreadable: One of them is empty, truncated or corrupt.
        WindowRefused: Its columns or rows break the contract; nothing was written.
        HeldForApproval: It landed too late to replace what is frozen; nothing was written.
    """
    known = partial(earlier_windows, project, spec, window, order=order or OneByOne())
    found = read_source(project, spec, window, earlier=known)
    record = record_of(spec, found)
    at = landed_at(landing_of(project).path(spec.source.files, window))
    before, lost = frozen_before(project, spec, window, record)
    approval = require_accepted(project, spec, window, record, before, at, lost=lost)
    record = record.model_copy(update={"approval": approval})
    footer = SnapshotFooter(record=record, checks=found.checks)
    keep_snapshot_lines(project, spec, window, found.set_aside, record.digest)
    path = snapshot_table(project, spec).keep(
        window, _file_name(record), found.rows, footer.model_dump(mode="json")
    )
    return Snapshot(record=record, checks=found.checks, path=path)


def record_of(spec: PipelineSpec, found: SourceRows) -> SnapshotRecord:
    """Describe source rows as they would be frozen, without an approval."""
    return SnapshotRecord(
        digest=content_digest(found.rows, spec.source.key),
        rows=found.rows.num_rows,
        source=found.source,
        landed=found.landed,
        quarantined=found.set_aside.count,
        rejected=found.set_aside.digest,
        contract=source_contract(spec),
        required=None if found.required is None else tuple(sorted(found.required)),
    )


def earlier_windows(
    project: Project, spec: PipelineSpec, window: Window, *, order: Order | None = None
) -> Earlier:
    """Return what the source of a window is held against."""
    (order or OneByOne()).await_earlier()
    return Earlier(
        rows=rows_before(project, spec, window), required=required_before(project, spec, window)
    )


def required_before(project: Project, spec: PipelineSpec, window: Window) -> RequiredBefore | None:
    """Return which columns the newest frozen window before this one says are required.

    Up to `LOOKED_BACK` windows are asked: one whose file is damaged, was frozen by an older version
    or from a text file says nothing. Where none says anything, what this window was frozen from
    before does.
    """
    files = snapshot_table(project, spec).files()
    earlier = sorted((key for key in files if key < window.key), reverse=True)
    own = [window.key] if window.key in files else []
    for key in [*earlier[:LOOKED_BACK], *own]:
        try:
            required = read_described(files[key][0], SnapshotFooter).record.required
        except ManifestInvalid:  # its own run makes it anew
            continue
        if required is not None:
            return RequiredBefore(window=key, columns=frozenset(required))
    return None


def rows_before(project: Project, spec: PipelineSpec, window: Window) -> list[int] | None:
    """Return how many rows earlier windows have, the oldest first; None where nobody asks."""
    if spec.source.volume is None:
        return None
    counts = snapshot_table(project, spec).row_counts()
    volume = spec.source.volume
    if volume.alike is None:
        earlier = spec.window.before(window, volume.windows)
    else:
        earlier = windows_alike(spec.window, volume.alike, window, volume.windows)
    return [counts[each.key] for each in earlier if each.key in counts]


def frozen_before(
    project: Project, spec: PipelineSpec, window: Window, record: SnapshotRecord
) -> tuple[SnapshotRecord | None, bool]:
    """Return what a record would take the place of, and whether that is other rows that are lost.

    A file that is damaged still says by its name what it held.
    """
    try:
        return frozen_record(project, spec, window), False
    except ManifestInvalid:
        table = snapshot_table(project, spec)
        same = table.files_of(window) == (table.path(window, _file_name(record)),)
        return None, not same


def load_snapshot(project: Project, spec: PipelineSpec, window: Window) -> Snapshot:
    """Read the frozen rows of a window.

    Raises:
        WindowMissing: The window was never frozen.
    """
    files = snapshot_table(project, spec).files_of(window)
    if not files:
        raise WindowMissing(
            f"Window {window} of {spec.name} has no snapshot.",
            next_step=f"Materialize {spec.name}/snapshot for {window} first.",
        )
    footer = read_described(files[0], SnapshotFooter)
    return Snapshot(record=footer.record, checks=footer.checks, path=files[0])


def frozen_rows(
    project: Project, spec: PipelineSpec, window: Window, record: SnapshotRecord
) -> RowGroups:
    """Return the rows that a record names, also after newer ones took their place."""
    return RowGroups(snapshot_table(project, spec).path(window, _file_name(record)))


def _file_name(record: SnapshotRecord) -> str:
    """Name a file by what it holds and says of itself, but for the landed bytes behind it."""
    if record.contract is None:
        return record.digest[:16]
    return json_sha256([record.digest, record.contract, record.rejected])[:16]


def frozen_record(project: Project, spec: PipelineSpec, window: Window) -> SnapshotRecord | None:
    """Return what a window's snapshot says of itself, if it has one."""
    files = snapshot_table(project, spec).files_of(window)
    return read_described(files[0], SnapshotFooter).record if files else None
