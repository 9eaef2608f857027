"""Windows that nothing runs any more, because their runs keep dying: a state with a ticket.

`orchestration.unfinished` says which and tells Dagster. A ticket is opened once per dead run and
closed when the window comes through or is taken back; `tickets` tells what a ticket is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from batchinf_assets.lake.conditional import create
from batchinf_assets.lake.decisions import read_decision
from batchinf_assets.lake.entries import is_file
from batchinf_assets.project import Project
from batchinf_assets.publishing.tickets.ticket_documents import (
    Ticket,
    open_ticket_ids,
    ticket_place,
)
from batchinf_assets.publishing.tickets.tickets import close_ticket
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.attempt import AttemptRecord

CHECK = "run_survived"
PUBLISHED = "published"

Ending = Literal["came through", "was taken back"]
"""What became of a window since it was given up."""

_REASONS: dict[Ending, str] = {
    "came through": "A later run of the window came through",
    "was taken back": "The window was taken back since, which decides what readers see; no later "
    "run of it came through",
}
_CAUSE = re.compile(
    r"window (?P<window>\S+) was given up at (?P<asset>\w+): "
    r"run (?P<run_id>\S+) died, and (?P<before>\d+) before it"
)


@dataclass(frozen=True, kw_only=True)
class GivenUp:
    """A window that is left to people.

    Attributes:
        pipeline: The pipeline.
        window: The window's key.
        asset: What its run was to bring it to: `published`, unless that was no part of it.
        run_id: The last run that died.
        before: How many died before it, each for the one before.
        since: When it was given up.
    """

    pipeline: str
    window: str
    asset: str
    run_id: str
    before: int
    since: datetime

    def __str__(self) -> str:
        died = f"run {self.run_id} died, and {self.before} before it"
        return (
            f"Given up at {self.asset}, as {died}: it was not run again by itself. "
            f"Find out why, then `batchinf run {self.pipeline} {self.window}`."
        )

    @property
    def ticket(self) -> Ticket:
        """Its ticket: of one dead run there is one."""
        died = f"run {self.run_id} died, and {self.before} before it"
        cause = f"window {self.window} was given up at {self.asset}: {died}"
        return Ticket(pipeline=self.pipeline, check=CHECK, cause=cause, opened_at=self.since)


def is_told(project: Project, spec: PipelineSpec, given_up: GivenUp) -> bool:
    """Say whether there is a ticket of this, open or closed."""
    return is_file(ticket_place(project, spec, given_up.ticket.id))


def open_given_up(project: Project, spec: PipelineSpec, given_up: GivenUp) -> None:
    """Open the ticket of a window; a no-op where it was opened before, whether closed or not."""
    ticket = given_up.ticket
    with suppress(FileExistsError):
        create(ticket_place(project, spec, ticket.id), ticket.to_json())


def close_given_up(
    project: Project, spec: PipelineSpec, given_up: GivenUp, ending: Ending, at: datetime
) -> None:
    """Close the ticket of a window that nobody need run any more, and say why.

    Raises:
        LostRace: Somebody closed it first.
    """
    by, reason = f"{spec.name}_unfinished", _REASONS[ending]
    close_ticket(project, spec, given_up.ticket.id, by=by, reason=reason, at=at)


def open_windows(project: Project, spec: PipelineSpec) -> Iterator[GivenUp]:
    """Yield what has an open ticket.

    Raises:
        ManifestInvalid: An open ticket is damaged.
    """
    for ticket_id in open_ticket_ids(project, spec):
        place = ticket_place(project, spec, ticket_id)
        ticket = read_decision(place, Ticket, "ticket of what its name says", id=ticket_id)
        if ticket is None or ticket.check != CHECK:
            continue
        found = _CAUSE.fullmatch(ticket.cause)
        if found:
            yield GivenUp(
                pipeline=spec.name,
                window=found["window"],
                asset=found["asset"],
                run_id=found["run_id"],
                before=int(found["before"]),
                since=ticket.opened_at,
            )


def is_over(given_up: GivenUp, last: AttemptRecord | None) -> bool:
    """Say whether the ledger knows that the window came through since, or was taken back.

    The ledger has no attempt at an asset that publishes nothing: of those Dagster knows more.
    """
    if given_up.asset != PUBLISHED or last is None or last.ended_at <= given_up.since:
        return False
    return last.state in ("published", "unchanged", "rolled_back")
