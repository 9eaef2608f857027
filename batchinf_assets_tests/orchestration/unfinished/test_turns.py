"""Which windows a tick comes to, and which the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from batchinf_assets.orchestration.unfinished.cursor import UnfinishedCursor
from batchinf_assets.orchestration.unfinished.turns import Bounds, Outcome, take_turns
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

BOUNDS = Bounds(finished=3, failed=2, seconds=20)


@pytest.fixture
def windows(pipeline: Pipeline) -> list[Window]:
    return pipeline.spec.window.between("2013-07-01", "2013-07-06")


def at_once() -> float:
    return 0.0


def ticks(
    windows: list[Window], outcome: Callable[[Window], Outcome], count: int
) -> Iterator[list[str]]:
    """Yield the days that each of some ticks comes to."""
    after = None
    for _ in range(count):
        seen: list[str] = []

        def act(window: Window, seen: list[str] = seen) -> Outcome:
            seen.append(window.key[-2:])
            return outcome(window)

        after = take_turns(windows, after, act, BOUNDS, at_once)
        yield seen


def test_what_fails_at_every_tick_keeps_no_other_window_waiting(windows: list[Window]) -> None:
    found = ticks(windows, lambda _window: "failed", 4)
    assert [*found] == [["01", "02"], ["03", "04"], ["05", "06"], ["01", "02"]]


def test_a_tick_finishes_some_and_the_next_goes_on_behind_them(windows: list[Window]) -> None:
    def outcome(window: Window) -> Outcome:
        return "failed" if window.key.endswith("02") else "finished"

    assert [*ticks(windows, outcome, 2)] == [
        ["01", "02", "03", "04"],
        ["05", "06", "01"],
    ]


def test_where_nothing_is_to_be_done_every_tick_comes_to_all(windows: list[Window]) -> None:
    every = ["01", "02", "03", "04", "05", "06"]
    assert [*ticks(windows, lambda _window: "nothing", 2)] == [every, every]


def test_after_its_time_a_tick_begins_no_other_window(windows: list[Window]) -> None:
    passed = iter([0.0, 0.0, 12.0, 24.0])
    seen: list[str] = []

    def act(window: Window) -> Outcome:
        seen.append(window.key)
        return "nothing"

    assert take_turns(windows, None, act, BOUNDS, lambda: next(passed)) == "2013-07-02"
    assert seen == ["2013-07-01", "2013-07-02"]


def test_a_window_at_which_a_tick_stopped_may_be_gone_by_the_next(windows: list[Window]) -> None:
    seen: list[str] = []

    def act(window: Window) -> Outcome:
        seen.append(window.key[-2:])
        return "nothing"

    assert take_turns(windows[:2] + windows[3:], "2013-07-03", act, BOUNDS, at_once) is None
    assert seen == ["04", "05", "06", "01", "02"]


def test_the_cursor_of_an_earlier_version_is_read() -> None:
    assert UnfinishedCursor.read('["a", "b"]') == UnfinishedCursor(settled=("a", "b"))
    assert UnfinishedCursor.read(None) == UnfinishedCursor()
    cursor = UnfinishedCursor(settled=("a",), rollbacks_after="2013-07-02")
    assert UnfinishedCursor.read(cursor.write()) == cursor
