"""Runs that are asked for again while something is not done: once an hour, and not for ever.

What is not done, and of which windows, is found by `follow_ups` and `stale_trailing`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import dagster as dg
from dagster._core.storage.tags import RUN_KEY_TAG

from batchinf_assets.orchestration.sensors.requested import LAUNCHED
from batchinf_assets.project import Project
from batchinf_assets.publishing.tickets.tickets import open_cause
from batchinf_assets.spec.pipeline import PipelineSpec

FOLLOW_UP = "batchinf/follow_up"
"""Tag of the runs that were asked for: what they are to do."""

FOLLOW_UP_RUNS = 24
"""Runs for one thing to do, so a day of them; after that a ticket tells."""

KEYS_AT_ONCE = 200
"""Run keys in one question to Dagster: SQLite takes a bounded number of parameters."""


@dataclass(frozen=True, kw_only=True)
class ToDo:
    """What a run of one window is to do, and does not get done.

    Attributes:
        window: The window's key.
        name: The same as long as it is the same thing to do; other figures are another.
        check: The check of the ticket that tells that runs came to nothing.
        cause: What that ticket says; the same for the same `name`.
    """

    window: str
    name: str
    check: str
    cause: str

    def run_key(self, now: datetime) -> str:
        """Name the request of this hour: Dagster runs a key once."""
        return f"{self.name}:{now:%Y%m%d%H}"


def repeated_requests(
    instance: dg.DagsterInstance,
    project: Project,
    spec: PipelineSpec,
    wanted: Iterable[ToDo],
    now: datetime,
) -> Iterator[dg.RunRequest]:
    """Ask for runs that nobody asked for within this hour, or leave what is to be done to people.

    What was asked for is left out, not repeated: whoever takes the first few requests of many
    comes to the others at the next tick.

    Args:
        instance: Knows which runs were asked for before.
        project: Where tickets are.
        spec: The pipeline.
        wanted: What is not done yet, in the order in which it is asked for.
        now: The time; a run key lasts for an hour.

    Raises:
        OSError: A ticket cannot be written.
    """
    left = list(wanted)
    asked = _asked(instance, [each.run_key(now) for each in left])
    for each in left:
        key, tags = each.run_key(now), {FOLLOW_UP: each.name}
        if key in asked:
            continue
        if instance.get_runs_count(dg.RunsFilter(tags=tags)) >= FOLLOW_UP_RUNS:
            open_cause(project, spec, each.check, each.cause, now)
            continue
        yield dg.RunRequest(partition_key=each.window, run_key=key, tags=tags)


def _asked(instance: dg.DagsterInstance, keys: list[str]) -> set[str]:
    """Return the keys of runs that were launched; Dagster launches the others if asked again."""
    found: set[str] = set()
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = {RUN_KEY_TAG: keys[start : start + KEYS_AT_ONCE]}
        runs = instance.get_runs(dg.RunsFilter(tags=some, statuses=LAUNCHED))
        found |= {run.tags[RUN_KEY_TAG] for run in runs}
    return found
