"""`tickets`: what somebody must look at, and that somebody did."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.project import Project
from batchinf_assets.publishing.tickets.tickets import open_tickets
from batchinf_assets.scoring.predictions import candidate
from batchinf_assets.spec.load import Pipeline

DAY = "2013-07-01"
ASKED = ("tickets", "flight_delays")
STALE = Violation(column=None, rule="a golden set\nyounger than this")

Told = Callable[..., str]


@pytest.fixture
def ticket(fine: Told, project: Project, pipeline: Pipeline) -> str:
    """The id of the one ticket: DAY is published, and its golden set is called stale."""
    assert fine(*ASKED) == "flight_delays has no open tickets.\n"
    fine("run", "flight_delays", DAY)
    window = pipeline.spec.window.window(DAY)
    manifest = candidate(project, pipeline.spec, window)
    check = CheckResult(name="golden_set", asset="evaluation", passed=False, violations=(STALE,))
    now = datetime(2013, 7, 2, tzinfo=UTC)
    (opened,) = open_tickets(project, pipeline.spec, window, manifest, [check], now)
    return opened.id


def test_a_ticket_is_shown_closed_and_kept(
    ticket: str, fine: Told, refused: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHINF_ACTOR", "ann")
    shown = fine(*ASKED)
    assert shown.startswith("flight_delays: 1 open ")
    for text in (ticket, DAY, "golden_set", "2013-07-02 00:00", "a golden set younger than this"):
        assert text in shown
    (document,) = json.loads(fine(*ASKED, "--json"))
    assert (document["id"], document["closing"]) == (ticket, None)
    (found,) = document["windows"]
    assert (found["window"], found["violations"][0]["rule"]) == (DAY, STALE.rule)

    told = fine(*ASKED, "--close", ticket, "--reason", "A new set is drawn")
    assert told == f"Ticket {ticket} is closed.\n"
    assert fine(*ASKED) == "flight_delays has no open tickets.\n"
    assert json.loads(fine(*ASKED, "--json")) == []
    assert "A new set is drawn" in fine(*ASKED, "--all")
    (document,) = json.loads(fine(*ASKED, "--all", "--json"))
    assert (document["closing"]["by"], document["closing"]["ticket"]) == ("ann", ticket)
    again = refused(*ASKED, "--close", ticket, "--reason", "Once more")
    assert "ann did so first (A new set is drawn)" in again


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--close", "0" * 16), "closed by its id and a reason"),
        (("--reason", "Seen"), "closed by its id and a reason"),
        (("--close", "0" * 16, "--reason", "Seen"), "has no ticket"),
        (("--close", "../x", "--reason", "Seen"), "has no ticket"),
    ],
)
def test_wrong_use_is_told(refused: Told, arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(*ASKED, *arguments, code=2)
