"""Publish a window: the gate, the signed manifest, and one commit that shows the scored files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.fence import Fence
from batchinf_assets.lake.files import DataFile
from batchinf_assets.lake.manifests import ManifestStore, SignedManifest
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.files import OutputRecord
from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import announce
from batchinf_assets.publishing.condemned import require_not_condemned
from batchinf_assets.publishing.gate import (
    judge_revision,
    require_open,
    unmet_checks,
)
from batchinf_assets.publishing.row_keys import check_rows
from batchinf_assets.publishing.signed import (
    RESTORE,
    VerifiedManifest,
    read_signed_manifest,
    sign_manifest,
)
from batchinf_assets.publishing.verdicts_of_now import with_verdicts_of_now
from batchinf_assets.registry.keyring import Keyring, read_keyring
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.predictions import (
    REVISION,
    ROWS,
    candidate,
    manifests,
    predictions_table,
    published_revision,
)
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

MANIFEST, SIGNED_BY = "batchinf.manifest_sha256", "batchinf.manifest_key"
"""What the table's own log keeps of a publication, so that a manifest cannot change unseen."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A published revision.

    Attributes:
        manifest: The finished manifest.
        path: Where it lies.
        sha256: Of its bytes.
        gate: The decision.
        changed: False where the revision was visible already.
    """

    manifest: Manifest
    path: Place
    sha256: str
    gate: CheckResult
    changed: bool


def publish_window(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    window: Window,
    *,
    key: SigningKey,
    lease: Fence,
    now: datetime,
) -> Publication:
    """Make the window's candidate visible to readers, if the gate lets it.

    The signed manifest is in place before the commit, so no reader ever sees a revision without
    one. The commit is refused where a later attempt at the window was seen.

    Args:
        project: Where the tables are.
        registry: Where the model of now is named.
        pipeline: The pipeline.
        window: The window.
        key: Signs the manifest.
        lease: The attempt's hold on the window.
        now: The time to put into the manifest.

    Raises:
        WindowMissing: The window was not scored.
        ManifestInvalid: Its manifest is missing or unreadable; or what is visible is not what was
            signed.
        ModelUnavailable: The registry no longer has the declared model.
        ModelRefused: The model is no longer signed and promoted.
        SigningKeyUnavailable: The keyring does not trust the key.
        WindowRefused: The gate said no, or somebody condemned the revision; what was published
            before stays.
        LostRace: Another run published the window meanwhile, or took it over.
    """
    spec, keyring = pipeline.spec, read_keyring(registry.keys)
    manifest = candidate(project, spec, window)
    require_not_condemned(project, spec, window, manifest)
    if published_revision(project, spec, window) == manifest.revision:
        return _unchanged(project, registry, pipeline, window, manifest.revision, lease, now)
    manifest = with_verdicts_of_now(project, spec, window, manifest)
    gate = judge_revision(project, registry, pipeline, window, manifest, now=now)
    if gate.passed:
        gate = _with_rows(gate, check_rows(project, spec, window, manifest))
    require_open(gate, spec, window, manifest)
    finished = manifest.model_copy(update={"published_at": now, "checks": (*manifest.checks, gate)})
    store = manifests(project, spec)
    signed = _signed_earlier(store, window, manifest, keyring)
    if signed is None:
        document = sign_manifest(finished, key, keyring)
        store.write(window, document, require_held=lease.require_held)
        signed = _verified(finished, document)
    lease.require_held()
    announce(project, spec, window)  # a rollback that died untold would be forgotten by this commit
    show_revision(project, spec, window, signed, lease.token)
    store.drop_draft(window)
    return Publication(
        manifest=signed.manifest,
        path=store.path(window, manifest.revision),
        sha256=signed.sha256,
        gate=gate,
        changed=True,
    )


def _unchanged(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    window: Window,
    revision: str,
    lease: Fence,
    now: datetime,
) -> Publication:
    store = manifests(project, pipeline.spec)
    signed = read_signed_manifest(store, window, revision, read_keyring(registry.keys))
    path = store.path(window, revision)
    require_committed(project, pipeline.spec, window, signed.sha256, path)
    manifest = signed.manifest
    gate = judge_revision(project, registry, pipeline, window, manifest, now=now, signed=True)
    judged = with_verdicts_of_now(project, pipeline.spec, window, manifest, signed=True)
    require_open(gate, pipeline.spec, window, judged, visible=True)
    lease.require_held()
    store.drop_draft(window)  # one is left where an earlier run died after its commit
    return Publication(manifest=manifest, path=path, sha256=signed.sha256, gate=gate, changed=False)


def require_committed(
    project: Project, spec: PipelineSpec, window: Window, sha256: str, path: Place
) -> None:
    """Require that a manifest has the bytes that the window was published with.

    Raises:
        ManifestInvalid: The table's log names others.
    """
    committed = predictions_table(project, spec).commit_metadata(window)
    if committed.get(MANIFEST) != sha256:
        raise ManifestInvalid(
            f"{path} is not the manifest that was published: its bytes changed.",
            next_step=RESTORE,
        )


def _with_rows(gate: CheckResult, found: tuple[CheckResult, ...]) -> CheckResult:
    violations = tuple(violation for check in found for violation in check.violations)
    measured = {name: value for check in found for name, value in check.measured.items()}
    return replace(
        gate,
        passed=not violations,
        violations=violations,
        measured={**gate.measured, **measured},
    )


def _signed_earlier(
    store: ManifestStore, window: Window, draft: Manifest, keyring: Keyring
) -> VerifiedManifest | None:
    """Return what was signed of this revision before, by a try that died or to be superseded.

    A document that was once published is never changed; what does not hold is written anew.
    """
    try:
        found = read_signed_manifest(store, window, draft.revision, keyring)
    except ManifestInvalid:
        return None
    same = (found.manifest.pipeline, found.manifest.outputs) == (draft.pipeline, draft.outputs)
    same = same and set(draft.overrides) <= set(found.manifest.overrides)
    return found if same and not any(unmet_checks(found.manifest)) else None


def _verified(manifest: Manifest, document: SignedManifest) -> VerifiedManifest:
    sha256 = hashlib.sha256(document.body).hexdigest()
    return VerifiedManifest(manifest=manifest, key_id=document.key_id, sha256=sha256)


def show_revision(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    signed: VerifiedManifest,
    token: int,
    said: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Make the files of a revision the window's content, in one commit; no data is copied.

    Args:
        project: Where the table is.
        spec: The pipeline.
        window: The window.
        signed: The revision's manifest; a gate let it pass.
        token: Which attempt at the window commits.
        said: What else the commit says of itself.

    Raises:
        LostRace: Another run changed the window meanwhile, or took it over.
        OSError: A file of the revision is gone.
    """
    table, manifest = predictions_table(project, spec), signed.manifest
    metadata = {
        REVISION: manifest.revision,
        ROWS: str(manifest.counts.scored),
        MANIFEST: signed.sha256,
        SIGNED_BY: signed.key_id,
        **said,
    }
    files = [_data_file(table.folder, output) for output in manifest.outputs]
    table.commit(window, files, metadata, token=token)


def _data_file(folder: Place, output: OutputRecord) -> DataFile:
    return DataFile(
        path=folder / output.path, rows=output.rows, bytes=output.bytes, sha256=output.sha256
    )
