"""Approvals of runs above their caps: one small document per approval, written once.

Whether a run needs one is `caps`' business. An approval names windows and the caps that count for
runs of them instead of the declared ones, for a day. Whoever may write the lake may approve.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.conditional import create
from batchinf_assets.lake.digest import canonical_json, json_sha256
from batchinf_assets.lake.files import read_bounded
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.inputs import ApprovalRecord
from batchinf_assets.project import Project
from batchinf_assets.publishing.stored_files import all_files, pipeline_folder
from batchinf_assets.spec.contract import Name
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.spec.run import CapsSpec
from batchinf_assets.windows import Window

FOLDER = "_run_approvals"
LARGEST_APPROVAL = 65_536
COUNTS_FOR = timedelta(days=1)


class RunApproval(BaseModel):
    """An approval as it is kept.

    Attributes:
        format_version: Of this document.
        pipeline: The pipeline.
        first: Key of the first window that it covers.
        last: Key of the last one, itself included.
        caps: What counts for a run of such windows instead of the declared caps.
        approval: By whom, why and when.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    pipeline: Name
    first: str
    last: str
    caps: CapsSpec
    approval: ApprovalRecord

    def covers(self, windows: Sequence[Window], now: datetime) -> bool:
        """Say whether it counts for a run of these windows, in order, that starts now."""
        fresh = self.approval.at <= now < self.approval.at + COUNTS_FOR
        return fresh and self.first <= windows[0].key and windows[-1].key <= self.last


def run_approval(
    project: Project, spec: PipelineSpec, windows: Sequence[Window], now: datetime
) -> RunApproval | None:
    """Return the newest approval of a run of these windows, or None where nobody approved it.

    Raises:
        ManifestInvalid: A document is damaged, or about something else.
    """
    found = [each for each in _all(project, spec) if each.covers(windows, now)]
    return max(found, key=lambda each: each.approval.at, default=None)


def approve_run(
    project: Project,
    spec: PipelineSpec,
    windows: Sequence[Window],
    caps: CapsSpec,
    approval: ApprovalRecord,
) -> RunApproval:
    """Keep an approval of runs of these windows; a no-op where this very one is kept already.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    document = RunApproval(
        pipeline=spec.name,
        first=windows[0].key,
        last=windows[-1].key,
        caps=caps,
        approval=approval,
    )
    content = document.model_dump(mode="json")
    place = pipeline_folder(project, spec) / FOLDER / f"{json_sha256(content)[:16]}.json"
    with suppress(FileExistsError):  # its name is its digest
        create(place, canonical_json(content) + b"\n")
    return document


def _all(project: Project, spec: PipelineSpec) -> Iterator[RunApproval]:
    for place in all_files(pipeline_folder(project, spec) / FOLDER):
        if place.suffix == ".json" and not place.name.startswith("."):
            yield _read(place, spec)


def _read(place: Place, spec: PipelineSpec) -> RunApproval:
    try:
        found = RunApproval.model_validate_json(read_bounded(place, LARGEST_APPROVAL))
    except ValidationError as error:
        raise _invalid(place) from error
    if found.pipeline != spec.name:
        raise _invalid(place)
    return found


def _invalid(place: Place) -> ManifestInvalid:
    return ManifestInvalid(
        f"{place} is no approval of a run.",
        next_step="Restore it from a backup, or remove it and approve again.",
    )
