"""The revision that readers see, and those that they saw before, as the table's log tells."""

from __future__ import annotations

from collections.abc import Iterator

from batchinf_assets.errors import KeyringInvalid, ManifestInvalid
from batchinf_assets.lake.table_log import Commit, latest_commit
from batchinf_assets.lake.table_writer import WINDOW_KEY
from batchinf_assets.project import Project
from batchinf_assets.publishing.publish import REVISION, require_committed
from batchinf_assets.publishing.signed import read_signed_manifest
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.correction import Superseded
from batchinf_assets.scoring.predictions import manifests, predictions_table
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window


def visible_revision(
    project: Project, registry: Registry, spec: PipelineSpec, window: Window
) -> Superseded | None:
    """Return the published revision of a window, or None where nothing is published.

    Its manifest comes along only if a trusted key signed it and the table's log names its bytes:
    scores may be carried over from what it names.

    Raises:
        ManifestInvalid: The table's log is damaged.
    """
    revision = predictions_table(project, spec).commit_metadata(window).get(REVISION)
    if revision is None:
        return None
    store = manifests(project, spec)
    try:
        signed = read_signed_manifest(store, window, revision, read_keyring(registry.keys))
        path = store.path(window, revision)
        require_committed(project, spec, window, signed.sha256, path)
    except (ManifestInvalid, KeyringInvalid):
        return Superseded(revision=revision, manifest=None)
    return Superseded(revision=revision, manifest=signed.manifest)


def publications(project: Project, spec: PipelineSpec, window: Window) -> Iterator[Commit]:
    """Yield the commits that published a revision of a window, the newest first.

    Raises:
        ManifestInvalid: The table's log is damaged.
    """
    table = predictions_table(project, spec)
    version = table.version_of(window)
    while version is not None:
        commit = latest_commit(table.folder, WINDOW_KEY, window.key, version)
        if commit is not None and REVISION in commit.metadata:
            yield commit
        version = commit.version - 1 if commit else None
