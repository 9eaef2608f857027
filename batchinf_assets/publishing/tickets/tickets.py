"""Tickets: failed verdicts that somebody must look at, kept until somebody says why not any more.

One ticket per cause, with a finding for each window and revision that fails for it; closing one is
another document beside it. Which checks open a ticket is declared in `gate` of `defs.yaml`; the
documents are in `ticket_documents`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from batchinf_assets.checks import CheckResult, summarize
from batchinf_assets.errors import LostRace, UsageError
from batchinf_assets.evaluation.consequences import PERFORMANCE, consequence, is_verdict
from batchinf_assets.lake.decisions import keep_decision
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.publishing.reasons import reasoned
from batchinf_assets.publishing.tickets.ticket_documents import (
    Closing,
    Finding,
    KeptTicket,
    Ticket,
    closing_place,
    finding_place,
    read_closing,
    read_kept,
    ticket_ids,
    ticket_place,
    tickets_about,
)
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


def open_tickets(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    manifest: Manifest,
    checks: Iterable[CheckResult],
    now: datetime,
) -> tuple[Ticket, ...]:
    """Put every failed check whose declared consequence is a ticket into the one of its cause.

    - `golden_set`: the golden set; all windows that it is doubted for share one ticket.
    - `golden_quality`: the model and the golden set.
    - `drift` and `performance`: the first window of a streak. A window belongs to the streak of the
      window before it.

    A ticket that is there already, and a finding on the same revision, stay as they are. One that
    is closed stays closed: of one cause nobody is asked twice.

    Args:
        project: Where the tickets are.
        spec: Says which checks open one.
        window: The window.
        manifest: The revision that was judged.
        checks: Verdicts on it; checks of other kinds open none.
        now: The time to put into the documents.

    Returns:
        The tickets of these checks, whether they were opened now or before.

    Raises:
        ManifestInvalid: The ticket of this window, or of the one before it, is damaged.
        OSError: The disk is full or the folder cannot be written.
    """
    failed = [check for check in checks if not check.passed and _asks_for_one(check, spec)]
    return tuple(
        open_ticket(project, spec, window, manifest.revision, check, now, manifest=manifest)
        for check in failed
    )


def open_ticket(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    revision: str,
    check: CheckResult,
    now: datetime,
    *,
    manifest: Manifest | None = None,
) -> Ticket:
    """Put a failed check into the ticket of its cause, whatever else follows from it.

    Args:
        project: Where the tickets are.
        spec: The pipeline.
        window: The window.
        revision: What was judged.
        check: What was found.
        now: The time to put into the documents.
        manifest: Of the revision; of what has none that can be read, a streak of windows is the
            cause.

    Raises:
        ManifestInvalid: The ticket of this window, or of the one before it, is damaged.
        OSError: The disk is full or the folder cannot be written.
    """
    cause = _cause(project, spec, window, manifest, check)
    ticket = Ticket(pipeline=spec.name, check=check.name, cause=cause, opened_at=now)
    finding = _finding(ticket, window, revision, check, now)
    # In this order: a finding without its ticket would be seen by nobody.
    keep_decision(ticket_place(project, spec, ticket.id), ticket)
    keep_decision(finding_place(project, spec, finding), finding)
    return ticket


def cause_ticket(spec: PipelineSpec, check: str, cause: str, now: datetime) -> Ticket:
    """Return the ticket of a cause that says by itself what is the matter, without findings."""
    return Ticket(pipeline=spec.name, check=check, cause=cause, opened_at=now)


def open_cause(
    project: Project, spec: PipelineSpec, check: str, cause: str, now: datetime
) -> Ticket:
    """Open the ticket of such a cause; a no-op where it was opened before, whether closed or not.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    ticket = cause_ticket(spec, check, cause, now)
    keep_decision(ticket_place(project, spec, ticket.id), ticket)
    return ticket


def read_tickets(project: Project, spec: PipelineSpec) -> list[KeptTicket]:
    """Return every ticket of a pipeline, open and closed, by first window and check.

    Raises:
        ManifestInvalid: A document is damaged, or about something else.
    """
    tickets = [read_kept(project, spec, each) for each in ticket_ids(project, spec)]
    found = [ticket for ticket in tickets if ticket is not None]
    return sorted(found, key=lambda kept: (kept.windows[:1], kept.ticket.check, kept.id))


def close_ticket(
    project: Project, spec: PipelineSpec, ticket_id: str, *, by: str, reason: str, at: datetime
) -> KeptTicket:
    """Close a ticket; a no-op where this very closing is kept already.

    Raises:
        UsageError: There is no such ticket; or `by` or `reason` says nothing that can be kept.
        LostRace: Somebody closed it first; that closing stays.
        ManifestInvalid: The ticket is damaged.
        OSError: The disk is full or the folder cannot be written.
    """
    kept = read_kept(project, spec, ticket_id)
    if kept is None:
        raise UsageError(
            f"Pipeline {spec.name} has no ticket '{ticket_id[:64]}'.",
            next_step=f"See which there are: `batchinf tickets {spec.name}`.",
        )
    closing = reasoned(Closing, "closing", by=by, reason=reason, at=at, ticket=ticket_id)
    if not keep_decision(closing_place(project, spec, ticket_id), closing):
        raise _too_late(spec, kept.ticket, read_closing(project, spec, ticket_id))
    return KeptTicket(ticket=kept.ticket, findings=kept.findings, closing=closing)


def _asks_for_one(check: CheckResult, spec: PipelineSpec) -> bool:
    judged = is_verdict(check) or (check.asset, check.name) == (PERFORMANCE, PERFORMANCE)
    return judged and consequence(check.name, spec) == "ticket"


def _cause(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    manifest: Manifest | None,
    check: CheckResult,
) -> str:
    evaluation = manifest.evaluation if manifest else None
    golden = evaluation.golden_set if evaluation else None
    if golden is not None and check.name == "golden_set":
        return f"golden set {golden.sha256}"
    if manifest is not None and golden is not None and check.name == "golden_quality":
        return f"model {manifest.model.digest} on golden set {golden.sha256}"
    for near in (window, *spec.window.before(window, 1)):
        known = tickets_about(project, spec, near.key, check.name)
        if known:
            return known[0].cause
    return f"since {window}"


def _finding(
    ticket: Ticket, window: Window, revision: str, check: CheckResult, now: datetime
) -> Finding:
    return Finding(
        ticket=ticket.id,
        window=window.key,
        revision=revision,
        sentence=summarize([check]) or f"{check.asset}/{check.name} failed",
        violations=check.violations,
        found_at=now,
    )


def _too_late(spec: PipelineSpec, ticket: Ticket, first: Closing | None) -> LostRace:
    who = f"{first.by} did so first ({first.reason})" if first else "somebody was at it"
    return LostRace(
        f"Ticket {ticket.id} of {spec.name} ({ticket.check}) was not closed anew: {who}.",
        next_step=f"See those that are open: `batchinf tickets {spec.name}`.",
    )
