"""What a rollback would change, found out and judged before anything is written.

The revision to go back to must be one that readers saw, whole, and condemned by nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from batchinf_assets.checks import Violation
from batchinf_assets.errors import BatchinfError, ManifestInvalid, UsageError
from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import Event
from batchinf_assets.publishing.gate import miscounts, unmet_checks
from batchinf_assets.publishing.publish import MANIFEST
from batchinf_assets.publishing.signed import VerifiedManifest, read_signed_manifest
from batchinf_assets.publishing.visible import nothing_visible, publications
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.condemnations import (
    condemned_revisions,
    require_not_condemned,
    verdicts,
)
from batchinf_assets.scoring.predictions import (
    REVISION,
    changed_files,
    manifests,
    predictions_table,
    published_revision,
)
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window


class NothingToGoBackTo(BatchinfError):
    """Readers never saw another revision of the window that may be shown."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What readers see of a window; rows and model are None where its manifest is unreadable.

    Attributes:
        revision: The revision.
        rows: Its rows.
        model: The model that scored it, with its version.
    """

    revision: str
    rows: int | None
    model: str | None


@dataclass(frozen=True, kw_only=True)
class RollbackPlan:
    """What a rollback would change; nothing was written.

    Attributes:
        window: The window's key.
        event: What consumers would be told.
        before: What readers see; None for nothing.
        after: What they would see; None for nothing.
        target: The verified manifest of `after`.
    """

    window: str
    event: Event
    before: Seen | None
    after: Seen | None
    target: VerifiedManifest | None


def plan_rollback(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    *,
    to: str | None,
    withdraw: bool = False,
    reinstate: bool = False,
) -> RollbackPlan:
    """Say what a rollback would change, and make sure that it may.

    Args:
        project: Where the tables are.
        registry: Whose keys count.
        spec: The pipeline.
        window: The window.
        to: A revision that readers saw before; if None the last one that nobody condemned.
        withdraw: Show nothing instead.
        reinstate: Show a condemned revision again, and condemn none.

    Raises:
        UsageError: What is asked for contradicts itself, or `to` was never published, is visible
            already, or was never condemned and is to be reinstated.
        WindowMissing: Nothing is published that could be withdrawn.
        NothingToGoBackTo: Readers saw no other revision that may be shown.
        RevisionCondemned: `to` is condemned.
        ManifestInvalid: The earlier revision is not whole any more.
        KeyringInvalid: There is no keyring.
    """
    _require_one_wish(to=to, withdraw=withdraw, reinstate=reinstate)
    present = published_revision(project, spec, window)
    before = seen_revision(project, spec, window, present)
    if withdraw:
        if before is None:
            raise nothing_visible(project, spec, window)
        return RollbackPlan(
            window=window.key, event="withdrawn", before=before, after=None, target=None
        )
    chosen = to or _earlier(project, spec, window, present)
    _require_allowed(project, spec, window, chosen, present, reinstate=reinstate)
    target = _whole(project, registry, spec, window, chosen)
    return RollbackPlan(
        window=window.key,
        event="reinstated" if reinstate else "rolled_back",
        before=before,
        after=seen_revision(project, spec, window, chosen),
        target=target,
    )


def _require_one_wish(*, to: str | None, withdraw: bool, reinstate: bool) -> None:
    if withdraw and (to is not None or reinstate):
        raise UsageError(
            "A window is either withdrawn or goes back to a revision, not both.",
            next_step="Leave one of the two out.",
        )
    if reinstate and to is None:
        raise UsageError(
            "Which revision is to be reinstated?", next_step="Name it: `--to REVISION`."
        )


def _require_allowed(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    chosen: str,
    present: str | None,
    *,
    reinstate: bool,
) -> None:
    if chosen == present and not reinstate:
        raise UsageError(
            f"Readers see revision {chosen} of window {window} already.",
            next_step=f"See what else there is: `batchinf status {spec.name}`.",
        )
    if not reinstate:
        require_not_condemned(project, spec, window, chosen)
    elif not verdicts(project, spec, window, chosen):
        raise UsageError(
            f"Nobody condemned revision {chosen} of window {window}.",
            next_step="Leave --reinstate out.",
        )


def _earlier(project: Project, spec: PipelineSpec, window: Window, present: str | None) -> str:
    """Return the revision that readers saw last, but for the present one and condemned ones."""
    unfit = {present, *condemned_revisions(project, spec, window)}
    for commit in publications(project, spec, window):
        if commit.metadata[REVISION] not in unfit:
            return commit.metadata[REVISION]
    raise NothingToGoBackTo(
        f"Readers saw no other revision of window {window} of {spec.name} that may be shown.",
        next_step="Let them see nothing (--withdraw), or correct what is wrong and run the window "
        f"again: `batchinf run {spec.name} {window}`.",
    )


def _whole(
    project: Project, registry: Registry, spec: PipelineSpec, window: Window, revision: str
) -> VerifiedManifest:
    """Read the signed manifest of a revision that readers saw; all that it names must be there."""
    named = (c for c in publications(project, spec, window) if c.metadata[REVISION] == revision)
    newest = next(named, None)
    if newest is None:
        raise UsageError(
            f"Readers never saw a revision {revision[:40]} of window {window} of {spec.name}.",
            next_step=f"Those that they saw: {', '.join(_shown(project, spec, window)) or 'none'}.",
        )
    store = manifests(project, spec)
    signed = read_signed_manifest(store, window, revision, read_keyring(registry.keys))
    problems = list(_damage(project, spec, signed))
    if newest.metadata.get(MANIFEST) != signed.sha256:
        problems.insert(0, Violation(column=None, rule="of the manifest that was published"))
    if problems:
        raise ManifestInvalid(
            f"Revision {revision} of window {window} cannot be shown again: rows must be "
            f"{problems[0].rule}.",
            next_step="Restore it from a backup, or choose another revision: `--to REVISION`.",
        )
    return signed


def _damage(project: Project, spec: PipelineSpec, signed: VerifiedManifest) -> Iterator[Violation]:
    yield from unmet_checks(signed.manifest)
    yield from miscounts(signed.manifest)
    yield from changed_files(predictions_table(project, spec).folder, signed.manifest.outputs)


def _shown(project: Project, spec: PipelineSpec, window: Window) -> list[str]:
    commits = publications(project, spec, window)
    return list(dict.fromkeys(commit.metadata[REVISION] for commit in commits))


def seen_revision(
    project: Project, spec: PipelineSpec, window: Window, revision: str | None
) -> Seen | None:
    """Describe a revision by its manifest; None for none."""
    if revision is None:
        return None
    try:
        manifest = manifests(project, spec).read(window, revision)
    except ManifestInvalid:
        return Seen(revision=revision, rows=None, model=None)
    model = f"{manifest.model.name} v{manifest.model.version}"
    return Seen(revision=revision, rows=manifest.counts.scored, model=model)
