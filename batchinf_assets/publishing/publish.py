"""Publish a window: the gate, the manifest, and one commit that makes the scored files visible."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from batchinf_assets.checks import CheckResult
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.files import DataFile
from batchinf_assets.manifest import Manifest, OutputRecord
from batchinf_assets.project import Project
from batchinf_assets.publishing.gate import judge_revision
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.predictions import (
    candidate,
    manifests,
    predictions_table,
    published_revision,
)
from batchinf_assets.snapshots.freeze import require_passed
from batchinf_assets.spec import Pipeline
from batchinf_assets.windows import Window

REVISION, MANIFEST = "batchinf.revision", "batchinf.manifest_sha256"
"""What the table's own log keeps of a publication, so that a manifest cannot change unseen."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A published revision.

    Attributes:
        manifest: The finished manifest.
        path: Where it lies.
        gate: The decision.
        changed: False where the revision was visible already.
    """

    manifest: Manifest
    path: Path
    gate: CheckResult
    changed: bool


def publish_window(
    project: Project, registry: Registry, pipeline: Pipeline, window: Window, *, now: datetime
) -> Publication:
    """Make the window's candidate visible to readers, if the gate lets it.

    The manifest is on disk before the commit, so no reader ever sees a revision without one.

    Args:
        project: Where the tables are.
        registry: Where the model of now is named.
        pipeline: The pipeline.
        window: The window.
        now: The time to put into the manifest.

    Raises:
        WindowMissing: The window was not scored.
        ManifestInvalid: Its manifest is missing or unreadable.
        ModelUnavailable: The registry no longer has the declared model.
        ModelRefused: The model is no longer signed and promoted.
        WindowRefused: The gate said no; what was published before stays.
        LostRace: Another run published the window meanwhile.
    """
    spec = pipeline.spec
    store, manifest = manifests(project, spec), candidate(project, spec, window)
    visible = published_revision(project, spec, window) == manifest.revision
    if visible:
        manifest = store.read(window, manifest.revision)
    gate = judge_revision(project, registry, pipeline, window, manifest, now=now)
    require_passed([gate], f"Revision {manifest.revision}", window)
    if visible:
        store.drop_draft(window)  # one is left where an earlier run died after its commit
        path = store.path(window, manifest.revision)
        return Publication(manifest=manifest, path=path, gate=gate, changed=False)
    finished = manifest.model_copy(update={"published_at": now, "checks": (*manifest.checks, gate)})
    path = store.write(window, finished)
    table = predictions_table(project, spec)
    files = [_data_file(table.folder, output) for output in finished.outputs]
    table.commit(window, files, {REVISION: finished.revision, MANIFEST: file_sha256(path)})
    store.drop_draft(window)
    return Publication(manifest=finished, path=path, gate=gate, changed=True)


def _data_file(folder: Path, output: OutputRecord) -> DataFile:
    return DataFile(
        path=folder / output.path, rows=output.rows, bytes=output.bytes, sha256=output.sha256
    )
