"""What Dagster knows of the runs that sensors and schedules requested."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_KEY_TAG

from batchinf_assets.snapshots.arrivals import Asked

LAUNCHED = [
    status for status in dg.DagsterRunStatus if status is not dg.DagsterRunStatus.NOT_STARTED
]
"""Dagster launches what a tick that died left behind, if it is requested once more."""


RUNS = 10
"""Runs of one window that are looked at: those that people started have no run key, and those
for another model have another one."""


def last_request(instance: dg.DagsterInstance, job_name: str) -> Callable[[str], Asked | None]:
    """Return what tells the last request for a window that became a run of a job.

    The landing sensor and the schedule name their requests alike, so neither repeats the other.

    Args:
        instance: Knows the runs.
        job_name: The job that was requested.
    """

    def found(window: str) -> Asked | None:
        asked = dg.RunsFilter(
            job_name=job_name, tags={PARTITION_NAME_TAG: window}, statuses=LAUNCHED
        )
        for run in instance.get_runs(asked, limit=RUNS):
            name = run.tags.get(RUN_KEY_TAG, "")
            if name.startswith(f"{window}:"):
                return Asked(name=name, ended=run.is_finished)
        return None

    return found
