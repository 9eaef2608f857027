"""Where each window of a pipeline stands: what is visible, what is held back, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from batchinf_assets.checks import blocking_failures, summarize
from batchinf_assets.errors import ManifestInvalid, UnknownWindow
from batchinf_assets.evaluation.evaluate import metric_table
from batchinf_assets.features.build import features_table
from batchinf_assets.manifest import Manifest
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import manifests, predictions_table
from batchinf_assets.snapshots.freeze import snapshot_table
from batchinf_assets.spec import PipelineSpec

State = Literal["published", "scored", "features ready", "snapshot taken", "refused"]


@dataclass(frozen=True, kw_only=True)
class WindowStatus:
    """One window.

    Attributes:
        window: Its key.
        state: The furthest it got.
        revision: The revision that readers see.
        rows: Its published rows.
        revisions: How many revisions were ever published.
        model: The model that scored the visible revision.
        drift: Its drift verdict.
        performance: Whether its outcomes were measured.
        held_back: Why the last attempt did not get further, if it did not.
    """

    window: str
    state: State
    revision: str | None = None
    rows: int | None = None
    revisions: int = 0
    model: str | None = None
    drift: str | None = None
    performance: bool = False
    held_back: str | None = None


def pipeline_status(
    project: Project, spec: PipelineSpec, refused: Mapping[str, str], no_model: str | None = None
) -> list[WindowStatus]:
    """Return every window that anything is known of, in order.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        refused: Windows whose last attempt was refused, with the reason.
        no_model: Why no model may score now, if none may: what windows with features wait for.

    A window whose manifest is missing or unreadable says so and hides no other.

    Raises:
        ManifestInvalid: A table's log is damaged.
    """
    reached: dict[str, State] = dict.fromkeys(refused, "refused")
    reached |= dict.fromkeys(snapshot_table(project, spec).files(), "snapshot taken")
    reached |= dict.fromkeys(features_table(project, spec).files(), "features ready")
    published = {
        key: files[0].parent.name for key, files in predictions_table(project, spec).files().items()
    }
    measured = metric_table(project, spec, "performance").files()
    found = [
        _status_even_if_damaged(
            project, spec, key, reached.get(key), published.get(key), refused.get(key), measured
        )
        for key in sorted({*reached, *published})
    ]
    return [
        replace(status, held_back=no_model)
        if status.state == "features ready" and status.held_back is None
        else status
        for status in found
    ]


def _status_even_if_damaged(
    project: Project,
    spec: PipelineSpec,
    key: str,
    reached: State | None,
    revision: str | None,
    refused: str | None,
    measured: Mapping[str, object],
) -> WindowStatus:
    try:
        return _status(project, spec, key, reached, revision, refused, measured)
    except (ManifestInvalid, UnknownWindow) as error:
        state: State = "published" if revision else reached or "scored"
        return WindowStatus(window=key, state=state, revision=revision, held_back=str(error))


def _status(
    project: Project,
    spec: PipelineSpec,
    key: str,
    reached: State | None,
    revision: str | None,
    refused: str | None,
    measured: Mapping[str, object],
) -> WindowStatus:
    window = spec.window.window(key)
    store = manifests(project, spec)
    draft = store.draft(window)
    if revision is None:
        state: State = "scored" if draft else reached or "refused"
        return WindowStatus(window=key, state=state, held_back=refused or _reason(draft))
    manifest = store.read(window, revision)
    return WindowStatus(
        window=key,
        state="published",
        revision=revision,
        rows=manifest.counts.scored,
        revisions=len(store.revisions(window)),
        model=f"{manifest.model.name} v{manifest.model.version}",
        drift=manifest.evaluation.drift_verdict if manifest.evaluation else None,
        performance=key in measured,
        held_back=refused or _reason(draft),
    )


def _reason(draft: Manifest | None) -> str | None:
    if draft is None:
        return None
    failures = blocking_failures(draft.checks)
    return summarize(failures) if failures else f"Revision {draft.revision} awaits publishing."
