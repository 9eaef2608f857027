"""Which windows of dead runs are run again, and when: as a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from batchinf_assets.orchestration.unfinished.relaunches import (
    FIRST_PAUSE,
    DeadRun,
    Relaunches,
    pause,
    plan_relaunches,
)

DIED = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = DIED + timedelta(hours=2)


def dead(run_id: str, *windows: str, relaunches: int = 0) -> DeadRun:
    return DeadRun(
        run_id=run_id, died_at=DIED, relaunches=relaunches, assets=(), unfinished=windows
    )


def plan(
    *runs: DeadRun,
    asked: set[tuple[str, str]] | None = None,
    busy: set[str] | None = None,
    now: datetime = LATER,
    limit: int = 20,
) -> Relaunches:
    return plan_relaunches(runs, asked or set(), busy or set(), now, allowed=3, limit=limit)


def keys(found: Relaunches) -> list[str]:
    return [each.run_key for each in found.requests]


def test_every_unfinished_window_gets_one_run_and_then_the_dead_run_is_settled() -> None:
    found = plan(dead("a", "1", "2"))
    assert keys(found) == ["1:a", "2:a"]
    assert found.settled == {"a"}


def test_a_run_that_left_nothing_unfinished_is_settled() -> None:
    found = plan(dead("a"))
    assert (keys(found), found.settled) == ([], {"a"})


def test_what_was_asked_before_is_not_asked_again_whatever_became_of_the_cursor() -> None:
    found = plan(dead("a", "1", "2"), asked={("a", "1"), ("b", "2")})
    assert keys(found) == ["2:a"]


def test_a_window_that_somebody_holds_waits_and_keeps_its_run_open() -> None:
    found = plan(dead("a", "1", "2"), busy={"2"})
    assert keys(found) == ["1:a"]
    assert found.settled == frozenset()
    assert keys(plan(dead("a", "1", "2"), asked={("a", "1")})) == ["2:a"]


def test_no_more_runs_than_the_limit_are_requested_in_one_tick() -> None:
    found = plan(dead("a", "1", "2", "3"), dead("b", "4"), limit=2)
    assert keys(found) == ["1:a", "2:a"]
    assert found.settled == frozenset()


def test_a_window_whose_runs_keep_dying_is_left_to_people() -> None:
    last = dead("d", "1", relaunches=3)
    found = plan(last, dead("a", "2", relaunches=2))
    assert keys(found) == ["2:a"]
    assert found.given_up == {"1": last}
    assert found.settled == {"a", "d"}


def test_a_dead_run_is_left_alone_for_a_while() -> None:
    assert keys(plan(dead("a", "1"), now=DIED + FIRST_PAUSE / 3)) == []
    assert keys(plan(dead("a", "1"), now=DIED + FIRST_PAUSE)) == ["1:a"]


@given(st.integers(0, 5), st.text("0123456789abcdef-", min_size=1, max_size=36))
def test_the_pause_doubles_and_differs_from_run_to_run(relaunches: int, run_id: str) -> None:
    found = pause(dead(run_id, relaunches=relaunches))
    assert FIRST_PAUSE * 2**relaunches / 2 <= found <= FIRST_PAUSE * 2**relaunches
    assert found == pause(dead(run_id, relaunches=relaunches))


def test_runs_that_died_together_do_not_come_back_together() -> None:
    assert len({pause(dead(f"run {number}")) for number in range(50)}) == 50
