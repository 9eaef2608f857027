"""Take a published revision back: readers see an earlier one again, or nothing, by one commit.

First it is written down that the revision was condemned, then the commit is made, then consumers
are told. Whoever dies in between leaves nothing that a retry could publish, and who repeats the
command finishes what is left. No data is copied and none is removed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa

from batchinf_assets.attempts import Attempt, attempting
from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import BatchinfError, LostRace
from batchinf_assets.evaluation.report.write import write_window_report
from batchinf_assets.lake.fence import Fence
from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import Announcement, announce, last_announcement
from batchinf_assets.publishing.proof.recorded_figures import recorded_figures
from batchinf_assets.publishing.publish import show_revision
from batchinf_assets.publishing.reasons import reasoned
from batchinf_assets.publishing.rollback.plan import (
    RollbackPlan,
    RollbackRequest,
    Seen,
    plan_rollback,
    seen_revision,
    still_so,
)
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.condemnations import Condemnation, say
from batchinf_assets.scoring.predictions import manifests, predictions_table
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.attempt import REASON_CHARACTERS, ROLLBACK
from batchinf_assets.windows import Window

State = Literal["rolled_back", "withdrawn", "reinstated", "nothing_to_go_back_to"]


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """What a rollback did.

    Attributes:
        state: What became of the window; `nothing_to_go_back_to` where it was left as it is.
        window: The window's key.
        before: What readers saw; None for nothing.
        after: What they see now; None for nothing.
        told: What consumers were told; None where nothing was changed.
        stepped_over: Why readers see none of the revisions seen since, as sentences.
        page_problem: Why the pages of the revisions could not be written again, if so.
    """

    state: State
    window: str
    before: Seen | None
    after: Seen | None
    told: Announcement | None
    stepped_over: tuple[str, ...] = ()
    page_problem: str | None = None


def roll_back(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    request: RollbackRequest,
    *,
    lease: Fence,
    planned: RollbackPlan | None = None,
) -> Rollback:
    """Let readers see an earlier revision again, and condemn the one that they see.

    One that died before consumers were told is finished first; where that is the very one that is
    asked for, nothing else is done.

    Args:
        project: Where the tables are.
        registry: Whose keys and models count.
        spec: The pipeline.
        window: The window.
        request: What is asked for.
        lease: The attempt's hold on the window.
        planned: What was planned for this request a moment ago; its files are not read again.

    Raises:
        BatchinfError: What `plan_rollback` raises; nothing was changed.
        UsageError: `by` or `reason` says nothing, or what no document may hold.
        LostRace: Another run changed the window meanwhile, or took it over.
        OSError: The lake cannot be written.
    """
    lease.require_held()
    told = announce(project, spec, window)
    if told is not None and is_asked_for(told, request):
        return as_announced(project, spec, window, told)
    plan = planned if planned and still_so(project, spec, window, planned) else None
    plan = plan or plan_rollback(project, registry, spec, window, request)
    said = reasoned(
        Announcement,
        "rollback",
        by=request.by,
        reason=request.reason,
        at=request.at,
        event=plan.event,
        pipeline=spec.name,
        window=window.key,
        before=plan.before.revision if plan.before else None,
        after=plan.after.revision if plan.after else None,
    )
    _write_down(project, spec, window, said, request.check)
    lease.require_held()
    if plan.target is None:
        predictions_table(project, spec).commit(window, [], said.metadata(), token=lease.token)
    else:
        show_revision(project, spec, window, plan.target, lease.token, said.metadata())
    announce(project, spec, window)
    return as_announced(project, spec, window, said, plan.stepped_over)


def is_asked_for(told: Announcement, request: RollbackRequest) -> bool:
    """Whether what was announced is what is asked for, by somebody who repeats it.

    `The one before` means another revision by now: only the same reason tells a repeated wish from
    a second one.
    """
    if told.event != request.event:
        return False
    if told.event == "rolled_back" and request.to is None:
        return told.reason == request.reason.strip()
    return request.to == told.after


def attempt_rollback(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    request: RollbackRequest,
    *,
    run_id: str,
    planned: RollbackPlan | None = None,
) -> Rollback:
    """Do `roll_back` under the window's lease, and let the ledger know what was done and why.

    The pages of both revisions are written again; where that fails, the rollback stands and says
    so.

    Args:
        project: Where the tables are.
        registry: Whose keys and models count.
        spec: The pipeline.
        window: The window.
        request: What is asked for.
        run_id: The run that the ledger names.
        planned: See `roll_back`.

    Raises:
        BatchinfError: What `roll_back` and `attempting` raise.
        OSError: The lake cannot be written.
    """
    with attempting(project, spec, window, run_id=run_id, stage=ROLLBACK) as attempt:
        done = roll_back(project, registry, spec, window, request, lease=attempt, planned=planned)
        _record(project, spec, window, attempt, done, request.check)
    return replace(done, page_problem=_write_pages(project, spec, window, done))


def record_rollback(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    said: Announcement,
    check: CheckResult | None,
    *,
    run_id: str,
) -> Rollback:
    """Let the ledger know of a rollback that was announced by a process that died before it did.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        window: The window.
        said: What was announced.
        check: The check that asked for it, if one did.
        run_id: The run that the ledger names.

    Raises:
        LostRace: Somebody works on the window, or changed it meanwhile.
        BatchinfError: What else `attempting` raises.
    """
    with attempting(project, spec, window, run_id=run_id, stage=ROLLBACK) as attempt:
        if last_announcement(project, spec, window) != said:
            raise LostRace(
                f"Somebody changed window {window} of {spec.name} meanwhile.",
                next_step="Nothing was recorded; look at it again.",
            )
        done = as_announced(project, spec, window, said)
        _record(project, spec, window, attempt, done, check)
    return replace(done, page_problem=_write_pages(project, spec, window, done))


def _record(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    attempt: Attempt,
    done: Rollback,
    check: CheckResult | None,
) -> None:
    """Tell the ledger what was done and, in the reason code, what asked for it where nobody did."""
    shown = None
    if done.after is not None and done.after.rows is not None:
        shown = manifests(project, spec).read(window, done.after.revision)
    code = f"{done.state}/{check.asset}" if check else done.state
    attempt.took_back(code, str(done.told)[:REASON_CHARACTERS], shown)


def _write_pages(
    project: Project, spec: PipelineSpec, window: Window, done: Rollback
) -> str | None:
    """Write the pages of both revisions as they stand now; return why not, if one was not."""
    problems: list[str] = []
    for seen in (done.before, done.after):
        try:
            if seen is not None:
                manifest = manifests(project, spec).read(window, seen.revision)
                write_window_report(project, spec, window, manifest)
        except (BatchinfError, OSError, pa.ArrowException) as error:
            problems.append(str(error))
    return " ".join(problems) or None


def _write_down(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    announced: Announcement,
    check: CheckResult | None,
) -> None:
    """Condemn what readers see, or lift the condemnation of what they shall see again."""
    reinstated = announced.event == "reinstated"
    revision = announced.after if reinstated else announced.before
    if revision is None:
        return
    said = Condemnation(
        pipeline=spec.name,
        window=window.key,
        revision=revision,
        verdict="reinstated" if reinstated else "condemned",
        by=announced.by,
        reason=announced.reason,
        at=announced.at,
        check=check,
        figures=recorded_figures(project, spec, window, revision),
    )
    say(project, spec, window, said)


def as_announced(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    told: Announcement,
    stepped_over: tuple[str, ...] = (),
) -> Rollback:
    """Return what a rollback did, by what consumers were told of it.

    Raises:
        ManifestInvalid: The manifest of a revision is damaged.
    """
    return Rollback(
        state=told.event,
        window=window.key,
        before=seen_revision(project, spec, window, told.before),
        after=seen_revision(project, spec, window, told.after),
        told=told,
        stepped_over=stepped_over,
    )
