"""A correction that waits for an approval: what it would change, for whoever is to approve it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from batchinf_assets.errors import HeldForApproval, UsageError
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.manifest.inputs import ApprovalRecord, SnapshotRecord
from batchinf_assets.project import Project
from batchinf_assets.snapshots.changes import RowChanges, compare_rows
from batchinf_assets.snapshots.freeze import (
    earlier_windows,
    frozen_before,
    frozen_rows,
    record_of,
)
from batchinf_assets.snapshots.lateness import hours_too_late, require_accepted
from batchinf_assets.snapshots.parts import landed_at
from batchinf_assets.snapshots.source import landing_of, read_source
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


@dataclass(frozen=True, kw_only=True)
class Held:
    """Corrected data of a window that landed too late to be taken unasked.

    Attributes:
        window: The window.
        landed: The rows that landed, as they would be frozen.
        hours_late: How many hours later than what is taken unasked.
        changes: How they differ from the rows that are frozen now.
    """

    window: Window
    landed: SnapshotRecord
    hours_late: float
    changes: RowChanges


def held_correction(project: Project, spec: PipelineSpec, window: Window) -> Held:
    """Return what waits for an approval.

    Raises:
        UsageError: Nothing of the window does.
        LandedFileMissing: Its source file is not there.
        LandedFileUnreadable: It cannot be read.
        WindowRefused: It breaks the contract: approving it would not help.
        ManifestInvalid: What is frozen is damaged where its record is not.
    """
    found = read_source(
        project, spec, window, earlier=lambda: earlier_windows(project, spec, window)
    )
    landed = record_of(spec, found)
    before, lost = frozen_before(project, spec, window, landed)
    at = landed_at(landing_of(project).path(spec.source.files, window))
    try:
        approval = require_accepted(project, spec, window, landed, before, at, lost=lost)
    except HeldForApproval:
        hours = hours_too_late(spec, window, at)
        assert hours is not None
        frozen = frozen_rows(project, spec, window, before) if before else None
        changes = _changes(frozen, found.rows, spec)
        return Held(window=window, landed=landed, hours_late=hours, changes=changes)
    raise _not_held(spec, window, approval)


def _changes(before: RowGroups | None, rows: pa.Table, spec: PipelineSpec) -> RowChanges:
    """Compare rows with those that are frozen, or with none where they are lost."""
    with TemporaryDirectory(prefix="batchinf-held-") as folder:
        after = RowGroups(write_parquet(Path(folder) / "rows.parquet", rows, {}).path)
        nothing = RowGroups(write_parquet(Path(folder) / "none.parquet", rows.slice(0, 0), {}).path)
        return compare_rows(before or nothing, after, spec.source.key)


def _not_held(spec: PipelineSpec, window: Window, approval: ApprovalRecord | None) -> UsageError:
    if approval is not None:
        why = f"{approval.by} approved it on {approval.at:%Y-%m-%d} ({approval.reason})"
    elif spec.source.late is None:
        why = "the pipeline declares no source.late, so corrections are taken whenever they land"
    else:
        why = "what landed for it first, in time, or with the same rows is taken unasked"
    return UsageError(
        f"Window {window} of {spec.name} waits for no approval: {why}.",
        next_step=f"Run it: `batchinf run {spec.name} {window}`.",
    )
