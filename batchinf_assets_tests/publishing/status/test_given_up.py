"""A window whose runs kept dying: a state with one ticket, until it comes through."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.errors import LostRace, ManifestInvalid
from batchinf_assets.project import Project
from batchinf_assets.publishing.status.given_up import (
    CHECK,
    GivenUp,
    close_given_up,
    is_over,
    is_told,
    open_given_up,
    open_windows,
)
from batchinf_assets.publishing.status.statuses import pipeline_status
from batchinf_assets.publishing.tickets.ticket_documents import closing_place, ticket_place
from batchinf_assets.publishing.tickets.tickets import close_ticket, read_tickets
from batchinf_assets.telemetry.attempt import AttemptRecord
from batchinf_assets_tests.spec.test_pipeline import toy

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.desk import Desk

SPEC = toy()
AT = datetime(2013, 1, 4, 6, 30, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
GIVEN_UP = GivenUp(
    pipeline="toy", window="2013-01-03", asset="published", run_id="a-run", before=3, since=AT
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    here = {name: tmp_path / name for name in ("root", "lake", "landing", "dagster_home", "keys")}
    return Project(**here)


def attempt(state: str, ended_at: datetime) -> AttemptRecord:
    return AttemptRecord(
        pipeline="toy",
        window=GIVEN_UP.window,
        attempt=5,
        run_id="another",
        state=state,
        stage="published",
        started_at=AT - timedelta(hours=1),
        ended_at=ended_at,
        worker="here:1",
    )


def test_its_ticket_is_opened_once_and_tells_all_that_is_known(project: Project) -> None:
    assert not is_told(project, SPEC, GIVEN_UP)
    open_given_up(project, SPEC, GIVEN_UP)
    open_given_up(project, SPEC, replace(GIVEN_UP, since=LATER))
    assert is_told(project, SPEC, GIVEN_UP)
    assert list(open_windows(project, SPEC)) == [GIVEN_UP]
    (kept,) = read_tickets(project, SPEC)
    assert (kept.ticket.check, kept.ticket.opened_at) == (CHECK, AT)
    assert kept.ticket.cause == (
        "window 2013-01-03 was given up at published: run a-run died, and 3 before it"
    )


def test_a_later_run_that_dies_too_opens_another_ticket(project: Project) -> None:
    again = replace(GIVEN_UP, run_id="another-run", since=LATER)
    for each in (GIVEN_UP, again):
        open_given_up(project, SPEC, each)
    assert {each.run_id for each in open_windows(project, SPEC)} == {"a-run", "another-run"}
    (found,) = pipeline_status(project, SPEC, {}, now=LATER)
    assert found.given_up == again


def test_a_closed_ticket_is_told_and_not_open(project: Project) -> None:
    open_given_up(project, SPEC, GIVEN_UP)
    close_given_up(project, SPEC, GIVEN_UP, "came through", LATER)
    assert is_told(project, SPEC, GIVEN_UP)
    assert list(open_windows(project, SPEC)) == []
    (kept,) = read_tickets(project, SPEC)
    assert kept.closing is not None
    assert kept.closing.by == "toy_unfinished"
    assert kept.closing.reason == "A later run of the window came through"


def test_of_closed_tickets_no_document_is_read(project: Project) -> None:
    open_given_up(project, SPEC, GIVEN_UP)
    close_given_up(project, SPEC, GIVEN_UP, "came through", LATER)
    again = replace(GIVEN_UP, run_id="another-run", since=LATER)
    open_given_up(project, SPEC, again)
    closed = GIVEN_UP.ticket.id
    for place in (ticket_place(project, SPEC, closed), closing_place(project, SPEC, closed)):
        Path(str(place)).write_text("{")  # whoever reads it raises
    assert list(open_windows(project, SPEC)) == [again]
    with pytest.raises(ManifestInvalid, match=closed):
        read_tickets(project, SPEC)


def test_whom_somebody_was_faster_than_says_so(project: Project) -> None:
    open_given_up(project, SPEC, GIVEN_UP)
    ticket = GIVEN_UP.ticket.id
    close_ticket(project, SPEC, ticket, by="Ann", reason="No memory; the window is moot", at=AT)
    assert list(open_windows(project, SPEC)) == []
    with pytest.raises(LostRace, match="Ann did so first"):
        close_given_up(project, SPEC, GIVEN_UP, "came through", LATER)


def test_a_damaged_ticket_is_named(project: Project) -> None:
    open_given_up(project, SPEC, GIVEN_UP)
    Path(str(ticket_place(project, SPEC, GIVEN_UP.ticket.id))).write_text("{")
    with pytest.raises(ManifestInvalid, match=GIVEN_UP.ticket.id):
        list(open_windows(project, SPEC))


@pytest.mark.parametrize(
    ("state", "over"),
    [
        ("published", True),
        ("unchanged", True),
        ("rolled_back", True),
        ("refused", False),
        ("killed", False),
        ("scored", False),
    ],
)
def test_it_is_over_once_a_later_attempt_published_the_window(state: str, over: bool) -> None:
    assert is_over(GIVEN_UP, attempt(state, LATER)) is over
    assert not is_over(GIVEN_UP, attempt(state, AT))
    assert not is_over(replace(GIVEN_UP, asset="performance"), attempt(state, LATER))
    assert not is_over(GIVEN_UP, None)


def test_the_status_names_a_window_of_which_nothing_else_is_known(project: Project) -> None:
    open_given_up(project, SPEC, GIVEN_UP)
    (found,) = pipeline_status(project, SPEC, {}, now=LATER)
    assert (found.window, found.state, found.given_up) == ("2013-01-03", "given up", GIVEN_UP)
    assert str(found.given_up) == (
        "Given up at published, as run a-run died, and 3 before it: it was not run again by "
        "itself. Find out why, then `batchinf run toy 2013-01-03`."
    )


def test_what_readers_see_stays_the_state_of_a_window_whose_correction_was_given_up(
    desk: Desk,
) -> None:
    desk.publish()
    now = datetime.now(UTC)
    each = replace(GIVEN_UP, pipeline=desk.spec.name, window=desk.window.key, since=now)
    open_given_up(desk.project, desk.spec, each)
    (found,) = pipeline_status(desk.project, desk.spec, {}, now=now)
    assert (found.state, found.given_up) == ("published", each)
    close_given_up(desk.project, desk.spec, each, "was taken back", now)
    (found,) = pipeline_status(desk.project, desk.spec, {}, now=now)
    assert found.given_up is None
