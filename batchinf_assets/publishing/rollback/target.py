"""Which revision readers may see again: one that they saw, condemned by nobody, and that holds.

It is held as `verify` holds it, but for the digests of its rows: its files must have the bytes that
were published. There are three answers: good, bad, and that nobody can tell here and now, for want
of a model, a key or an input. Only what is bad of the revision itself is stepped over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from batchinf_assets.errors import (
    BatchinfError,
    FailureClass,
    ManifestInvalid,
    ModelRefused,
    Refusal,
    UsageError,
)
from batchinf_assets.lake.manifests import ManifestStore
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.publishing.gate import miscounts, unmet_checks
from batchinf_assets.publishing.proof.verify import claim_problems, model_problems
from batchinf_assets.publishing.publish import MANIFEST
from batchinf_assets.publishing.signed import (
    VerifiedManifest,
    read_signed_manifest,
    signers,
)
from batchinf_assets.publishing.visible import publications
from batchinf_assets.registry.keyring import Keyring, read_keyring
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import open_version
from batchinf_assets.scoring.condemnations import condemned_revisions
from batchinf_assets.scoring.model import version_of
from batchinf_assets.scoring.predictions import (
    REVISION,
    changed_files,
    manifests,
    predictions_table,
)
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

Objection = Callable[[Manifest], str | None]
"""Says why a revision must not be shown, whole as it is; None where nothing speaks against it.

Where it cannot tell it raises a `BatchinfError`.
"""

_PASSED_ON = frozenset(
    {
        FailureClass.TRANSIENT,
        FailureClass.PREEMPTED,
        FailureClass.CONFLICT,
        FailureClass.PERMISSION,
        FailureClass.MACHINE,
        FailureClass.UNEXPECTED,
    }
)
"""Failures that say nothing of any revision, and whose name tells more than ours would."""


def nobody_objects(_manifest: Manifest) -> None:
    """Let every revision that holds be shown."""


class NothingToGoBackTo(BatchinfError):
    """Readers never saw another revision of the window that may be shown.

    Attributes:
        stepped_over: Why each that they saw, and nobody condemned, may not, as sentences.
    """

    def __init__(self, message: str, *, next_step: str, stepped_over: tuple[str, ...]) -> None:
        super().__init__(message, next_step=next_step)
        self.stepped_over = stepped_over


class TargetUnjudged(BatchinfError):
    """Whether a revision may be shown again cannot be told, here and now: something else lacks."""

    failure_class = FailureClass.MACHINE


def earlier_revision(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    present: str | None,
    objection: Objection = nobody_objects,
) -> tuple[VerifiedManifest, tuple[str, ...]]:
    """Return the revision that readers saw last and that holds, and why later ones do not.

    The present one and condemned ones do not count, nor do those that are objected to. One that
    cannot be judged ends the search: it may be good.

    Raises:
        NothingToGoBackTo: There is none.
        TargetUnjudged: Of one nobody can tell.
        BatchinfError: What an objection raises for another reason than the revision.
        KeyringInvalid: There is no keyring.
    """
    unfit = {present, *condemned_revisions(project, spec, window)}
    stepped_over: list[str] = []
    for revision in _shown(project, spec, window):
        if revision in unfit:
            continue
        try:
            found = whole_revision(project, registry, spec, window, revision)
        except ManifestInvalid as error:
            stepped_over.append(error.message)
            continue
        if (why := _objected(window, found.manifest, objection)) is None:
            return found, tuple(stepped_over)
        stepped_over.append(_unfit(window, revision, why))
    raise NothingToGoBackTo(
        " ".join(
            [
                f"Readers saw no other revision of window {window} of {spec.name} that may be "
                "shown.",
                *stepped_over,
            ]
        ),
        next_step="Let them see nothing (--withdraw), or correct what is wrong and run the window "
        f"again: `batchinf run {spec.name} {window}`.",
        stepped_over=tuple(stepped_over),
    )


def whole_revision(
    project: Project, registry: Registry, spec: PipelineSpec, window: Window, revision: str
) -> VerifiedManifest:
    """Read the signed manifest of a revision that readers saw; all that it names must hold.

    Raises:
        UsageError: Readers never saw it.
        ManifestInvalid: It does not hold.
        TargetUnjudged: Nobody can tell, as this machine lacks a model, a promotion or a key.
        KeyringInvalid: There is no keyring.
    """
    named = (c for c in publications(project, spec, window) if c.metadata[REVISION] == revision)
    newest = next(named, None)
    if newest is None:
        raise UsageError(
            f"Readers never saw a revision {revision[:40]} of window {window} of {spec.name}.",
            next_step=f"Those that they saw: {', '.join(_shown(project, spec, window)) or 'none'}.",
        )
    published, keyring = newest.metadata.get(MANIFEST), read_keyring(registry.keys)
    signed = _signed(manifests(project, spec), window, revision, keyring, published)
    problems = _problems(project, registry, spec, signed.manifest)
    if published != signed.sha256:
        problems = iter(["Its manifest is not the one that was published."])
    first = next(problems, None)
    if first is not None:
        raise ManifestInvalid(
            _unfit(window, revision, first),
            next_step="Restore it from a backup, or choose another revision: `--to REVISION`.",
        )
    unknown = next(model_problems(registry, signed.manifest), None)
    if unknown is not None:
        raise _unjudged(window, revision, str(unknown))
    return signed


def _signed(
    store: ManifestStore, window: Window, revision: str, keyring: Keyring, published: str | None
) -> VerifiedManifest:
    """Read a signed manifest; what is known here of keys, times and formats is no fault of it.

    Raises:
        ManifestInvalid: It is missing, unsigned, not what was published, or its key was revoked.
        TargetUnjudged: It is what was published, with a signature that may count elsewhere.
    """
    try:
        return read_signed_manifest(store, window, revision, keyring)
    except ManifestInvalid as error:
        body = store.body(window, revision)
        worth = {*signers(store, window, revision, body, keyring).values()}
        may_count = "counts" in worth or ("unknown" in worth and "revoked" not in worth)
        if may_count and hashlib.sha256(body).hexdigest() == published:
            raise _unjudged(window, revision, error.message) from error
        raise


def _objected(window: Window, manifest: Manifest, objection: Objection) -> str | None:
    try:
        return objection(manifest)
    except BatchinfError as error:
        if error.failure_class in _PASSED_ON:
            raise
        raise _unjudged(window, manifest.revision, error.message) from error


def _unjudged(window: Window, revision: str, why: str) -> TargetUnjudged:
    return TargetUnjudged(
        f"Whether revision {revision} of window {window} may be shown again cannot be told: {why}",
        next_step="Nothing was changed. Restore what lacks, or ask where it is at hand; or choose "
        "another revision: `--to REVISION`.",
    )


def _unfit(window: Window, revision: str, why: str) -> str:
    return f"Revision {revision} of window {window} cannot be shown again: {why}"


def _problems(
    project: Project, registry: Registry, spec: PipelineSpec, manifest: Manifest
) -> Iterator[str]:
    """Yield what is wrong with a signed manifest and what it names, the cheapest first."""
    yield from (f"Rows must be {each.rule}." for each in unmet_checks(manifest))
    yield from (f"Rows must be {each.rule}." for each in miscounts(manifest))
    yield from claim_problems(spec, manifest)
    yield from _revocation(registry, manifest)
    folder = predictions_table(project, spec).folder
    yield from (f"Rows must be {each.rule}." for each in changed_files(folder, manifest.outputs))


def _revocation(registry: Registry, manifest: Manifest) -> Iterator[str]:
    """Yield that the key of the model was revoked; what else it lacks is not known of it."""
    try:
        open_version(registry, version_of(manifest), None)
    except ModelRefused as error:
        if error.reason is Refusal.KEY_REVOKED:
            yield str(error)


def _shown(project: Project, spec: PipelineSpec, window: Window) -> list[str]:
    commits = publications(project, spec, window)
    return list(dict.fromkeys(commit.metadata[REVISION] for commit in commits))
