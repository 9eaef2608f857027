"""Verify what is published: every file, count, key and digest against the window's manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from batchinf_assets.contracts.validate import check_same_keys, check_unique_key
from batchinf_assets.errors import (
    KeyringInvalid,
    ManifestInvalid,
    ModelRefused,
    WindowMissing,
)
from batchinf_assets.features.build import made_rows
from batchinf_assets.lake.digest import content_digest, file_sha256
from batchinf_assets.manifest import Manifest
from batchinf_assets.project import Project
from batchinf_assets.publishing.gate import REQUIRED_CHECKS, derived_revision, miscounts
from batchinf_assets.publishing.publish import MANIFEST
from batchinf_assets.registry.artifact import open_artifact
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import promotion_log
from batchinf_assets.scoring.predictions import (
    changed_files,
    manifests,
    prediction_rows,
    predictions_table,
)
from batchinf_assets.snapshots.freeze import frozen_rows
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The verdict on one published window.

    Attributes:
        window: The window's key.
        revision: The visible revision, or None where nothing is published.
        problems: What is wrong, one sentence each; empty if all holds.
    """

    window: str
    revision: str | None
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether a revision is published and everything about it verifies."""
        return self.revision is not None and not self.problems


def verify_window(
    project: Project, registry: Registry, spec: PipelineSpec, window: Window
) -> Verification:
    """Check everything that the published revision of a window claims."""
    table = predictions_table(project, spec)
    files = table.files_of(window)
    if not files:
        nothing = f"Nothing is published. Run it: `batchinf run {spec.name} {window}`."
        return Verification(window=window.key, revision=None, problems=(nothing,))
    revision = files[0].parent.name
    try:
        manifest = manifests(project, spec).read(window, revision)
        named = {table.folder / output.path for output in manifest.outputs}
        problems = [
            *(f"{path} is published but not in the manifest." for path in set(files) - named),
            *(f"{path} is in the manifest but not published." for path in named - set(files)),
            *(f"Rows must be {v.rule}." for v in changed_files(table.folder, manifest.outputs)),
        ] or list(_contents(project, registry, spec, window, manifest))
        path = manifests(project, spec).path(window, revision)
        if table.commit_metadata(window).get(MANIFEST) != file_sha256(path):
            problems.append(f"{path} is not the manifest that was published: its bytes changed.")
    except (ManifestInvalid, WindowMissing) as error:
        problems = [str(error)]
    return Verification(window=window.key, revision=revision, problems=tuple(problems))


def undeclared(key: str) -> Verification:
    """Return the verdict on a published window that the pipeline no longer declares."""
    problem = "It is published, but defs.yaml no longer declares this window."
    return Verification(window=key, revision=None, problems=(problem,))


def _contents(
    project: Project, registry: Registry, spec: PipelineSpec, window: Window, manifest: Manifest
) -> Iterator[str]:
    key = spec.source.key
    snapshot = frozen_rows(project, spec, window, manifest.snapshot.digest)
    features = made_rows(project, spec, window, manifest.features, manifest.snapshot.digest)
    rows = prediction_rows(project, spec, manifest)
    yield from (f"Rows must be {violation.rule}." for violation in miscounts(manifest))
    if rows.num_rows != manifest.counts.scored:
        yield f"The files hold {rows.num_rows} rows, the manifest says {manifest.counts.scored}."
    if content_digest(snapshot, key) != manifest.snapshot.digest:
        yield "The snapshot's rows are not those that were scored."
    if content_digest(features, key) != manifest.features.digest:
        yield "The features' rows are not those that were scored."
    for check in (
        check_unique_key(rows, key=key, asset="predictions"),
        check_same_keys(snapshot, rows, key=key, asset="predictions"),
    ):
        yield from (f"{check.name}: {violation}." for violation in check.violations)
    yield from _model(registry, manifest)
    if derived_revision(manifest) != manifest.revision:
        yield f"The manifest's contents give revision {derived_revision(manifest)}."
    if manifest.pipeline != spec.name:
        yield f"The manifest is about pipeline {manifest.pipeline}."
    on_record = {(check.asset, check.name) for check in manifest.checks}
    for asset, names in REQUIRED_CHECKS.items():
        missing = [name for name in names if (asset, name) not in on_record]
        yield from (f"Check {asset}/{name} is not on record." for name in missing)
    yield from (
        f"Check {check.asset}/{check.name} is on record as failed."
        for check in manifest.checks
        if check.blocking and not check.passed
    )


def _model(registry: Registry, manifest: Manifest) -> Iterator[str]:
    """Hold the model against its signatures; that they were in time was checked when it scored."""
    model = manifest.model
    try:
        keyring = read_keyring(registry.keys)
        open_artifact(
            registry.artifact_root,
            name=model.name,
            version=model.version,
            digest=model.digest,
            keyring=keyring,
            at=None,
        )
        log = promotion_log(registry, model.name, model.alias)
        records = {record.sequence: record for record in log.history(keyring)}
    except (ModelRefused, KeyringInvalid) as error:
        yield str(error)
        return
    promotion = records.get(model.promotion or 0)
    promoted = (promotion.version, promotion.digest) if promotion else None
    if promoted != (model.version, model.digest):
        yield f"No signed promotion made {model.name} v{model.version} the {model.alias}."
