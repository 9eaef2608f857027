"""Which windows of dead runs get a run of their own: pure planning; `sensor` asks Dagster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from batchinf_assets.lake.digest import json_sha256

FIRST_PAUSE = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True)
class DeadRun:
    """A run that ended without an end of its own, or was told to leave.

    Attributes:
        run_id: Its id.
        died_at: When that was noticed.
        relaunches: How many runs died before it, each relaunched for the one before.
        assets: Names of the assets that it was to make; empty for all.
        unfinished: Windows that it neither refused nor brought through.
    """

    run_id: str
    died_at: datetime
    relaunches: int
    assets: tuple[str, ...]
    unfinished: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Relaunch:
    """A run to request: one window, for one dead run."""

    window: str
    dead: DeadRun

    @property
    def run_key(self) -> str:
        """The same however often it is asked for: Dagster runs a key once."""
        return f"{self.window}:{self.dead.run_id}"


@dataclass(frozen=True, kw_only=True)
class Relaunches:
    """What a tick does.

    Attributes:
        requests: Runs to request now.
        settled: Ids of dead runs of which nothing is left to ask.
        given_up: Windows that are left to people, each with its last dead run.
        damaged: Windows that wait because their lease file is damaged, each with what is wrong.
    """

    requests: tuple[Relaunch, ...]
    settled: frozenset[str]
    given_up: Mapping[str, DeadRun]
    damaged: Mapping[str, str] = field(default_factory=dict[str, str])


def plan_relaunches(
    dead: Sequence[DeadRun],
    asked: Set[tuple[str, str]],
    busy: Set[str],
    now: datetime,
    *,
    allowed: int,
    limit: int,
) -> Relaunches:
    """Plan which windows to run again.

    Args:
        dead: Dead runs that are not settled.
        asked: Dead runs and windows for which a run was requested before.
        busy: Windows on which somebody works, or that are held for a run that may still live.
        now: The time.
        allowed: How many relaunches a window gets in a row.
        limit: How many runs may be requested now.
    """
    requests: list[Relaunch] = []
    settled: set[str] = set()
    given_up: dict[str, DeadRun] = {}
    for run in sorted(dead, key=lambda each: each.died_at):
        left = [window for window in run.unfinished if (run.run_id, window) not in asked]
        if run.relaunches >= allowed:
            given_up |= dict.fromkeys(left, run)
            settled.add(run.run_id)
            continue
        due = now >= run.died_at + pause(run)
        free = [window for window in left if due and window not in busy]
        now_asked = free[: limit - len(requests)]
        requests += [Relaunch(window=window, dead=run) for window in now_asked]
        if len(now_asked) == len(left):
            settled.add(run.run_id)
    return Relaunches(requests=tuple(requests), settled=frozenset(settled), given_up=given_up)


def pause(run: DeadRun) -> timedelta:
    """Return how long a dead run is left alone: twice as long each time, and not all at once.

    The share by which runs differ is drawn from the run's id, so that every tick finds the same.
    """
    share = int(json_sha256(run.run_id)[:8], 16) / 2**32
    return FIRST_PAUSE * 2.0**run.relaunches * (1 + share) / 2
