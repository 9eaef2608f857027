"""Tickets: opened once per cause, with the windows that fail for it; closed once, with a reason."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.errors import LostRace, ManifestInvalid, UsageError
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import CHECKOUT
from batchinf_assets.publishing.tickets.ticket_documents import Ticket
from batchinf_assets.publishing.tickets.tickets import close_ticket, open_tickets, read_tickets
from batchinf_assets.spec.evaluation import GateSpec

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.desk import Desk

NOW = datetime(2013, 7, 5, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=3)
STALE = Violation(column=None, rule="drawn in the last 365 days", found="drawn 2011-01-01")


def failed(name: str = "golden_set", asset: str = "evaluation") -> CheckResult:
    return CheckResult(name=name, asset=asset, passed=False, violations=(STALE,), blocking=False)


def opened(
    desk: Desk,
    *checks: CheckResult,
    manifest: Manifest | None = None,
    at: datetime = NOW,
    day: str | None = None,
) -> tuple[Ticket, ...]:
    judged = manifest or desk.draft()
    window = desk.spec.window.window(day) if day else desk.window
    return open_tickets(desk.project, desk.spec, window, judged, checks, at)


def documents(desk: Desk) -> list[Path]:
    return sorted(Path(str(desk.project.lake)).glob("flight_delays/_tickets/*.json"))


def findings(desk: Desk) -> list[Path]:
    return sorted(Path(str(desk.project.lake)).glob("flight_delays/_tickets/*/*.json"))


def asking_for_all(desk: Desk) -> Desk:
    gate = GateSpec(golden_quality="ticket", golden_set="ticket", drift="ticket")
    spec = desk.spec.model_copy(update={"gate": gate})
    return replace(desk, pipeline=replace(desk.pipeline, spec=spec))


def windows_by_ticket(desk: Desk) -> list[tuple[str, ...]]:
    return [kept.windows for kept in read_tickets(desk.project, desk.spec)]


def test_a_failed_check_opens_a_ticket_where_that_is_declared(desk: Desk) -> None:
    (ticket,) = opened(desk, failed())
    (path,) = documents(desk)
    assert path.name == f"{ticket.id}.json"
    assert json.loads(path.read_bytes()) == {
        "format_version": 1,
        "pipeline": "flight_delays",
        "check": "golden_set",
        "cause": f"golden set {file_sha256(CHECKOUT / desk.spec.golden.file)}",
        "opened_at": "2013-07-05T05:00:00Z",
    }
    (found,) = findings(desk)
    revision = desk.draft().revision
    assert (found.parent.name, found.name) == (ticket.id, f"2013-07-04-{revision}.json")
    assert json.loads(found.read_bytes()) == {
        "format_version": 1,
        "ticket": ticket.id,
        "window": "2013-07-04",
        "revision": revision,
        "sentence": "expected drawn in the last 365 days, found drawn 2011-01-01",
        "violations": [
            {
                "column": None,
                "rule": "drawn in the last 365 days",
                "count": 0,
                "samples": [],
                "found": "drawn 2011-01-01",
            }
        ],
        "found_at": "2013-07-05T05:00:00Z",
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
    own = asking_for_all(desk)
    names = ("golden_quality", "golden_set", "drift")
    checks = (*map(failed, names), failed("performance", asset="performance"))
    found = opened(own, *checks)
    assert [ticket.check for ticket in found] == [*names, "performance"]
    assert len(documents(own)) == 4


def test_a_check_that_found_no_words_is_named(desk: Desk) -> None:
    opened(desk, replace(failed(), violations=()))
    (kept,) = read_tickets(desk.project, desk.spec)
    assert [each.sentence for each in kept.findings] == ["evaluation/golden_set failed"]


def test_opening_again_changes_nothing(desk: Desk) -> None:
    (first,) = opened(desk, failed())
    content = [path.read_bytes() for path in (*documents(desk), *findings(desk))]
    (second,) = opened(desk, replace(failed(), violations=()), at=LATER)
    assert second.id == first.id
    assert [path.read_bytes() for path in (*documents(desk), *findings(desk))] == content


def test_another_revision_of_the_window_is_another_finding(desk: Desk) -> None:
    other = desk.draft().model_copy(update={"revision": "f" * 16})
    assert opened(desk, failed())[0].id == opened(desk, failed(), manifest=other, at=LATER)[0].id
    (kept,) = read_tickets(desk.project, desk.spec)
    assert [each.revision for each in kept.findings] == [desk.draft().revision, "f" * 16]
    assert kept.windows == ("2013-07-04",)


def test_a_doubted_golden_set_is_one_ticket_for_all_windows(desk: Desk) -> None:
    for day in ("2013-07-09", "2013-07-04", "2013-12-24"):
        opened(desk, failed(), day=day)
    assert windows_by_ticket(desk) == [("2013-07-04", "2013-07-09", "2013-12-24")]
    record = desk.draft().evaluation
    assert record is not None
    assert record.golden_set is not None
    golden = record.golden_set.model_copy(update={"sha256": "0" * 64})
    drawn = desk.draft().model_copy(
        update={"evaluation": record.model_copy(update={"golden_set": golden})}
    )
    opened(desk, failed(), manifest=drawn, day="2013-12-25")
    assert windows_by_ticket(desk)[1:] == [("2013-12-25",)]


def test_a_model_that_fails_the_golden_metrics_is_one_ticket(desk: Desk) -> None:
    own, check = asking_for_all(desk), failed("golden_quality")
    other = desk.draft().model.model_copy(update={"digest": "0" * 64})
    opened(own, check, day="2013-07-04")
    opened(own, check, day="2013-07-08")
    opened(own, check, day="2013-07-09", manifest=desk.draft().model_copy(update={"model": other}))
    assert windows_by_ticket(desk) == [("2013-07-04", "2013-07-08"), ("2013-07-09",)]


@pytest.mark.parametrize(("name", "asset"), [("drift", "evaluation"), ("performance",) * 2])
def test_windows_that_fail_in_a_row_are_one_ticket(desk: Desk, name: str, asset: str) -> None:
    own, check = asking_for_all(desk), failed(name, asset)
    for day in ("2013-07-04", "2013-07-05", "2013-07-06", "2013-07-05", "2013-07-08"):
        opened(own, check, day=day)
    assert windows_by_ticket(desk) == [
        ("2013-07-04", "2013-07-05", "2013-07-06"),
        ("2013-07-08",),
    ]
    kept, _ = read_tickets(desk.project, desk.spec)
    assert kept.ticket.cause == "since 2013-07-04"


def test_each_check_has_its_own_streak(desk: Desk) -> None:
    own = asking_for_all(desk)
    opened(own, failed("drift"), day="2013-07-04")
    opened(own, failed("performance", "performance"), day="2013-07-05")
    assert windows_by_ticket(desk) == [("2013-07-04",), ("2013-07-05",)]


def test_a_streak_that_goes_on_after_its_ticket_was_closed_asks_nobody_again(desk: Desk) -> None:
    own = asking_for_all(desk)
    (ticket,) = opened(own, failed("drift"), day="2013-07-04")
    close_ticket(desk.project, own.spec, ticket.id, by="ann", reason="Known", at=NOW)
    opened(own, failed("drift"), day="2013-07-05", at=LATER)
    (kept,) = read_tickets(desk.project, own.spec)
    assert kept.windows == ("2013-07-04", "2013-07-05")
    assert kept.closing is not None


def test_a_ticket_whose_first_finding_was_never_written_gets_it(desk: Desk) -> None:
    own = asking_for_all(desk)
    opened(own, failed("drift"))
    findings(desk)[0].unlink()
    assert windows_by_ticket(desk) == [()]
    opened(own, failed("drift"), at=LATER)
    assert windows_by_ticket(desk) == [("2013-07-04",)]


def test_a_closed_ticket_tells_who_why_and_when_and_stays_closed(desk: Desk) -> None:
    (ticket,) = opened(desk, failed())
    (kept,) = read_tickets(desk.project, desk.spec)
    assert (kept.ticket, kept.closing) == (ticket, None)
    closed = close_ticket(
        desk.project, desk.spec, ticket.id, by="ann", reason="A new set is drawn", at=LATER
    )
    opened(desk, failed(), at=LATER)
    assert read_tickets(desk.project, desk.spec) == [closed]
    assert closed.windows == ("2013-07-04",)
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
    for path, said in ((documents(desk)[0], b"golden set"), (findings(desk)[0], b"2013-07-04")):
        whole = path.read_bytes()
        for content in (b"", whole[:-9], whole.replace(said, said[:-1] + b"7")):
            path.write_bytes(content)
            with pytest.raises(ManifestInvalid, match=path.name):
                read_tickets(desk.project, desk.spec)
        path.write_bytes(whole)


def test_the_closing_of_another_ticket_does_not_count(desk: Desk) -> None:
    (ticket,) = opened(desk, failed())
    close_ticket(desk.project, desk.spec, ticket.id, by="ann", reason="Seen", at=NOW)
    path = documents(desk)[0].with_name(f"{ticket.id}.closed.json")
    path.write_text(path.read_text().replace(ticket.id, "0" * 16))
    with pytest.raises(ManifestInvalid, match=r"\.closed\.json"):
        read_tickets(desk.project, desk.spec)
