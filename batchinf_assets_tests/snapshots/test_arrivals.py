"""Which windows must run: a table of what was seen, what is there and what was used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from batchinf_assets.snapshots.arrivals import (
    Arrival,
    Asked,
    Effort,
    Evidence,
    Left,
    Plan,
    plan_arrivals,
)

Landed = dict[str, tuple[int, int]]

# A file's content follows from its size here: 10 bytes are "ten", 20 bytes "twenty".
CONTENT = {10: "ten", 20: "twenty", 30: "thirty"}
OLD, NEW, TOUCHED = (1, 10), (2, 20), (9, 10)
READ, UNREAD = Left(identity=OLD, sha256="ten"), Left(identity=OLD, sha256=None)


EFFORT = Effort(arrivals=2, windows=9)


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    landed: Landed
    left: Mapping[str, Left] = field(default_factory=dict)
    used: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, Asked] = field(default_factory=dict)
    half: frozenset[str] = frozenset()
    closed: frozenset[str] = frozenset()
    runs: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    effort: Effort = EFFORT

    def plan(self, cursor: str | None = None) -> Plan:
        evidence = Evidence(
            left=self.left.get,
            used=self.used.get,
            whole=lambda window: window not in self.half,
            sha256=lambda w: None if w in self.closed else CONTENT[self.landed[w][1]],
            asked=self.asked.get,
        )
        return plan_arrivals(cursor, self.landed, evidence, self.effort)


CASES = [
    Case(name="nothing has ever landed", landed={}),
    Case(name="a file runs", landed={"a": OLD}, runs=["a"]),
    Case(name="what its window used does not run", landed={"a": OLD}, used={"a": "ten"}),
    Case(
        name="other bytes than its window used run",
        landed={"a": NEW},
        used={"a": "ten"},
        runs=["a"],
    ),
    Case(name="what was there before is left to backfills", landed={"a": OLD}, left={"a": UNREAD}),
    Case(
        name="what was there before and was touched since is left to backfills",
        landed={"a": TOUCHED},
        left={"a": READ},
    ),
    Case(
        name="what was there before and was touched before anybody read it runs",
        landed={"a": TOUCHED},
        left={"a": UNREAD},
        runs=["a"],
    ),
    Case(
        name="what was there before and changed runs",
        landed={"a": NEW},
        left={"a": READ},
        runs=["a"],
    ),
    Case(
        name="what was there before runs where its window used other bytes",
        landed={"a": OLD},
        left={"a": READ},
        used={"a": "twenty"},
        runs=["a"],
    ),
    Case(name="a file that is not complete waits", landed={"a": OLD}, half=frozenset("a")),
    Case(
        name="a file that cannot be read now waits and stops no other",
        landed={"a": OLD, "b": NEW},
        closed=frozenset("a"),
        runs=["b"],
        later=["a"],
    ),
    Case(
        name="what a run is under way for does not run",
        landed={"a": OLD},
        asked={"a": Asked(name="a:ten:1", ended=False)},
    ),
    Case(
        name="what a run was refused for does not run",
        landed={"a": OLD},
        asked={"a": Asked(name="a:ten:1", ended=True)},
    ),
    Case(
        name="where the bytes landed again, the run for them is waited for",
        landed={"a": TOUCHED},
        asked={"a": Asked(name="a:ten:1", ended=False)},
        later=["a"],
    ),
    Case(
        name="where refused bytes landed again, they run again",
        landed={"a": TOUCHED},
        asked={"a": Asked(name="a:ten:1", ended=True)},
        runs=["a"],
    ),
    Case(
        name="a run for other bytes is not waited for",
        landed={"a": OLD},
        asked={"a": Asked(name="a:twenty:1", ended=False)},
        runs=["a"],
    ),
    Case(
        name="what exceeds the limit waits",
        landed={"c": NEW, "a": NEW, "b": NEW},
        runs=["a", "b"],
        later=["c"],
    ),
    Case(
        name="files without a run do not count against the limit of runs",
        landed={"a": NEW, "b": NEW, "c": NEW},
        used={"a": "twenty"},
        runs=["b", "c"],
    ),
    Case(
        name="a group of windows is looked at whole and no other after the limit",
        landed={"2013-01-01": OLD, "2013-01-02": OLD, "2013-02-01": OLD},
        effort=Effort(arrivals=9, windows=1),
        runs=["2013-01-01", "2013-01-02"],
        later=["2013-02-01"],
    ),
    Case(
        name="what was there before costs nothing",
        landed={"2013-01-01": OLD, "2013-02-01": NEW},
        left={"2013-01-01": READ},
        effort=Effort(arrivals=9, windows=1),
        runs=["2013-02-01"],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_plan(case: Case) -> None:
    plan = case.plan()
    assert [each.window for each in plan.arrivals] == case.runs
    assert [each.sha256 for each in plan.arrivals] == [
        CONTENT[case.landed[w][1]] for w in case.runs
    ]
    assert list(plan.later) == case.later
    assert set(plan.unfinished) == case.half


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_settled_is_not_asked_for_again_and_the_rest_is(case: Case) -> None:
    again = case.plan(case.plan().cursor)
    assert {each.window for each in again.arrivals} <= {*case.runs, *case.later}
    assert set(again.unfinished) == case.half
    if not case.later and not case.half:
        assert again.arrivals == ()


def test_a_settled_group_asks_for_no_evidence() -> None:
    def fail(_window: str) -> None:
        raise AssertionError("asked")

    landed, effort = {"2013-01-01": OLD, "2013-02-01": OLD}, Effort(arrivals=9, windows=9)
    known = Evidence(used=lambda _window: "ten", sha256=lambda _window: "ten")
    cursor = plan_arrivals(None, landed, known, effort).cursor
    unknown = Evidence(used=fail, sha256=fail, left=fail, asked=fail)
    assert plan_arrivals(cursor, landed, unknown, effort).arrivals == ()


def test_a_window_that_lands_or_goes_opens_its_own_group_alone() -> None:
    asked: list[str] = []

    def used(window: str) -> str:
        asked.append(window)
        return "ten"

    evidence = Evidence(used=used, sha256=lambda _window: "ten")
    effort = Effort(arrivals=9, windows=9)
    landed = {"2013-01-01": OLD, "2013-01-02": OLD, "2013-02-01": OLD}
    cursor = plan_arrivals(None, landed, evidence, effort).cursor
    asked.clear()
    del landed["2013-01-02"]
    cursor = plan_arrivals(cursor, landed, evidence, effort).cursor
    assert asked == ["2013-01-01"]
    plan_arrivals(cursor, landed | {"2013-02-02": OLD}, evidence, effort)
    assert asked == ["2013-01-01", "2013-02-01", "2013-02-02"]


def test_requests_are_named_by_bytes_and_landing() -> None:
    arrival = Arrival(window="2013-01-01-05:00", sha256="ten", landing="17")
    assert arrival.request_name == "2013-01-01-05:00:ten:17"


def test_a_century_of_hours_has_a_cursor_below_100_kb() -> None:
    years = range(2000, 2100)
    landed = {
        f"{year}-{month:02}-{day:02}-{hour:02}:00": OLD
        for year in years
        for month in range(1, 13)
        for day in (1, 11, 21, 28)
        for hour in (0, 12)
    }
    evidence = Evidence(used=lambda _window: "ten", sha256=lambda _window: "ten")
    plan = plan_arrivals(None, landed, evidence, Effort(arrivals=1, windows=len(landed)))
    assert len(plan.later) == 0
    assert 20_000 < len(plan.cursor) < 100_000


@pytest.mark.parametrize("cursor", ['{"2013-01-01":[1,10,"ten"]}', "17", "[]", "no JSON"])
def test_a_cursor_that_is_none_of_ours_is_taken_for_none(cursor: str) -> None:
    case = Case(name="", landed={"2013-01-01": OLD}, runs=["2013-01-01"])
    assert case.plan(cursor) == case.plan()


def test_groups_that_wait_keep_no_other_from_being_looked_at() -> None:
    case = Case(
        name="",
        landed={"2013-01-01": OLD, "2013-02-01": OLD, "2013-03-01": OLD},
        half=frozenset({"2013-01-01", "2013-02-01"}),
        effort=Effort(arrivals=9, windows=1),
    )
    cursor, found = None, list[str]()
    for _ in range(3):
        plan = case.plan(cursor)
        cursor = plan.cursor
        found += [each.window for each in plan.arrivals]
    assert found == ["2013-03-01"]
