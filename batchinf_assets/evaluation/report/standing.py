"""Whether readers see a revision, and if not, why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from batchinf_assets.checks import blocking_failures, summarize
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.scoring.condemnations import condemned
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

State = Literal["published", "refused", "not published yet", "replaced", "withdrawn", "condemned"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where one revision stands.

    Attributes:
        state: `published` is what readers see.
        reason: Why it is something else, as a sentence; None where the state says it.
    """

    state: State
    reason: str | None = None


def standing_of(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest, visible: str | None
) -> Standing:
    """Say where a revision stands.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        window: The window.
        manifest: The revision's.
        visible: The revision that readers see, if they see one.

    Raises:
        ManifestInvalid: A document about the revision is damaged.
    """
    if visible == manifest.revision and manifest.published_at is not None:
        return Standing(state="published")
    said = condemned(project, spec, window, manifest.revision)
    if said is not None:
        return Standing(state="condemned", reason=str(said))
    failures = blocking_failures(manifest.checks)
    if manifest.published_at is None and failures:
        return Standing(state="refused", reason=summarize(failures))
    instead = f"Readers see revision {visible}." if visible else "Readers see nothing."
    if manifest.published_at is None:
        return Standing(state="not published yet", reason=instead)
    return Standing(state="replaced" if visible else "withdrawn", reason=instead)
