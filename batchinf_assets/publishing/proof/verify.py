"""Verify what is published: signature, files, counts, keys and digests of a window's manifest."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from batchinf_assets.errors import (
    BatchinfError,
    KeyringInvalid,
    ManifestInvalid,
    ModelRefused,
    WindowMissing,
)
from batchinf_assets.features.build import made_rows
from batchinf_assets.lake.digest import RowsDigest
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.presence import Presence
from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import last_announcement, untold
from batchinf_assets.publishing.condemned import condemned
from batchinf_assets.publishing.gate import REQUIRED_CHECKS, miscounts
from batchinf_assets.publishing.publish import MANIFEST
from batchinf_assets.publishing.row_keys import check_kept_keys, output_files
from batchinf_assets.publishing.signed import RESTORE, read_signed_manifest
from batchinf_assets.publishing.verdicts_of_now import unexcused_failures
from batchinf_assets.publishing.visible import publications, visible_files
from batchinf_assets.registry.artifact import open_artifact
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import promotion_log
from batchinf_assets.scoring.predictions import (
    REVISION,
    changed_files,
    empty_revision,
    manifests,
    predictions_table,
)
from batchinf_assets.scoring.revision import derived_revision
from batchinf_assets.snapshots.freeze import frozen_rows
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


@dataclass(frozen=True)
class Unread:
    """That something could not be looked at.

    Attributes:
        why: The failure, as a sentence.
    """

    why: str

    def __str__(self) -> str:
        return f"It is not known whether it holds: {self.why}"


Problem = str | Unread
"""A sentence says that something is not as it should be."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The verdict on one published window.

    Attributes:
        window: The window's key.
        revision: The revision that was looked at, or None where nothing is published.
        problems: What is wrong, one sentence each; empty if all holds.
        known: False where not everything could be looked at.
    """

    window: str
    revision: str | None
    problems: tuple[str, ...]
    known: bool = True

    @property
    def holds(self) -> bool:
        """Whether a revision is published and everything about it verifies."""
        return self.revision is not None and not self.problems


def verify_window(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    *,
    revision: str | None = None,
) -> Verification:
    """Check everything that a published revision of a window claims, row group by row group.

    Args:
        project: Where the tables are.
        registry: Whose artifacts and keys count.
        spec: The pipeline.
        window: The window.
        revision: One that was superseded; the one that readers see if None.

    Raises:
        BatchinfError: The store failed before anything wrong was found; after that it is told.
        OSError: The same, of a disk.
    """
    files = visible_files(project, spec).get(window.key, ())
    visible = files[0].parent.name if files else empty_revision(project, spec, window)
    looked_at = visible if revision is None else revision
    if looked_at is None:
        nothing = (_nothing(project, spec, window), *_untold(project, spec, window))
        return Verification(window=window.key, revision=None, problems=nothing)
    seen = files if looked_at == visible else None
    found = list[Problem]()
    try:
        for problem in _problems(project, registry, spec, window, looked_at, seen):
            found.append(problem)
    except (ManifestInvalid, WindowMissing) as error:
        found.append(_problem(error))
    except (BatchinfError, OSError) as error:
        if not found:
            raise
        found.append(Unread(str(error)))
    problems = tuple(dict.fromkeys(map(str, found)))
    known = not any(isinstance(problem, Unread) for problem in found)
    return Verification(window=window.key, revision=looked_at, problems=problems, known=known)


def verify_key(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    key: str,
    presence: Presence,
    *,
    revision: str | None = None,
) -> Verification:
    """Verify one of several windows: one that cannot be looked at hides no other.

    Nor is anything known of one after which the pipeline's folder is gone.

    Args:
        project: Where the tables are.
        registry: Whose artifacts and keys count.
        spec: The pipeline.
        key: The window's key, as the table of predictions has it.
        presence: Of the pipeline's folder, before its windows were listed.
        revision: One that was superseded; the one that readers see if None.
    """
    if not spec.window.has(key):
        return _undeclared(key)
    try:
        with presence.required():
            window = spec.window.window(key)
            return verify_window(project, registry, spec, window, revision=revision)
    except (BatchinfError, OSError) as error:
        return _not_known(key, error)


def _undeclared(key: str) -> Verification:
    problem = "It is published, but defs.yaml no longer declares this window."
    return Verification(window=key, revision=None, problems=(problem,))


def _not_known(key: str, error: Exception) -> Verification:
    problem = str(Unread(str(error)))
    return Verification(window=key, revision=None, problems=(problem,), known=False)


_OF_WHAT_IS_THERE = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
"""Errors that are a file's, not the disk's and not for want of rights; pyarrow's have no number."""


def _problem(error: BatchinfError) -> Problem:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno not in _OF_WHAT_IS_THERE:
        return Unread(str(error))
    return str(error)


def _nothing(project: Project, spec: PipelineSpec, window: Window) -> str:
    last = last_announcement(project, spec, window)
    if last is not None and last.event == "withdrawn":
        return f"Nothing is published: {last}."
    return f"Nothing is published. Run it: `batchinf run {spec.name} {window}`."


def _until_unreadable(problems: Iterator[str]) -> Iterator[Problem]:
    try:
        yield from problems
    except (ManifestInvalid, WindowMissing) as error:
        yield _problem(error)


def _problems(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    revision: str,
    files: tuple[Place, ...] | None,
) -> Iterator[Problem]:
    """Yield what is wrong with a revision; `files` are what readers see of it, None if nothing."""
    store = manifests(project, spec)
    if files is not None:
        yield from _until_unreadable(_condemnation(project, spec, window, revision))
        yield from _until_unreadable(_untold(project, spec, window))
    yield from _signature(project, registry, spec, window, revision)
    manifest = store.read(window, revision)
    damaged = tuple(_files(project, spec, manifest, files))
    yield from damaged
    if not damaged:
        yield from _until_unreadable(_contents(project, spec, window, manifest))
    yield from model_problems(registry, manifest)
    yield from claim_problems(spec, manifest)


def _condemnation(
    project: Project, spec: PipelineSpec, window: Window, revision: str
) -> Iterator[str]:
    found = condemned(project, spec, window, revision)
    if found is not None:
        yield (
            f"Readers see it, though it was condemned, {found}. Repeat the rollback: `batchinf "
            f"rollback {spec.name} {window} --reason TEXT`."
        )


def _untold(project: Project, spec: PipelineSpec, window: Window) -> Iterator[str]:
    """Say that a commit changed what readers see, and that its announcement is missing."""
    said = untold(project, spec, window)
    if said is None:
        return
    again = "--withdraw" if said.after is None else f"--to {said.after}"
    again += " --reinstate" if said.event == "reinstated" else ""
    yield (
        f"Consumers were not told: {said}. Tell them by repeating it: `batchinf rollback "
        f"{spec.name} {window} {again} --reason TEXT`."
    )


def _signature(
    project: Project, registry: Registry, spec: PipelineSpec, window: Window, revision: str
) -> Iterator[Problem]:
    store = manifests(project, spec)
    try:
        read_signed_manifest(store, window, revision, read_keyring(registry.keys))
    except (ManifestInvalid, KeyringInvalid) as error:
        yield _problem(error)
    sha256 = hashlib.sha256(store.body(window, revision)).hexdigest()
    committed = publications(project, spec, window)
    named = next((each for each in committed if each.metadata[REVISION] == revision), None)
    if named is None or named.metadata.get(MANIFEST) != sha256:
        path = store.path(window, revision)
        yield f"{path} is not the manifest that was published: its bytes changed. {RESTORE}"


def _files(
    project: Project, spec: PipelineSpec, manifest: Manifest, files: tuple[Place, ...] | None
) -> Iterator[str]:
    folder = predictions_table(project, spec).folder
    named = {folder / output.path for output in manifest.outputs}
    seen = named if files is None else set(files)
    yield from (f"{path} is published but not in the manifest." for path in seen - named)
    yield from (f"{path} is in the manifest but not published." for path in named - seen)
    yield from (f"Rows must be {v.rule}." for v in changed_files(folder, manifest.outputs))


def _contents(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> Iterator[str]:
    """Hold rows against digests and counts; only for files whose bytes are those on record."""
    key = spec.source.key
    yield from (f"Rows must be {violation.rule}." for violation in miscounts(manifest))
    for output, file in zip(manifest.outputs, output_files(project, spec, manifest), strict=True):
        if sum(file.rows) != output.rows:
            yield f"{output.path} holds {sum(file.rows)} rows, the manifest says {output.rows}."
    snapshot = frozen_rows(project, spec, window, manifest.snapshot)
    features = made_rows(project, spec, window, manifest.features, manifest.snapshot.digest)
    if _digest(snapshot, key) != manifest.snapshot.digest:
        yield "The snapshot's rows are not those that were scored."
    if _digest(features, key) != manifest.features.digest:
        yield "The features' rows are not those that were scored."
    for check in check_kept_keys(project, spec, window, manifest):
        yield from (f"{check.name}: {violation}." for violation in check.violations)


def _digest(rows: RowGroups, key: Sequence[str]) -> str | None:
    try:
        digest = RowsDigest(rows.schema, key, threads=pa.cpu_count())
        for group in rows.all():
            digest.update(group)
    except (TypeError, ValueError):  # columns that we never write, or rows out of order
        return None
    return digest.hexdigest()


def claim_problems(spec: PipelineSpec, manifest: Manifest) -> Iterator[str]:
    """Hold a manifest against itself, and against what every publication must have checked."""
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
        for check in unexcused_failures(manifest)
    )


def model_problems(registry: Registry, manifest: Manifest) -> Iterator[Problem]:
    """Hold the model against its signatures; that they were in time was checked when it scored.

    Yields:
        What is wrong with the artifact, its signature, its key or its promotion.
    """
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
        yield _problem(error)
        return
    promotion = records.get(model.promotion or 0)
    promoted = (promotion.version, promotion.digest) if promotion else None
    if promoted != (model.version, model.digest):
        yield f"No signed promotion made {model.name} v{model.version} the {model.alias}."
