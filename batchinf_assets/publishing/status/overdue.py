"""Windows whose data has not landed by its deadline: a state with a ticket, not silence.

A ticket is opened once per window and closed when the window's data lands. `tickets` tells what a
ticket is; nothing here runs a window.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from batchinf_assets.project import Project
from batchinf_assets.publishing.tickets.ticket_documents import Ticket
from batchinf_assets.publishing.tickets.tickets import close_ticket, open_cause, read_tickets
from batchinf_assets.snapshots.completeness import is_whole
from batchinf_assets.snapshots.freeze import snapshot_table
from batchinf_assets.snapshots.listing import landed_files
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

CHECK = "landed_in_time"
LOOKBACK = 400
"""Windows that are looked at, the newest: what never came before that was told long ago."""

_CAUSE = re.compile(r"window (?P<window>\S+) has not landed")


@dataclass(frozen=True, kw_only=True)
class Overdue:
    """A window whose data should be there.

    Attributes:
        window: The window.
        due_at: When it was to be scored.
        deadline_at: Until when its data could still land.
    """

    window: Window
    due_at: datetime
    deadline_at: datetime

    def __str__(self) -> str:
        return f"Its data was due by {self.deadline_at:%Y-%m-%d %H:%M %Z} and has not landed."

    @property
    def cause(self) -> str:
        """What the ticket says; it names the window and nothing that a declaration can move."""
        return f"window {self.window} has not landed"


@dataclass(frozen=True, kw_only=True)
class Turns:
    """What became otherwise since the tickets were last brought up to date.

    Attributes:
        overdue: Windows without a ticket that are overdue.
        landed: Keys of windows with an open ticket whose data is there now, and the ticket's id.
    """

    overdue: tuple[Overdue, ...]
    landed: dict[str, str]


def overdue_windows(project: Project, spec: PipelineSpec, now: datetime) -> list[Overdue]:
    """Return windows past their deadline without whole data and without a snapshot, in order.

    They are looked for from the earliest window on that ever landed. Where none ever did, only the
    newest that is due is told.

    Args:
        project: Where files land, and the lake.
        spec: The pipeline; without a declared `deadline` nothing is ever overdue.
        now: The time.

    Raises:
        ManifestInvalid: The snapshot table's log is damaged.
        OSError: The landing folder cannot be read.
    """
    if spec.deadline is None:
        return []
    there = _there(project, spec, now)
    return [
        Overdue(window=window, due_at=spec.window.due_at(window), deadline_at=deadline)
        for window, deadline in _past_deadline(spec, min(there, default=None), spec.deadline, now)
        if window.key not in there
    ]


def turns(project: Project, spec: PipelineSpec, now: datetime) -> Turns:
    """Find out which tickets are to be opened, and which to be closed.

    Raises:
        ManifestInvalid: A ticket, or the snapshot table's log, is damaged.
        OSError: The landing folder cannot be read.
    """
    tickets = [kept for kept in read_tickets(project, spec) if kept.ticket.check == CHECK]
    known = {kept.ticket.cause for kept in tickets}
    there = _there(project, spec, now)
    still_open = {_window_of(kept.ticket): kept.id for kept in tickets if kept.closing is None}
    return Turns(
        overdue=tuple(e for e in overdue_windows(project, spec, now) if e.cause not in known),
        landed={key: ticket for key, ticket in sorted(still_open.items()) if key in there},
    )


def open_overdue(project: Project, spec: PipelineSpec, overdue: Overdue, now: datetime) -> None:
    """Open the ticket of a window; a no-op where it was opened before, whether closed or not."""
    open_cause(project, spec, CHECK, overdue.cause, now)


def close_landed(project: Project, spec: PipelineSpec, ticket: str, now: datetime) -> None:
    """Close the ticket of a window whose data is there.

    Raises:
        LostRace: Somebody closed it first.
    """
    by = f"{spec.name}_deadline"
    close_ticket(project, spec, ticket, by=by, reason="The window's data has landed", at=now)


def _there(project: Project, spec: PipelineSpec, now: datetime) -> set[str]:
    """Return the windows with whole data, and those whose data was frozen and went since."""
    landed = landed_files(project.landing, spec.source.files, spec.window)
    whole = {key for key, path in landed.items() if is_whole(path, spec.source.complete, now)}
    return whole | snapshot_table(project, spec).files().keys()


def _past_deadline(
    spec: PipelineSpec, earliest: str | None, deadline: timedelta, now: datetime
) -> list[tuple[Window, datetime]]:
    """Return windows whose deadline has passed, with it, the newest `LOOKBACK` of them."""
    first = spec.window.window(earliest).start.date() if earliest else spec.window.start
    windows = spec.window.starting_in(first, (now + timedelta(days=1)).date())
    past = [(window, spec.window.due_at(window) + deadline) for window in windows]
    found = [(window, at) for window, at in past if at <= now]
    return found[-(LOOKBACK if earliest else 1) :]


def _window_of(ticket: Ticket) -> str:
    found = _CAUSE.fullmatch(ticket.cause)
    return found["window"] if found else ""
