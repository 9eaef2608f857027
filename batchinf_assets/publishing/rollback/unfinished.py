"""Rollbacks whose process died: found by what they left, and finished by asking for the same again.

A rollback writes down what it condemns, commits, and announces; `rollback` makes each of these once
however often the same is asked for. Only what nobody asked for is begun again here, if it still
holds: a person who died before the commit may have thought better of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache

from batchinf_assets.attempts import lease_place
from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import ManifestInvalid, UnknownWindow
from batchinf_assets.lake.decisions import read_decision
from batchinf_assets.lake.entries import entries, is_file
from batchinf_assets.lake.lease import read_lease
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.s3_listing import listed
from batchinf_assets.lake.written import is_written_since
from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import Announcement, last_announcement, untold
from batchinf_assets.publishing.rollback.automatic import (
    BY,
    CHECK,
    cause_of,
    roll_back_if_condemned,
)
from batchinf_assets.publishing.rollback.plan import RollbackRequest
from batchinf_assets.publishing.rollback.renewed_look import found_again, lift
from batchinf_assets.publishing.rollback.roll_back import (
    Rollback,
    attempt_rollback,
    record_rollback,
)
from batchinf_assets.publishing.stored_files import window_of
from batchinf_assets.publishing.tickets.ticket_documents import ticket_place
from batchinf_assets.publishing.tickets.tickets import cause_ticket, open_cause
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.condemnations import FOLDER, Condemnation, condemned, verdicts
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window

RECENT = timedelta(days=2)
"""How long after a verdict its window is looked at; what is older is told by `verify`."""

CLOCKS = timedelta(days=1)
"""How far the clock of the lake's store may be from that of whoever judged."""


def judged_lately(project: Project, spec: PipelineSpec, now: datetime) -> Iterator[Window]:
    """Yield the windows of which somebody condemned or reinstated a revision within `RECENT`.

    One with a damaged verdict of this time is yielded too: whoever looks at it finds out which. Of
    older windows nothing is read, as there are ever more of them.
    """
    condemned_windows = project.lake / spec.name / FOLDER
    for folder in entries(listed(condemned_windows), "*"):
        with suppress(UnknownWindow):
            window = window_of(spec, folder.name)
            lately = is_written_since(folder, now - RECENT - CLOCKS)
            if lately and _is_recent(condemned_windows / folder.name, now):
                yield window


def _is_recent(folder: Place, now: datetime) -> bool:
    try:
        said = [_said_at(place) for place in entries(folder, "*.json")]
    except ManifestInvalid:
        return True
    return any(at is not None and now - at <= RECENT for at in said)


@lru_cache(maxsize=4096)
def _said_at(place: Place) -> datetime | None:
    """Read when a verdict was given, once per process: it is never replaced."""
    found = read_decision(place, Condemnation, "verdict on a revision")
    return found.at if found else None


def finish_rollback(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    *,
    run_id: str,
    now: datetime,
) -> Rollback | None:
    """Finish the rollback of a window that died; its process must not be alive any more.

    Args:
        project: Where the tables are.
        registry: Whose keys and models count.
        spec: The pipeline, with its policy.
        window: The window.
        run_id: The run that the ledger names.
        now: The time.

    Returns:
        What was done; `reinstated` without an announcement where what condemned the revision that
        readers see no longer holds. None where nothing is left, or it is left to people.

    Raises:
        BatchinfError: What `attempt_rollback` raises, such as `LostRace` where somebody works on
            the window.
        OSError: The lake cannot be written.
    """
    said = untold(project, spec, window)
    if said is not None:
        request = _same_again(project, spec, window, said)
        return attempt_rollback(project, registry, spec, window, request, run_id=run_id)
    said = _unrecorded(project, spec, window)
    if said is not None:
        check = _asked_by(project, spec, window, said)
        return record_rollback(project, spec, window, said, check, run_id=run_id)
    visible = published_revision(project, spec, window)
    found = condemned(project, spec, window, visible) if visible else None
    if found is None or found.by != BY or _is_left(project, spec, found):
        return None
    return _begun_again(project, registry, spec, window, found, run_id=run_id, now=now)


def _begun_again(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    found: Condemnation,
    *,
    run_id: str,
    now: datetime,
) -> Rollback | None:
    """Do what was condemned by a check, and not committed, if policy and check still say so."""
    cause = cause_of(found.check) if found.check else None
    if cause is None or cause not in spec.rollback.causes:
        return None
    check = found_again(project, registry, spec, window, cause, found)
    if check is None:
        return lift(project, spec, window, cause, found, run_id=run_id, now=now)
    done = roll_back_if_condemned(
        project, registry, spec, window, check, run_id=run_id, now=now, measured=found.revision
    )
    if done is not None and done.told is None:
        open_cause(project, spec, CHECK, _cause(spec, found), now)
    return done


def _unrecorded(project: Project, spec: PipelineSpec, window: Window) -> Announcement | None:
    """Return what readers see a window by, where the ledger was not told of it.

    Who died before that still holds the window's lease, so the ledger is asked only then.
    """
    lease = read_lease(lease_place(project, spec, window), window.key)
    if lease is None or lease.state != "held":
        return None
    said = last_announcement(project, spec, window)
    last = Ledger(project.lake).latest(spec.name).get(window.key)
    if said is None or (last and last.state == "rolled_back" and last.ended_at >= said.at):
        return None
    return said


def _same_again(
    project: Project, spec: PipelineSpec, window: Window, said: Announcement
) -> RollbackRequest:
    """Return the request that a commit answered, which nothing was announced of."""
    return RollbackRequest(
        by=said.by,
        reason=said.reason,
        at=said.at,
        to=said.after,
        withdraw=said.event == "withdrawn",
        reinstate=said.event == "reinstated",
        check=_asked_by(project, spec, window, said),
    )


def _asked_by(
    project: Project, spec: PipelineSpec, window: Window, said: Announcement
) -> CheckResult | None:
    """Return the check that condemned what readers saw; None where a person decided."""
    if said.before is None or said.by != BY:
        return None
    given = verdicts(project, spec, window, said.before)
    return given[-1].check if given else None


def _is_left(project: Project, spec: PipelineSpec, found: Condemnation) -> bool:
    """Whether it was tried and found that there is nothing to go back to: a person was told."""
    ticket = cause_ticket(spec, CHECK, _cause(spec, found), found.at)
    return is_file(ticket_place(project, spec, ticket.id))


def _cause(spec: PipelineSpec, found: Condemnation) -> str:
    by_hand = f"batchinf rollback {spec.name} {found.window} --from {found.revision}"
    return (
        f"revision {found.revision} of window {found.window} was condemned, is seen still, and no "
        f"earlier one is good: `{by_hand} --withdraw --reason TEXT`"
    )
