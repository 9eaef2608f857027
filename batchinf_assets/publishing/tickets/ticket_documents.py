"""The documents of tickets, where they lie, and how they are read.

Who opens and closes them is in `tickets`. Their format is told in docs/formats/tickets.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import AwareDatetime, Field

from batchinf_assets.checks import Violation
from batchinf_assets.lake.decisions import Decision, read_decision
from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.lake.entries import entries
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.values import RevisionId, Text
from batchinf_assets.project import Project
from batchinf_assets.spec.contract import Name
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import folder_name_of

FOLDER = "_tickets"
ID_DIGITS = 16
_WHAT = "ticket of what its name says"
_TICKET = re.compile(rf"(?P<id>[0-9a-f]{{{ID_DIGITS}}})\.json")
_CLOSING = re.compile(rf"(?P<id>[0-9a-f]{{{ID_DIGITS}}})\.closed\.json")


class Ticket(Decision):
    """One cause of failed verdicts.

    Attributes:
        pipeline: The pipeline.
        check: The check that fails.
        cause: What makes it fail, such as one golden set, or since which window it fails.
        opened_at: When it was found first.
    """

    pipeline: Name
    check: Name
    cause: Text
    opened_at: AwareDatetime

    @property
    def id(self) -> str:
        """What the ticket is called: the same for the same check and cause."""
        return json_sha256([self.check, self.cause])[:ID_DIGITS]


class Finding(Decision):
    """A failed verdict on one revision of a window, as it was found first.

    Attributes:
        ticket: Id of the ticket that it belongs to.
        window: The window's key.
        revision: What was judged.
        sentence: What the check found, in one clause.
        violations: Each broken rule.
        found_at: When.
    """

    ticket: str = Field(pattern=rf"^[0-9a-f]{{{ID_DIGITS}}}$")
    window: str
    revision: RevisionId
    sentence: str
    violations: tuple[Violation, ...]
    found_at: AwareDatetime

    @property
    def name(self) -> str:
        """What its file is called: one per window and revision."""
        return f"{folder_name_of(self.window)}-{self.revision}.json"


class Closing(Decision):
    """Why a ticket needs nobody any more.

    Attributes:
        ticket: Id of the ticket.
        by: Who closed it.
        reason: Why.
        at: When.
    """

    ticket: str = Field(pattern=rf"^[0-9a-f]{{{ID_DIGITS}}}$")
    by: Text
    reason: Text
    at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class KeptTicket:
    """A ticket, where its cause shows, and what became of it.

    Attributes:
        ticket: The ticket.
        findings: By window and time; none where a process died before it kept the first.
        closing: Why it was closed; None while it is open.
    """

    ticket: Ticket
    findings: tuple[Finding, ...]
    closing: Closing | None

    @property
    def id(self) -> str:
        """What the ticket is called."""
        return self.ticket.id

    @property
    def windows(self) -> tuple[str, ...]:
        """The keys of the windows that failed, each once, in their order."""
        return tuple(dict.fromkeys(finding.window for finding in self.findings))


def read_kept(project: Project, spec: PipelineSpec, ticket_id: str) -> KeptTicket | None:
    """Read a ticket with all that belongs to it; None where there is none of this id.

    Raises:
        ManifestInvalid: A document is damaged, or about something else.
    """
    if not _TICKET.fullmatch(f"{ticket_id}.json"):
        return None
    place = ticket_place(project, spec, ticket_id)
    ticket = read_decision(place, Ticket, _WHAT, pipeline=spec.name, id=ticket_id)
    if ticket is None:
        return None
    return KeptTicket(
        ticket=ticket,
        findings=tuple(sorted(_findings(project, spec, ticket_id), key=_by_window)),
        closing=read_closing(project, spec, ticket_id),
    )


def read_closing(project: Project, spec: PipelineSpec, ticket_id: str) -> Closing | None:
    """Read why a ticket was closed; None while it is open.

    Raises:
        ManifestInvalid: The document is damaged, or about another ticket.
    """
    place = closing_place(project, spec, ticket_id)
    return read_decision(place, Closing, _WHAT, ticket=ticket_id)


def ticket_ids(project: Project, spec: PipelineSpec) -> list[str]:
    """Return the ids of all tickets of a pipeline, open and closed."""
    return sorted(_ids(_names(project, spec), _TICKET))


def open_ticket_ids(project: Project, spec: PipelineSpec) -> list[str]:
    """Return the ids of the tickets that nobody closed.

    They are known by what one listing names; no document is read, so that closed tickets, which
    are kept for ever, cost whoever asks often next to nothing.
    """
    names = _names(project, spec)
    return sorted(_ids(names, _TICKET) - _ids(names, _CLOSING))


def tickets_about(project: Project, spec: PipelineSpec, window: str, check: str) -> list[Ticket]:
    """Return the tickets of a check that a window is in already, the one opened first first.

    Raises:
        ManifestInvalid: One of these tickets is damaged.
    """
    folder = project.lake / spec.name / FOLDER
    places = entries(folder, f"*/{folder_name_of(window)}-{'?' * ID_DIGITS}.json")
    ids = {place.parent.name for place in places}
    found = (read_decision(ticket_place(project, spec, each), Ticket, _WHAT) for each in ids)
    own = (ticket for ticket in found if ticket is not None and ticket.check == check)
    return sorted(own, key=lambda ticket: (ticket.opened_at, ticket.id))


def ticket_place(project: Project, spec: PipelineSpec, ticket_id: str) -> Place:
    """Return where a ticket is kept."""
    return project.lake / spec.name / FOLDER / f"{ticket_id}.json"


def closing_place(project: Project, spec: PipelineSpec, ticket_id: str) -> Place:
    """Return where it is kept why a ticket was closed."""
    return project.lake / spec.name / FOLDER / f"{ticket_id}.closed.json"


def finding_place(project: Project, spec: PipelineSpec, finding: Finding) -> Place:
    """Return where a finding is kept."""
    return project.lake / spec.name / FOLDER / finding.ticket / finding.name


def _names(project: Project, spec: PipelineSpec) -> list[str]:
    folder = project.lake / spec.name / FOLDER
    return [place.name for place in entries(folder, "*.json")]


def _ids(names: Iterable[str], kind: re.Pattern[str]) -> set[str]:
    return {found["id"] for found in map(kind.fullmatch, names) if found}


def _findings(project: Project, spec: PipelineSpec, ticket_id: str) -> Iterator[Finding]:
    folder = project.lake / spec.name / FOLDER / ticket_id
    for place in entries(folder, "*.json"):
        found = read_decision(place, Finding, _WHAT, ticket=ticket_id, name=place.name)
        if found is not None:
            yield found


def _by_window(finding: Finding) -> tuple[str, AwareDatetime, str]:
    return finding.window, finding.found_at, finding.revision
