"""What a rollback would change, found out and judged before anything is written.

Which revisions may be shown again is `rollback_target`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import LostRace, ManifestInvalid, UsageError
from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import Event
from batchinf_assets.publishing.rollback.target import (
    Objection,
    earlier_revision,
    nobody_objects,
    whole_revision,
)
from batchinf_assets.publishing.signed import VerifiedManifest
from batchinf_assets.publishing.visible import nothing_visible
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.condemnations import (
    condemned_revisions,
    require_not_condemned,
    verdicts,
)
from batchinf_assets.scoring.predictions import (
    manifests,
    published_revision,
)
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


@dataclass(frozen=True, kw_only=True)
class RollbackRequest:
    """What somebody wants to be taken back.

    Attributes:
        by: Who wants it.
        reason: Why, in words; consumers read it.
        at: When.
        to: A revision that readers saw before; if None the last one that nobody condemned and that
            holds.
        withdraw: Show nothing instead.
        reinstate: Show the condemned revision `to` again, and condemn none.
        seen: The revision that readers see and that this is about: if they see another one by
            then, nothing is changed. None for nothing, `anything` for whatever they see.
        check: The failed check that asks for it, if one does; kept with the verdict.
        objection: Why an earlier revision that holds must not be shown either, if so. Asked only
            where `to` is None.
    """

    by: str
    reason: str
    at: datetime
    to: str | None = None
    withdraw: bool = False
    reinstate: bool = False
    seen: str | None = "anything"
    check: CheckResult | None = None
    objection: Objection = field(default=nobody_objects, compare=False)

    @property
    def event(self) -> Event:
        """What consumers are told of it."""
        if self.withdraw:
            return "withdrawn"
        return "reinstated" if self.reinstate else "rolled_back"


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
        stepped_over: Why it is none of the revisions seen since, as sentences.
    """

    window: str
    event: Event
    before: Seen | None
    after: Seen | None
    target: VerifiedManifest | None
    stepped_over: tuple[str, ...] = ()


def plan_rollback(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    request: RollbackRequest,
) -> RollbackPlan:
    """Say what a rollback would change, and make sure that it may.

    Args:
        project: Where the tables are.
        registry: Whose keys and models count.
        spec: The pipeline.
        window: The window.
        request: What is asked for.

    Raises:
        UsageError: What is asked for contradicts itself, or `to` was never published, is visible
            already, or was never condemned and is to be reinstated.
        LostRace: Readers do not see the revision that the request is about.
        WindowMissing: Nothing is published that could be withdrawn.
        NothingToGoBackTo: Readers saw no other revision that may be shown.
        RevisionCondemned: `to` is condemned.
        ManifestInvalid: `to` is not whole any more, or its model is not trusted any more.
        KeyringInvalid: There is no keyring.
    """
    _require_one_wish(request)
    present = published_revision(project, spec, window)
    _require_seen(spec, window, request, present)
    before = seen_revision(project, spec, window, present)
    if request.withdraw:
        if before is None:
            raise nothing_visible(project, spec, window)
        return RollbackPlan(
            window=window.key, event="withdrawn", before=before, after=None, target=None
        )
    target, stepped_over = _target(project, registry, spec, window, request, present)
    return RollbackPlan(
        window=window.key,
        event=request.event,
        before=before,
        after=seen_revision(project, spec, window, target.manifest.revision),
        target=target,
        stepped_over=stepped_over,
    )


def still_so(project: Project, spec: PipelineSpec, window: Window, plan: RollbackPlan) -> bool:
    """Say whether readers see what they saw, and nobody condemned what they shall see, since."""
    before, after = (each.revision if each else None for each in (plan.before, plan.after))
    condemned = plan.event == "rolled_back" and after in condemned_revisions(project, spec, window)
    return published_revision(project, spec, window) == before and not condemned


def _require_one_wish(request: RollbackRequest) -> None:
    if request.withdraw and (request.to is not None or request.reinstate):
        raise UsageError(
            "A window is either withdrawn or goes back to a revision, not both.",
            next_step="Leave one of the two out.",
        )
    if request.reinstate and request.to is None:
        raise UsageError(
            "Which revision is to be reinstated?", next_step="Name it: `--to REVISION`."
        )


def _require_seen(
    spec: PipelineSpec, window: Window, request: RollbackRequest, present: str | None
) -> None:
    if request.seen in ("anything", present):
        return
    raise LostRace(
        f"Readers of window {window} of {spec.name} see {named(present)} by now, not "
        f"{named(request.seen)}.",
        next_step=f"Nothing was changed; look at it and decide again: `batchinf status {spec.name}`"
        ".",
    )


def named(revision: str | None) -> str:
    """Return what a sentence calls a revision that readers see, if they see one."""
    return f"revision {revision}" if revision else "nothing"


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


def _target(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    request: RollbackRequest,
    present: str | None,
) -> tuple[VerifiedManifest, tuple[str, ...]]:
    """Return what to show again, and why that is none of the revisions seen since."""
    if request.to is None:
        return earlier_revision(project, registry, spec, window, present, request.objection)
    _require_allowed(project, spec, window, request.to, present, reinstate=request.reinstate)
    return whole_revision(project, registry, spec, window, request.to), ()


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
