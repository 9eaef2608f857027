"""Tickets: failed verdicts that somebody must look at, kept until somebody says why not any more.

One document per window, revision and check, written once; closing one is a second document beside
it. Which checks open a ticket is declared in `gate` of `defs.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from batchinf_assets.checks import CheckResult, Violation, summarize
from batchinf_assets.contract_spec import Name
from batchinf_assets.errors import LostRace, ManifestInvalid, UsageError
from batchinf_assets.evaluation.consequences import PERFORMANCE, consequence, is_verdict
from batchinf_assets.lake.conditional import create
from batchinf_assets.lake.digest import canonical_json, json_sha256
from batchinf_assets.lake.files import read_bounded
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest import Manifest, RevisionId, Text
from batchinf_assets.project import Project
from batchinf_assets.publishing.reasons import reasoned
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window

FOLDER = "_tickets"
LARGEST_TICKET = 2**20
ID_DIGITS = 16
_TICKET = re.compile(rf"(?P<id>[0-9a-f]{{{ID_DIGITS}}})\.json")


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ticket(_Document):
    """A failed verdict as it was found.

    Attributes:
        format_version: Of this document.
        pipeline: The pipeline.
        window: The window's key.
        revision: What was judged.
        check: The check that failed.
        sentence: What it found, in one clause.
        violations: Each broken rule.
        opened_at: When it was found first.
    """

    format_version: Literal[1] = 1
    pipeline: Name
    window: str
    revision: RevisionId
    check: Name
    sentence: str
    violations: tuple[Violation, ...]
    opened_at: AwareDatetime

    @property
    def id(self) -> str:
        """What the ticket is called: the same for the same window, revision and check."""
        return json_sha256([self.window, self.revision, self.check])[:ID_DIGITS]


class Closing(_Document):
    """Why a ticket needs nobody any more.

    Attributes:
        format_version: Of this document.
        ticket: Id of the ticket.
        by: Who closed it.
        reason: Why.
        at: When.
    """

    format_version: Literal[1] = 1
    ticket: str = Field(pattern=rf"^[0-9a-f]{{{ID_DIGITS}}}$")
    by: Text
    reason: Text
    at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class KeptTicket:
    """A ticket and what became of it.

    Attributes:
        ticket: The ticket.
        closing: Why it was closed; None while it is open.
    """

    ticket: Ticket
    closing: Closing | None

    @property
    def id(self) -> str:
        """What the ticket is called."""
        return self.ticket.id


def open_tickets(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    manifest: Manifest,
    checks: Iterable[CheckResult],
    now: datetime,
) -> tuple[Ticket, ...]:
    """Open a ticket for every failed check whose declared consequence is one.

    A ticket that is there already stays as it is, closed or not: of one revision and check nobody
    is asked twice.

    Args:
        project: Where the tickets are.
        spec: Says which checks open one.
        window: The window.
        manifest: The revision that was judged.
        checks: Verdicts on it; checks of other kinds open none.
        now: The time to put into the tickets.

    Returns:
        The tickets of these checks, whether they were opened now or before.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    tickets = tuple(
        _ticket(spec, window, manifest, check, now)
        for check in checks
        if not check.passed and _asks_for_one(check, spec)
    )
    for ticket in tickets:
        try:
            create(_place(project, spec, ticket.id), _content(ticket))
        except FileExistsError:
            continue
    return tickets


def read_tickets(project: Project, spec: PipelineSpec) -> list[KeptTicket]:
    """Return every ticket of a pipeline, open and closed, by window and check.

    Raises:
        ManifestInvalid: A document is damaged, or about something else.
    """
    places = (project.lake / spec.name / FOLDER).glob("*.json")
    names = filter(None, (_TICKET.fullmatch(place.name) for place in places))
    tickets = [_kept(project, spec, name["id"]) for name in names]
    found = [ticket for ticket in tickets if ticket is not None]
    return sorted(found, key=lambda kept: (kept.ticket.window, kept.ticket.check, kept.id))


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
    kept = _kept(project, spec, ticket_id) if _TICKET.fullmatch(f"{ticket_id}.json") else None
    if kept is None:
        raise UsageError(
            f"Pipeline {spec.name} has no ticket '{ticket_id[:64]}'.",
            next_step=f"See which there are: `batchinf tickets {spec.name}`.",
        )
    closing = reasoned(Closing, "closing", by=by, reason=reason, at=at, ticket=ticket_id)
    try:
        create(_closing_place(project, spec, ticket_id), _content(closing))
    except FileExistsError as error:
        first = _closing(project, spec, ticket_id)
        if first != closing:  # else the store took it, and the answer was lost
            raise _too_late(spec, kept.ticket, first) from error
    return KeptTicket(ticket=kept.ticket, closing=closing)


def _asks_for_one(check: CheckResult, spec: PipelineSpec) -> bool:
    judged = is_verdict(check) or (check.asset, check.name) == (PERFORMANCE, PERFORMANCE)
    return judged and consequence(check.name, spec) == "ticket"


def _ticket(
    spec: PipelineSpec, window: Window, manifest: Manifest, check: CheckResult, now: datetime
) -> Ticket:
    return Ticket(
        pipeline=spec.name,
        window=window.key,
        revision=manifest.revision,
        check=check.name,
        sentence=summarize([check]) or f"{check.asset}/{check.name} failed",
        violations=check.violations,
        opened_at=now,
    )


def _kept(project: Project, spec: PipelineSpec, ticket_id: str) -> KeptTicket | None:
    place = _place(project, spec, ticket_id)
    ticket = _read(place, Ticket)
    if ticket is None:
        return None
    if (ticket.pipeline, ticket.id) != (spec.name, ticket_id):
        raise _invalid(place)
    return KeptTicket(ticket=ticket, closing=_closing(project, spec, ticket_id))


def _closing(project: Project, spec: PipelineSpec, ticket_id: str) -> Closing | None:
    place = _closing_place(project, spec, ticket_id)
    closing = _read(place, Closing)
    if closing is not None and closing.ticket != ticket_id:
        raise _invalid(place)
    return closing


_Read = TypeVar("_Read", bound=_Document)


def _read(place: Place, document: type[_Read]) -> _Read | None:
    try:
        return document.model_validate_json(read_bounded(place, LARGEST_TICKET))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise _invalid(place) from error


def _content(document: _Document) -> bytes:
    return canonical_json(document.model_dump(mode="json")) + b"\n"


def _place(project: Project, spec: PipelineSpec, ticket_id: str) -> Place:
    return project.lake / spec.name / FOLDER / f"{ticket_id}.json"


def _closing_place(project: Project, spec: PipelineSpec, ticket_id: str) -> Place:
    return project.lake / spec.name / FOLDER / f"{ticket_id}.closed.json"


def _too_late(spec: PipelineSpec, ticket: Ticket, first: Closing | None) -> LostRace:
    who = f"{first.by} did so first ({first.reason})" if first else "somebody was at it"
    return LostRace(
        f"Ticket {ticket.id} of {spec.name} {ticket.window} was not closed anew: {who}.",
        next_step=f"See those that are open: `batchinf tickets {spec.name}`.",
    )


def _invalid(place: Place) -> ManifestInvalid:
    return ManifestInvalid(
        f"{place} is no ticket of what its name says.", next_step="Restore it from a backup."
    )
