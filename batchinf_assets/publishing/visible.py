"""The revision that readers see, and those that they saw before, as the table's log tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from batchinf_assets.errors import KeyringInvalid, ManifestInvalid, UnknownWindow, WindowMissing
from batchinf_assets.lake.entries import entries
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.table_commits import Commit, latest_commit
from batchinf_assets.lake.table_log import has_log
from batchinf_assets.lake.table_writer import WINDOW_KEY
from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import last_announcement
from batchinf_assets.publishing.publish import require_committed
from batchinf_assets.publishing.signed import read_signed_manifest
from batchinf_assets.publishing.stored_files import window_of
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.correction import Superseded
from batchinf_assets.scoring.predictions import (
    REVISION,
    empty_revision,
    manifests,
    predictions_table,
)
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window, folder_name_of


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


def visible_files(project: Project, spec: PipelineSpec) -> Mapping[str, tuple[Place, ...]]:
    """Return the files that readers see by window key; empty where nothing was ever published.

    Raises:
        ManifestInvalid: The table's log is damaged, or gone though the ledger tells of windows
            that were published.
    """
    table = predictions_table(project, spec)
    if files := table.files():
        return files
    rows = Ledger(project.lake).read(spec.name).to_pylist() if not has_log(table.folder) else []
    published = {row["window"] for row in rows if row["state"] == "published"}
    if published:
        raise ManifestInvalid(
            f"The table {table.folder} is gone, though the ledger says that {len(published)} "
            "windows were published in it.",
            next_step="Mount it again or restore it from a backup; where it was removed on "
            f"purpose, run windows again: `batchinf run {spec.name} WINDOW`.",
        )
    return files


def published_revisions(project: Project, spec: PipelineSpec) -> dict[str, str]:
    """Return the revision that readers see by window key, also where it has no rows.

    Windows that show no file are looked up in the log one by one, if they have a manifest: few do.

    Raises:
        ManifestInvalid: The table's log is damaged, or gone.
    """
    files = visible_files(project, spec)
    shown = {key: found[0].parent.name for key, found in files.items()}
    known = {folder_name_of(key) for key in shown}
    for folder in entries(manifests(project, spec).folder, "*"):
        if folder.name in known:
            continue
        with suppress(UnknownWindow):
            window = window_of(spec, folder.name)
            if revision := empty_revision(project, spec, window):
                shown[window.key] = revision
    return shown


def nothing_visible(project: Project, spec: PipelineSpec, window: Window) -> WindowMissing:
    """Return the error that says why readers see nothing of a window.

    Raises:
        ManifestInvalid: The table's log is damaged.
    """
    last = last_announcement(project, spec, window)
    if last is not None and last.event == "withdrawn":
        return WindowMissing(
            f"Nothing of window {window} of {spec.name} is published: {last}.",
            next_step="Correct what was wrong and run the window again, or go back to a revision: "
            f"`batchinf rollback {spec.name} {window} --to REVISION --reason TEXT`.",
        )
    return WindowMissing(
        f"Nothing is published for window {window} of {spec.name}.",
        next_step=f"Run it: `batchinf run {spec.name} {window}`.",
    )


def publications(project: Project, spec: PipelineSpec, window: Window) -> Iterator[Commit]:
    """Yield the commits that showed a revision of a window, rollbacks too, the newest first.

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
