"""Damage: what verifying finds of a published revision that takes it from readers.

`verify` names everything that is not as it should be. Condemned is a revision only for what it is
itself: its files, its manifest, and signatures that somebody revoked. That the snapshot behind it
was lost, or that this machine lacks its model, knows other keys, knows them since today only, or is
of an older version than who published it, says nothing of its rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.errors import ManifestInvalid, ModelRefused, Refusal
from batchinf_assets.lake.entries import is_file
from batchinf_assets.lake.manifests import ManifestStore
from batchinf_assets.lake.place import path_within
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.publishing.publish import MANIFEST
from batchinf_assets.publishing.signed import signers
from batchinf_assets.publishing.visible import publications
from batchinf_assets.registry.keyring import Keyring, read_keyring
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import open_version, promotion_log
from batchinf_assets.scoring.model import version_of
from batchinf_assets.scoring.predictions import (
    REVISION,
    changed_files,
    manifests,
    predictions_table,
)
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

VERIFICATION = "verification"


def check_damage(
    project: Project, registry: Registry, spec: PipelineSpec, window: Window, revision: str
) -> CheckResult:
    """Say what of a revision that readers see was damaged, lost or revoked, if anything.

    Args:
        project: Where the tables are.
        registry: Whose keys count.
        spec: The pipeline.
        window: The window.
        revision: What readers see.

    Raises:
        KeyringInvalid: There is no keyring, so nobody knows what was revoked.
        ManifestInvalid: The manifest is as it was published, and of a format that this version does
            not know; or it is larger than any; or the table's log is damaged.
        StorageUnavailable: The store does not answer: nothing is known to be lost.
        OSError: A file is there and cannot be read.
    """
    keyring = read_keyring(registry.keys)
    violations = tuple(_violations(project, registry, spec, window, revision, keyring))
    return CheckResult(
        name=VERIFICATION,
        asset=VERIFICATION,
        passed=not violations,
        blocking=False,
        violations=violations,
        measured={"revision": revision},
    )


def _violations(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    revision: str,
    keyring: Keyring,
) -> Iterator[Violation]:
    store = manifests(project, spec)
    if not is_file(store.path(window, revision)):
        yield Violation(column=None, rule="a manifest that can be read", found="none")
        return
    body = store.body(window, revision)
    amiss = (
        *_bytes(project, spec, window, revision, body),
        *_signature(store, window, revision, body, keyring),
    )
    yield from amiss
    try:
        manifest = store.parsed(window, revision, body)
    except ManifestInvalid as error:
        if not amiss:
            raise _unknown_format(window, revision, error) from error
        yield Violation(column=None, rule="a manifest that can be read")
        return
    if _is_revoked(registry, manifest, keyring):
        rule = "a model whose signatures count"
        yield Violation(column=None, rule=rule, found="a key that was revoked")
    yield from _files(project, spec, window, manifest)


def _unknown_format(window: Window, revision: str, error: ManifestInvalid) -> ManifestInvalid:
    """Return the refusal to judge what is, byte by byte, what somebody signed and published."""
    return ManifestInvalid(
        f"The manifest of revision {revision} of window {window} is whole and of no format that "
        f"this version knows: {error.message}",
        next_step="Verify it with the version of batchinf-assets that published it.",
    )


def _bytes(
    project: Project, spec: PipelineSpec, window: Window, revision: str, body: bytes
) -> Iterator[Violation]:
    """Yield that a manifest is not the one that the table's log names."""
    shown = publications(project, spec, window)
    newest = next((each for each in shown if each.metadata[REVISION] == revision), None)
    if newest is None or newest.metadata.get(MANIFEST) != hashlib.sha256(body).hexdigest():
        yield Violation(column=None, rule="the manifest that was published", found="other bytes")


def _signature(
    store: ManifestStore, window: Window, revision: str, body: bytes, keyring: Keyring
) -> Iterator[Violation]:
    """Yield that no signature counts, unless one may that this machine cannot judge."""
    found = signers(store, window, revision, body, keyring)
    revoked = [
        f"key {key}, which was revoked" for key, worth in found.items() if worth == "revoked"
    ]
    if "counts" in found.values() or ("unknown" in found.values() and not revoked):
        return
    why = ", ".join(revoked) or ("one of other bytes" if found else "none")
    yield Violation(column=None, rule="a signature that counts", found=why)


def _is_revoked(registry: Registry, manifest: Manifest, keyring: Keyring) -> bool:
    """Whether a key was revoked that signed the model, or the promotion that it scored by."""
    model = manifest.model
    try:
        open_version(registry, version_of(manifest), None)
    except ModelRefused as error:
        if error.reason is Refusal.KEY_REVOKED:
            return True
    log = promotion_log(registry, model.name, model.alias)
    return model.promotion is not None and log.is_revoked(model.promotion, keyring)


def _files(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> Iterator[Violation]:
    table = predictions_table(project, spec)
    seen = {path_within(path, table.folder) for path in table.files_of(window)}
    named = {output.path for output in manifest.outputs}
    for path in sorted(seen - named):
        yield Violation(column=None, rule="no rows beside those of its manifest", found=path)
    for path in sorted(named - seen):
        yield Violation(column=None, rule=f"rows of {path}", found="none that readers see")
    yield from changed_files(table.folder, manifest.outputs)
