"""Whatever happens in whatever order: every landing is run once, and nothing is forgotten.

The daemon is played as Dagster's works: it launches what a tick requested, each run key once for
ever, and keeps the cursor afterwards. It dies between any two of these steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from batchinf_assets.snapshots.arrivals import Asked, Effort, Evidence, Left, plan_arrivals

WINDOWS = ("2013-01-01", "2013-01-02", "2013-02-01")
CONTENTS = ("one", "two", "bad")
windows, contents = st.sampled_from(WINDOWS), st.sampled_from(CONTENTS)


@dataclass
class Run:
    window: str
    name: str
    ended: bool = False


@dataclass
class Daemon:
    """Dagster, as far as it decides what runs."""

    cursor: str | None = None
    old_cursors: list[str | None] = field(default_factory=lambda: [None])
    launched: dict[str, Run] = field(default_factory=dict)

    def launch(self, window: str, name: str) -> None:
        self.launched.setdefault(name, Run(window, name))

    def asked(self, window: str) -> Asked | None:
        found = [run for run in self.launched.values() if run.window == window]
        return Asked(name=found[-1].name, ended=found[-1].ended) if found else None

    @property
    def under_way(self) -> list[Run]:
        return [run for run in self.launched.values() if not run.ended]


class Histories(RuleBasedStateMachine):
    """Files land, change and go while a sensor ticks and dies."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0
        self.landed: dict[str, tuple[int, str]] = {}
        self.half: set[str] = set()
        self.stock: dict[str, Left] = {}
        self.frozen: dict[str, str] = {}
        self.refused: set[tuple[str, int]] = set()
        self.daemon = Daemon()

    @initialize(there=st.dictionaries(windows, contents))
    def somebody_begins_to_watch(self, there: dict[str, str]) -> None:
        for window, content in there.items():
            self.land(window, content)
            identity = (self.landed[window][0], 1)
            self.stock[window] = Left(identity=identity, sha256=content)

    @rule(window=windows, content=contents)
    def land(self, window: str, content: str) -> None:
        self.clock += 1
        self.landed[window] = (self.clock, content)
        self.half.discard(window)

    @rule(window=windows, content=contents)
    def begin_to_land(self, window: str, content: str) -> None:
        self.land(window, f"half of {content}")
        self.half.add(window)

    @rule(window=windows)
    def delete(self, window: str) -> None:
        self.landed.pop(window, None)
        self.half.discard(window)

    @rule(dies_after=st.integers(min_value=0, max_value=4))
    def tick(self, dies_after: int) -> None:
        """With 4 it lives on: there are at most three windows to launch."""
        plan = plan_arrivals(
            self.daemon.cursor,
            {window: (changed, 1) for window, (changed, _) in self.landed.items()},
            Evidence(
                left=self.stock.get,
                used=self.frozen.get,
                whole=lambda window: window not in self.half,
                sha256=lambda window: self.landed[window][1],
                asked=self.daemon.asked,
            ),
            Effort(arrivals=2, windows=2),
        )
        for arrival in plan.arrivals[:dies_after]:
            assert arrival.window not in self.half
            assert self.frozen.get(arrival.window) != arrival.sha256
            self.daemon.launch(arrival.window, arrival.request_name)
        if dies_after == 4:
            self.daemon.cursor = plan.cursor
            self.daemon.old_cursors.append(plan.cursor)

    @rule(which=st.integers(min_value=0, max_value=20))
    def find_an_old_cursor(self, which: int) -> None:
        """The first of all is none."""
        self.daemon.cursor = self.daemon.old_cursors[which % len(self.daemon.old_cursors)]

    @rule(window=windows)
    def run_by_hand(self, window: str) -> None:
        self.freeze(window)

    @precondition(lambda self: self.daemon.under_way)
    @rule()
    def a_run_ends(self) -> None:
        run = self.daemon.under_way[0]
        run.ended = True
        self.freeze(run.window)

    def freeze(self, window: str) -> None:
        """Read what lies there now, which may be something else than was asked for."""
        if window not in self.landed:
            return
        changed, content = self.landed[window]
        if content in ("one", "two"):
            self.frozen[window] = content
        else:
            self.refused.add((window, changed))

    def teardown(self) -> None:
        """Let it all come to rest: the landings that are whole were all read."""
        for _ in range(20):
            self.tick(4)
            while self.daemon.under_way:
                self.a_run_ends()
        for window, (changed, content) in self.landed.items():
            left = self.stock.get(window)
            unwatched = left is not None and left.sha256 == content and window not in self.frozen
            tried = self.frozen.get(window) == content or (window, changed) in self.refused
            assert unwatched or window in self.half or tried
        before = len(self.daemon.launched)
        self.daemon.cursor = None
        for _ in range(20):
            self.tick(4)
        assert len(self.daemon.launched) == before


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=25)
