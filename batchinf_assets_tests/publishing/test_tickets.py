"""Tickets: opened once per window, revision and check; closed once, with a reason."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.errors import LostRace, ManifestInvalid, UsageError
from batchinf_assets.evaluation_spec import GateSpec
from batchinf_assets.manifest import Manifest
from batchinf_assets.publishing.tickets import Ticket, close_ticket, open_tickets, read_tickets

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.conftest import Desk

NOW = datetime(2013, 7, 5, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=3)
STALE = Violation(column=None, rule="drawn in the last 365 days", found="drawn 2011-01-01")


def failed(name: str = "golden_set", asset: str = "evaluation") -> CheckResult:
    return CheckResult(name=name, asset=asset, passed=False, violations=(STALE,), blocking=False)


def opened(
    desk: Desk, *checks: CheckResult, manifest: Manifest | None = None, at: datetime = NOW
) -> tuple[Ticket, ...]:
    judged = manifest or desk.draft()
    return open_tickets(desk.project, desk.spec, desk.window, judged, checks, at)


def documents(desk: Desk) -> list[Path]:
    return sorted(Path(str(desk.project.lake)).glob("flight_delays/_tickets/*.json"))


def test_a_failed_check_opens_a_ticket_where_that_is_declared(desk: Desk) -> None:
    (ticket,) = opened(desk, failed())
    assert ticket.sentence == "expected drawn in the last 365 days, found drawn 2011-01-01"
    (path,) = documents(desk)
    assert path.name == f"{ticket.id}.json"
    assert json.loads(path.read_bytes()) == {
        "format_version": 1,
        "pipeline": "flight_delays",
        "window": "2013-07-04",
        "revision": desk.draft().revision,
        "check": "golden_set",
        "sentence": ticket.sentence,
        "violations": [
            {
                "column": None,
                "rule": "drawn in the last 365 days",
                "count": 0,
                "samples": [],
                "found": "drawn 2011-01-01",
            }
        ],
        "opened_at": "2013-07-05T05:00:00Z",
    }


@pytest.mark.parametrize(
    "check",
    [
        replace(failed(), passed=True, violations=()),
        failed("golden_quality"),  # blocks
        failed("drift"),  # informs
        failed("schema", asset="snapshot"),
        failed("golden_set", asset="features"),
        failed("performance"),  # of the asset evaluation: no such check
    ],
    ids=lambda check: f"{check.asset}-{check.name}-{check.passed}",
)
def test_no_other_check_opens_one(desk: Desk, check: CheckResult) -> None:
    assert desk.spec.gate == GateSpec()
    assert opened(desk, check) == ()
    assert documents(desk) == []


def test_each_consequence_can_be_a_ticket(desk: Desk) -> None:
    gate = GateSpec(golden_quality="ticket", golden_set="ticket", drift="ticket")
    spec = desk.spec.model_copy(update={"gate": gate})
    own = replace(desk, pipeline=replace(desk.pipeline, spec=spec))
    names = ("golden_quality", "golden_set", "drift")
    checks = (*map(failed, names), failed("performance", asset="performance"))
    found = opened(own, *checks)
    assert [ticket.check for ticket in found] == [*names, "performance"]
    assert len(documents(own)) == 4


def test_a_check_that_found_no_words_is_named(desk: Desk) -> None:
    (ticket,) = opened(desk, replace(failed(), violations=()))
    assert ticket.sentence == "evaluation/golden_set failed"


def test_opening_again_changes_nothing(desk: Desk) -> None:
    (first,) = opened(desk, failed())
    content = documents(desk)[0].read_bytes()
    (second,) = opened(desk, replace(failed(), violations=()), at=LATER)
    assert second.id == first.id
    assert [path.read_bytes() for path in documents(desk)] == [content]


def test_another_revision_of_the_window_is_another_ticket(desk: Desk) -> None:
    other = desk.draft().model_copy(update={"revision": "f" * 16})
    assert opened(desk, failed())[0].id != opened(desk, failed(), manifest=other)[0].id
    assert len(documents(desk)) == 2


def test_a_closed_ticket_tells_who_why_and_when_and_stays_closed(desk: Desk) -> None:
    (ticket,) = opened(desk, failed())
    (kept,) = read_tickets(desk.project, desk.spec)
    assert (kept.ticket, kept.closing) == (ticket, None)
    closed = close_ticket(
        desk.project, desk.spec, ticket.id, by="ann", reason="A new set is drawn", at=LATER
    )
    opened(desk, failed(), at=LATER)
    assert read_tickets(desk.project, desk.spec) == [closed]
    assert closed.closing is not None
    assert closed.closing.model_dump() == {
        "format_version": 1,
        "ticket": ticket.id,
        "by": "ann",
        "reason": "A new set is drawn",
        "at": LATER,
    }


def test_who_closes_second_is_told_who_was_first(desk: Desk) -> None:
    (ticket,) = opened(desk, failed())
    first = close_ticket(desk.project, desk.spec, ticket.id, by="ann", reason="Seen", at=NOW)
    again = close_ticket(desk.project, desk.spec, ticket.id, by="ann", reason="Seen", at=NOW)
    assert again == first
    with pytest.raises(LostRace, match=r"ann did so first \(Seen\)"):
        close_ticket(desk.project, desk.spec, ticket.id, by="bob", reason="Seen too", at=NOW)
    assert read_tickets(desk.project, desk.spec) == [first]


@pytest.mark.parametrize("ticket", ["0" * 16, "../../x", "", "0" * 16 + ".closed"])
def test_a_ticket_that_is_not_there_cannot_be_closed(desk: Desk, ticket: str) -> None:
    with pytest.raises(UsageError, match="has no ticket"):
        close_ticket(desk.project, desk.spec, ticket, by="ann", reason="Seen", at=NOW)
    assert documents(desk) == []


@pytest.mark.parametrize(
    ("by", "reason"), [("ann", " "), ("", "Seen"), ("ann", "two\nlines"), ("ann", "s3://secret")]
)
def test_closing_needs_a_reason_in_words(desk: Desk, by: str, reason: str) -> None:
    (ticket,) = opened(desk, failed())
    with pytest.raises(UsageError, match="closing"):
        close_ticket(desk.project, desk.spec, ticket.id, by=by, reason=reason, at=NOW)
    assert [kept.closing for kept in read_tickets(desk.project, desk.spec)] == [None]


def test_without_tickets_there_are_none(desk: Desk) -> None:
    assert read_tickets(desk.project, desk.spec) == []


def test_a_damaged_ticket_is_named_and_not_passed_over(desk: Desk) -> None:
    opened(desk, failed())
    (path,) = documents(desk)
    whole = path.read_bytes()
    for content in (b"", whole[:-9], whole.replace(b"2013-07-04", b"2013-07-05")):
        path.write_bytes(content)
        with pytest.raises(ManifestInvalid, match=path.name):
            read_tickets(desk.project, desk.spec)


def test_the_closing_of_another_ticket_does_not_count(desk: Desk) -> None:
    (ticket,) = opened(desk, failed())
    close_ticket(desk.project, desk.spec, ticket.id, by="ann", reason="Seen", at=NOW)
    path = documents(desk)[0].with_name(f"{ticket.id}.closed.json")
    path.write_text(path.read_text().replace(ticket.id, "0" * 16))
    with pytest.raises(ManifestInvalid, match=r"\.closed\.json"):
        read_tickets(desk.project, desk.spec)
