"""Publish a window: the gate, the manifest, and one commit that makes the scored files visible."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from batchinf_assets.checks import CheckResult
from batchinf_assets.lake.files import DataFile
from batchinf_assets.manifest import Manifest, OutputRecord
from batchinf_assets.project import Project
from batchinf_assets.publishing.gate import judge_revision
from batchinf_assets.scoring.predictions import (
    candidate,
    manifests,
    predictions_table,
    published_revision,
)
from batchinf_assets.snapshots.freeze import require_passed
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window


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
    project: Project, spec: PipelineSpec, window: Window, *, now: datetime
) -> Publication:
    """Make the window's candidate visible to readers, if the gate lets it.

    The manifest is on disk before the commit, so no reader ever sees a revision without one.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        window: The window.
        now: The time to put into the manifest.

    Raises:
        WindowMissing: The window was not scored.
        WindowRefused: The gate said no; what was published before stays.
        LostRace: Another run published the window meanwhile.
    """
    manifest = candidate(project, spec, window)
    gate = judge_revision(project, spec, window, manifest)
    require_passed([gate], f"Revision {manifest.revision}", window)
    store = manifests(project, spec)
    if published_revision(project, spec, window) == manifest.revision:
        store.drop_draft(window)  # one is left where an earlier run died after its commit
        finished = store.read(window, manifest.revision)
        path = store.path(window, finished.revision)
        return Publication(manifest=finished, path=path, gate=gate, changed=False)
    finished = manifest.model_copy(update={"published_at": now, "checks": (*manifest.checks, gate)})
    path = store.write(window, finished)
    table = predictions_table(project, spec)
    files = [_data_file(table.folder, output) for output in finished.outputs]
    table.commit(window, files, {"batchinf.revision": finished.revision})
    store.drop_draft(window)
    return Publication(manifest=finished, path=path, gate=gate, changed=True)


def _data_file(folder: Path, output: OutputRecord) -> DataFile:
    return DataFile(
        path=folder / output.path, rows=output.rows, bytes=output.bytes, sha256=output.sha256
    )
