"""Windows worked on at the same time: in what order, and who waits for whom."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from dataclasses import replace
from threading import Event

import pytest

from batchinf_assets.errors import BatchinfError, LostRace, Preempted
from batchinf_assets.orchestration.steps.errands import Errand
from batchinf_assets.orchestration.steps.in_order import in_order
from batchinf_assets.orchestration.steps.tries import Try, WindowResult
from batchinf_assets.side_by_side import Order
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.windows import Window

WINDOWS = load_pipeline("flight_delays").spec.window.between("2013-07-01", "2013-07-08")
DONE = WindowResult(data_version="1", metadata={})
PATIENCE = 30.0


class Threads:
    """As many hands as asked for; the work of these tests is done where it is called."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.left = Event()

    def work(self, errand: Errand, tried: Try) -> WindowResult:
        raise NotImplementedError

    def leave(self) -> None:
        self.left.set()


def refused(window: Window) -> BatchinfError:
    return LostRace(f"{window} is taken.", next_step="Look.")


@pytest.mark.parametrize("at_once", [1, 3])
def test_outcomes_come_in_the_order_of_the_windows(at_once: int) -> None:
    last_began = Event()

    def work(window: Window, _order: Order) -> WindowResult:
        if at_once == 3 and window == WINDOWS[0]:
            assert last_began.wait(PATIENCE), "nobody else begins"
        if window == WINDOWS[-1]:
            last_began.set()
        if window == WINDOWS[2]:
            raise refused(window)
        return DONE

    found = list(in_order(WINDOWS, work, Threads(at_once)))
    assert [each.window for each in found] == WINDOWS
    assert [each.window for each in found if each.found is not DONE] == [WINDOWS[2]]


def test_a_window_reads_what_all_earlier_ones_wrote_however_these_end() -> None:
    written, seen = list[str](), dict[str, set[str]]()
    held = Event()

    def work(window: Window, order: Order) -> WindowResult:
        if window == WINDOWS[0]:
            assert held.wait(PATIENCE)
        if window == WINDOWS[1]:
            held.set()
            raise refused(window)  # ends without a word, while the first still works
        written.append(window.key)
        if window != WINDOWS[3]:
            order.release_later()
        order.await_earlier()
        seen[window.key] = set(written)
        return DONE

    list(in_order(WINDOWS, work, Threads(3)))
    for number, window in enumerate(WINDOWS):
        before = {each.key for each in WINDOWS[: number + 1]} - {WINDOWS[1].key}
        assert window == WINDOWS[1] or before <= seen[window.key]


def test_later_windows_read_what_the_run_itself_did_about_an_earlier_one() -> None:
    done, seen, read = list[Window](), list[list[Window]](), Event()

    def work(window: Window, order: Order) -> WindowResult:
        if window == WINDOWS[0]:
            return replace(DONE, is_to_follow_up=True)
        order.await_earlier()
        seen.append([*done])
        read.set()
        return DONE

    for outcome in in_order(WINDOWS[:2], work, Threads(2)):
        read.wait(0.5)  # time enough for who does not wait
        done.append(outcome.window)
    assert seen == [[WINDOWS[0]]]


def test_who_stops_listening_has_no_further_window_begun() -> None:
    begun, hands = list[Window](), Threads(2)

    def work(window: Window, _order: Order) -> WindowResult:
        begun.append(window)
        assert window == WINDOWS[0] or hands.left.wait(PATIENCE)
        return DONE

    with closing(in_order(WINDOWS, work, hands)) as outcomes:
        assert next(outcomes).window == WINDOWS[0]
    assert len(begun) <= 3


def test_sigterm_asks_the_hands_to_leave_and_ends_the_run_there() -> None:
    hands = Threads(2)

    def work(window: Window, _order: Order) -> WindowResult:
        if window == WINDOWS[1]:
            os.kill(os.getpid(), signal.SIGTERM)
            assert hands.left.wait(PATIENCE)
            raise Preempted("It was asked to leave.", next_step="Run it again.")
        return DONE

    before = signal.getsignal(signal.SIGTERM)
    with closing(in_order(WINDOWS, work, hands)) as outcomes:
        assert next(outcomes).found is DONE
        assert isinstance(next(outcomes).found, Preempted)
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_error_that_nobody_foresaw_is_raised_to_who_listens() -> None:
    def work(window: Window, _order: Order) -> WindowResult:
        raise ZeroDivisionError(window.key)

    with pytest.raises(ZeroDivisionError, match=WINDOWS[0].key):
        list(in_order(WINDOWS, work, Threads(2)))
