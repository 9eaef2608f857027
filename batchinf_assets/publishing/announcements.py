"""What consumers are told of a window beside its data: it was rolled back, withdrawn, reinstated.

The commit that changes what readers see says it first, in its metadata; the announcement is made
from that, as an append-only document `<lake>/<pipeline>/_announcements/<window>/<commit>.json`. So
who dies in between leaves a commit that tells whoever comes next what is still to be announced. The
format in prose is `docs/formats/rollback.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, ConfigDict, Field

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.decisions import Decision, keep_decision, read_decision
from batchinf_assets.lake.entries import entries, is_file
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.table_writer import COMMIT_KEY
from batchinf_assets.manifest.values import RevisionId, Text
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import REVISION, predictions_table
from batchinf_assets.spec.contract import Name
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

FOLDER = "_announcements"

Event = Literal["rolled_back", "withdrawn", "reinstated"]

_EVENT, _FROM = "batchinf.event", "batchinf.from_revision"
_BY, _REASON, _AT = "batchinf.by", "batchinf.reason", "batchinf.at"


class Announcement(Decision):
    """What somebody did to what readers see of a window.

    Attributes:
        event: `rolled_back` to an earlier revision, `withdrawn` without another one in its place,
            or `reinstated`: a condemned revision is shown again.
        pipeline: The pipeline.
        window: The window's key.
        before: The revision that readers saw before, in the document `from`; None for nothing.
        after: The one that they see now, in the document `to`; None for nothing.
        by: Who.
        reason: Why.
        at: When.
    """

    model_config = ConfigDict(populate_by_name=True)

    event: Event
    pipeline: Name
    window: str
    before: RevisionId | None = Field(alias="from")
    after: RevisionId | None = Field(alias="to")
    by: Text
    reason: Text
    at: AwareDatetime

    def __str__(self) -> str:
        before, after = self.before or "nothing", self.after or "nothing"
        what = self.event.replace("_", " ")
        return (
            f"{self.by} had it {what} on {self.at:%Y-%m-%d %H:%M %Z} (from {before} to {after}): "
            f"{self.reason}"
        )

    def metadata(self) -> dict[str, str]:
        """Return what the commit says of itself, beside the revision that it shows."""
        said = {_EVENT: self.event, _FROM: self.before or ""}
        return {**said, _BY: self.by, _REASON: self.reason, _AT: self.at.isoformat()}


def last_announcement(project: Project, spec: PipelineSpec, window: Window) -> Announcement | None:
    """Return what made readers see what they see now; None where that was a publication.

    Raises:
        ManifestInvalid: The table's log is damaged.
    """
    return _said(spec, window, predictions_table(project, spec).commit_metadata(window))


def untold(project: Project, spec: PipelineSpec, window: Window) -> Announcement | None:
    """Return what the last change of a window has to tell and consumers were not told; else None.

    Raises:
        ManifestInvalid: The table's log is damaged.
    """
    said, _ = _untold(project, spec, window)
    return said


def announce(project: Project, spec: PipelineSpec, window: Window) -> Announcement | None:
    """Tell consumers of the last change of a window, unless it was a publication or is told.

    Returns:
        What was told now; None where there was nothing left to tell.

    Raises:
        ManifestInvalid: The table's log is damaged.
        OSError: The disk is full or the folder cannot be written.
    """
    said, place = _untold(project, spec, window)
    if said is None:
        return None
    keep_decision(place, said)  # or another process told it meanwhile
    return said


def announcements(project: Project, spec: PipelineSpec, window: Window) -> list[Announcement]:
    """Return what consumers were told of a window, the oldest first.

    Raises:
        ManifestInvalid: A document is damaged, or about something else.
    """
    what, about = "announcement of its window", {"pipeline": spec.name, "window": window.key}
    places = entries(_folder(project, spec, window), "*.json")
    found = (read_decision(place, Announcement, what, **about) for place in places)
    return sorted(filter(None, found), key=lambda each: each.at)


def _said(spec: PipelineSpec, window: Window, commit: Mapping[str, str]) -> Announcement | None:
    if _EVENT not in commit:
        return None
    try:
        return Announcement.model_validate(
            {
                "event": commit[_EVENT],
                "pipeline": spec.name,
                "window": window.key,
                "from": commit.get(_FROM) or None,
                "to": commit.get(REVISION),
                "by": commit.get(_BY),
                "reason": commit.get(_REASON),
                "at": datetime.fromisoformat(commit.get(_AT, "")),
            }
        )
    except ValueError as error:
        raise ManifestInvalid(
            f"The commit that changed window {window} of {spec.name} last does not say what it "
            "did, by whom and why.",
            next_step="Find out what else writes into that table.",
        ) from error


def _folder(project: Project, spec: PipelineSpec, window: Window) -> Place:
    return project.lake / spec.name / FOLDER / window.folder_name


def _untold(
    project: Project, spec: PipelineSpec, window: Window
) -> tuple[Announcement | None, Place]:
    commit = predictions_table(project, spec).commit_metadata(window)
    place = _folder(project, spec, window) / f"{commit.get(COMMIT_KEY)}.json"
    said = _said(spec, window, commit)
    return (None if is_file(place) else said), place
