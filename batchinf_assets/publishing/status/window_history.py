"""The revisions that readers of a window saw: what may be compared, and what one may go back to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.project import Project
from batchinf_assets.publishing.visible import publications
from batchinf_assets.scoring.condemnations import verdicts
from batchinf_assets.scoring.predictions import REVISION, manifests, published_revision
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

Standing = Literal["visible", "superseded", "condemned", "condemned, still visible"]


@dataclass(frozen=True, kw_only=True)
class SeenRevision:
    """A revision that readers saw.

    Attributes:
        revision: Its id.
        standing: Whether readers see it now, and whether somebody condemned it.
        published_at: When it was published first; None where its manifest cannot be read.
        rows: Its rows; None likewise.
        model: The model that scored it, with its version; None likewise.
        said: The last verdict on it, a sentence; None where nobody gave any.
    """

    revision: str
    standing: Standing
    published_at: datetime | None
    rows: int | None
    model: str | None
    said: str | None


def seen_revisions(
    project: Project, spec: PipelineSpec, window: Window
) -> tuple[SeenRevision, ...]:
    """Return the revisions that readers saw, that of the newest commit first.

    Raises:
        ManifestInvalid: The table's log, or a verdict, is damaged.
    """
    visible = published_revision(project, spec, window)
    shown = (commit.metadata[REVISION] for commit in publications(project, spec, window))
    return tuple(_seen(project, spec, window, each, visible) for each in dict.fromkeys(shown))


def _seen(
    project: Project, spec: PipelineSpec, window: Window, revision: str, visible: str | None
) -> SeenRevision:
    said = verdicts(project, spec, window, revision)
    condemned = bool(said) and said[-1].verdict == "condemned"
    standing: Standing = "visible" if revision == visible else "superseded"
    if condemned:
        standing = "condemned, still visible" if revision == visible else "condemned"
    try:
        manifest = manifests(project, spec).read(window, revision)
    except ManifestInvalid:
        manifest = None
    return SeenRevision(
        revision=revision,
        standing=standing,
        published_at=manifest.published_at if manifest else None,
        rows=manifest.counts.scored if manifest else None,
        model=f"{manifest.model.name} v{manifest.model.version}" if manifest else None,
        said=str(said[-1]) if said else None,
    )
