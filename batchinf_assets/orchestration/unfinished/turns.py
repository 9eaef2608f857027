"""Windows in turn: which of many a tick looks at, so that none keeps the others waiting for ever.

What is done about a window is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from batchinf_assets.windows import Window

Outcome = Literal["nothing", "finished", "failed"]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Where a tick stops.

    Attributes:
        finished: Windows that something was done about.
        failed: Windows where that failed: their own bound, as each may take long and changes
            nothing.
        seconds: After which no further window is begun.
    """

    finished: int
    failed: int
    seconds: float

    def are_reached(self, outcomes: list[Outcome], seconds: float) -> bool:
        """Whether a tick with these outcomes has done its share."""
        return (
            outcomes.count("finished") >= self.finished
            or outcomes.count("failed") >= self.failed
            or seconds >= self.seconds
        )


def take_turns(
    windows: Iterable[Window],
    after: str | None,
    act: Callable[[Window], Outcome],
    bounds: Bounds,
    clock: Callable[[], float],
) -> str | None:
    """Act on windows, those behind the last one of the tick before first, up to the bounds.

    Args:
        windows: All that there are.
        after: Folder of the window that the tick before ended with; None where it came to the end.
        act: Does what is to be done about a window.
        bounds: Where to stop.
        clock: Seconds that never go back.

    Returns:
        The folder of the last window, where others are left; None where all were acted on.
    """
    began, outcomes = clock(), list[Outcome]()
    last = after
    for window in _behind(windows, after):
        if bounds.are_reached(outcomes, clock() - began):
            return last
        outcomes.append(act(window))
        last = window.folder_name
    return None


def _behind(windows: Iterable[Window], after: str | None) -> Iterator[Window]:
    ordered = sorted(windows, key=lambda window: window.folder_name)
    yield from (each for each in ordered if after is None or each.folder_name > after)
    yield from (each for each in ordered if after is not None and each.folder_name <= after)
