"""Approvals of corrected data that landed late: one small document per window and landed bytes.

Whether data needs one is `lateness`'s business. An approval counts for the file with its SHA-256
and for no other, is written once and never replaced. It is not signed by itself: whoever may write
the lake may approve, and the manifest of what is made from it, which is signed, tells who did. Only
where the approved rows are those of a revision that was signed before does no manifest tell: the
same inputs are the same revision, its signed manifest stays as it is, and the approval is here and
in the snapshot's footer alone.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import ValidationError

from batchinf_assets.errors import LostRace, UsageError
from batchinf_assets.lake.decisions import Decision, keep_decision, read_decision
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.inputs import ApprovalRecord
from batchinf_assets.manifest.values import Digest
from batchinf_assets.project import Project
from batchinf_assets.spec.contract import Name
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

FOLDER = "_approvals"


class Approval(Decision):
    """An approval as it is kept.

    Attributes:
        pipeline: The pipeline.
        window: The window's key.
        sha256: Of the landed file.
        approval: By whom, why and when.
    """

    pipeline: Name
    window: str
    sha256: Digest
    approval: ApprovalRecord


def new_approval(*, by: str, reason: str, at: datetime) -> ApprovalRecord:
    """Return an approval that a manifest can hold.

    Raises:
        UsageError: `by` or `reason` is empty, not one printable line, a URL or an absolute path.
    """
    try:
        approval = ApprovalRecord(by=by.strip(), reason=reason.strip(), at=at)
    except ValidationError as error:
        problem = error.errors()[0]
        raise UsageError(
            f"The approval's {problem['loc'][0]} {problem['msg'].removeprefix('Value error, ')}.",
            next_step="It becomes part of the manifest: write it in words.",
        ) from error
    if not approval.by or not approval.reason:
        raise UsageError(
            "An approval names who approves, and why.", next_step="Give both, in words."
        )
    return approval


def read_approval(
    project: Project, spec: PipelineSpec, window: Window, sha256: str
) -> ApprovalRecord | None:
    """Return the approval of a window's landed bytes, or None where nobody approved them.

    Raises:
        ManifestInvalid: The document is damaged, or about something else.
    """
    found = read_decision(
        _place(project, spec, window, sha256),
        Approval,
        "approval of what its name says",
        next_step="Restore it from a backup, or remove it and approve again.",
        pipeline=spec.name,
        window=window.key,
        sha256=sha256,
    )
    return found.approval if found else None


def write_approval(
    project: Project, spec: PipelineSpec, window: Window, sha256: str, approval: ApprovalRecord
) -> None:
    """Keep an approval; a no-op where this very one is kept already.

    Raises:
        LostRace: Somebody approved these bytes meanwhile; that approval stays.
        ManifestInvalid: There is one, and it is damaged.
        OSError: The disk is full or the folder cannot be written.
    """
    document = Approval(pipeline=spec.name, window=window.key, sha256=sha256, approval=approval)
    if not keep_decision(_place(project, spec, window, sha256), document):
        raise _too_late(spec, window, read_approval(project, spec, window, sha256))


def _too_late(spec: PipelineSpec, window: Window, first: ApprovalRecord | None) -> LostRace:
    who = f"{first.by} approved it first ({first.reason})" if first else "somebody was at it"
    return LostRace(
        f"What landed for window {window} of {spec.name} was not approved anew: {who}.",
        next_step=f"See what waits still: `batchinf approve {spec.name} {window}`.",
    )


def _place(project: Project, spec: PipelineSpec, window: Window, sha256: str) -> Place:
    return project.lake / spec.name / FOLDER / window.folder_name / f"{sha256}.json"
