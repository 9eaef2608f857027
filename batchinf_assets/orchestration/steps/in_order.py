"""Work on windows, several at a time, and say what came of them in their order."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event

from batchinf_assets.errors import BatchinfError
from batchinf_assets.orchestration.steps.tries import WindowResult
from batchinf_assets.orchestration.steps.workers import Hands
from batchinf_assets.scoring.preemption import stopping_on_sigterm
from batchinf_assets.side_by_side import OneByOne, Order
from batchinf_assets.windows import Window

SIGNALS_HEARD_AFTER_SECONDS = 1.0

OneWindow = Callable[[Window, Order], WindowResult]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a window.

    Attributes:
        window: The window.
        found: The step's result, or why there is none.
        seconds: What it took.
    """

    window: Window
    found: WindowResult | BatchinfError
    seconds: float


def in_order(windows: Sequence[Window], work: OneWindow, hands: Hands) -> Generator[Outcome]:
    """Work on windows, as many at a time as there are hands.

    Where the caller stops to listen no window is begun any more.

    Args:
        windows: The windows, in order.
        work: Works on one.
        hands: Who does it; `work` asks them.

    Yields:
        What came of each window, in order.
    """
    if hands.at_once == 1:
        yield from (_outcome(window, work, OneByOne()) for window in windows)
        return
    yield from _side_by_side(windows, work, hands)


def _side_by_side(windows: Sequence[Window], work: OneWindow, hands: Hands) -> Generator[Outcome]:
    released = [Event() for _ in windows]
    places = [_Place(released, number) for number in range(len(windows))]
    with stopping_on_sigterm() as stop, ThreadPoolExecutor(hands.at_once) as threads:
        begun = [
            threads.submit(_in_place, window, work, place)
            for window, place in zip(windows, places, strict=True)
        ]
        try:
            for each, place in zip(begun, places, strict=True):
                yield _awaited(each, stop, hands)
                place.release_later()  # what it asked for is done
        finally:
            _end(begun, places, hands)


@dataclass(frozen=True)
class _Place:
    """A window's place: it is released when later windows may read what was written of it."""

    released: Sequence[Event]
    number: int

    def await_earlier(self) -> None:
        for earlier in self.released[: self.number]:
            earlier.wait()

    def release_later(self) -> None:
        self.released[self.number].set()


def _in_place(window: Window, work: OneWindow, place: _Place) -> Outcome:
    is_to_follow_up = False
    try:
        outcome = _outcome(window, work, place)
        found = outcome.found
        is_to_follow_up = isinstance(found, WindowResult) and found.is_to_follow_up
        return outcome
    finally:
        if not is_to_follow_up:
            place.release_later()


def _outcome(window: Window, work: OneWindow, order: Order) -> Outcome:
    started = time.monotonic()
    try:
        found: WindowResult | BatchinfError = work(window, order)
    except BatchinfError as error:
        found = error
    return Outcome(window=window, found=found, seconds=time.monotonic() - started)


def _awaited(begun: Future[Outcome], stop: Event, hands: Hands) -> Outcome:
    while wait([begun], timeout=SIGNALS_HEARD_AFTER_SECONDS).not_done or stop.is_set():
        if stop.is_set():
            hands.leave()
            break
    return begun.result()


def _end(begun: Sequence[Future[Outcome]], places: Sequence[_Place], hands: Hands) -> None:
    """Begin nothing more; what was begun is asked to leave, and awaited."""
    running = [each for each in begun if not (each.cancel() or each.done())]
    if not running:
        return
    hands.leave()
    for place in places:  # those that were never begun keep nobody waiting
        place.release_later()
