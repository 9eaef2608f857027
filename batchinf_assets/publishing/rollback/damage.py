"""Damage: what verifying finds of a published revision that takes it from readers.

`verify` names everything that is not as it should be. Condemned is a revision only for what it is
itself: its files, its manifest, and signatures that somebody revoked. That the snapshot behind it
was lost, or that this machine lacks its model or knows other keys, says nothing of its rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.errors import ManifestInvalid, ModelRefused, Refusal
from batchinf_assets.lake.place import path_within
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.publishing.publish import MANIFEST
from batchinf_assets.publishing.signed import read_signed_manifest
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
    try:
        body = store.body(window, revision)
        manifest = store.parsed(window, revision, body)
    except ManifestInvalid:
        yield Violation(column=None, rule="a manifest that can be read")
        return
    sha256 = hashlib.sha256(body).hexdigest()
    shown = publications(project, spec, window)
    newest = next((each for each in shown if each.metadata[REVISION] == revision), None)
    if newest is None or newest.metadata.get(MANIFEST) != sha256:
        yield Violation(column=None, rule="the manifest that was published", found="other bytes")
    yield from _signature(project, spec, window, revision, keyring)
    if _is_revoked(registry, manifest, keyring):
        rule = "a model whose signatures count"
        yield Violation(column=None, rule=rule, found="a key that was revoked")
    yield from _files(project, spec, window, manifest)


def _signature(
    project: Project, spec: PipelineSpec, window: Window, revision: str, keyring: Keyring
) -> Iterator[Violation]:
    """Yield that no signature counts, unless this keyring knows none of those who signed."""
    store, rule = manifests(project, spec), "a signature that counts"
    signers = list(store.signatures(window, revision))
    known = [key for key in map(keyring.find, signers) if key is not None]
    if signers and not known:
        return
    try:
        read_signed_manifest(store, window, revision, keyring)
    except ManifestInvalid:
        revoked = [f"key {key.id}, which was revoked" for key in known if key.revoked_at]
        found = ", ".join(revoked) or ("one of other bytes" if signers else "none")
        yield Violation(column=None, rule=rule, found=found)


def _is_revoked(registry: Registry, manifest: Manifest, keyring: Keyring) -> bool:
    model = manifest.model
    try:
        open_version(registry, version_of(manifest), None)
        promotion_log(registry, model.name, model.alias).history(keyring)
    except ModelRefused as error:
        return error.reason is Refusal.KEY_REVOKED
    return False


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
