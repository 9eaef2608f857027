"""Whether corrected data is taken as it comes, or landed so late that somebody must approve it.

What landed first for a window is never held, however late: there is nothing that it would change.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from batchinf_assets.errors import HeldForApproval
from batchinf_assets.manifest.inputs import ApprovalRecord, SnapshotRecord
from batchinf_assets.project import Project
from batchinf_assets.snapshots.approvals import read_approval
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

HOUR = timedelta(hours=1)


def hours_too_late(spec: PipelineSpec, window: Window, at: datetime) -> float | None:
    """Return by how many hours a correction that landed then is later than what is taken unasked.

    Returns:
        None where it is in time, or the pipeline takes corrections whenever they land.
    """
    if spec.source.late is None:
        return None
    accepted_until = window.end.astimezone(UTC) + spec.source.late.accept_for
    return (at - accepted_until) / HOUR if at > accepted_until else None


def require_accepted(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    landed: SnapshotRecord,
    before: SnapshotRecord | None,
    at: datetime,
    *,
    lost: bool = False,
) -> ApprovalRecord | None:
    """Require that what landed for a window may take the place of what is frozen for it.

    Args:
        project: Where approvals are kept.
        spec: The pipeline; declares until when corrections are taken unasked.
        window: The window.
        landed: The rows that landed.
        before: The window's frozen rows; None where these are its first, or those are lost.
        lost: Whether other rows were frozen, and cannot be read any more.
        at: When the file landed, see `landed_at`.

    Returns:
        The approval of the landed bytes, for the snapshot's record; None where there is none.

    Raises:
        HeldForApproval: The rows differ, landed too late, and nobody approved them.
        ManifestInvalid: The approval is damaged.
    """
    if spec.source.late is None:
        return None
    approval = read_approval(project, spec, window, landed.source.sha256)
    if approval is not None or (before is None and not lost):
        return approval
    # The same file can give other rows under another contract, another file the same rows.
    if before and (landed.source.sha256 == before.source.sha256 or same_content(landed, before)):
        return None
    hours = hours_too_late(spec, window, at)
    if hours is not None:
        raise _held(spec, window, landed, before, hours)
    return None


def same_content(one: SnapshotRecord, other: SnapshotRecord) -> bool:
    """Say whether two snapshots have the same rows and set the same ones aside."""
    return (one.digest, one.rejected) == (other.digest, other.rejected)


def _held(
    spec: PipelineSpec,
    window: Window,
    landed: SnapshotRecord,
    before: SnapshotRecord | None,
    hours: float,
) -> HeldForApproval:
    rows = f"{before.rows} before" if before else "what was frozen before is damaged"
    late = f"{hours:,.1f} hours" if hours < 1_000 else f"{hours / 24:,.0f} days"
    return HeldForApproval(
        f"Window {window} of {spec.name} is held: {landed.source.path} changed {late} after "
        f"corrections are taken unasked ({landed.rows} rows, {rows}).",
        next_step=f"`batchinf approve {spec.name} {window}` shows what would change, and how to "
        "approve it.",
    )
