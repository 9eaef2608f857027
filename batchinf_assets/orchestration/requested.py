"""What Dagster knows of the runs that a sensor requested."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_KEY_TAG, SENSOR_NAME_TAG

from batchinf_assets.snapshots.arrivals import Asked

LAUNCHED = [
    status for status in dg.DagsterRunStatus if status is not dg.DagsterRunStatus.NOT_STARTED
]
"""Dagster launches what a tick that died left behind, if it is requested once more."""


def last_request(instance: dg.DagsterInstance, sensor_name: str) -> Callable[[str], Asked | None]:
    """Return what tells the last request of a sensor for a window that became a run.

    Args:
        instance: Knows the runs.
        sensor_name: The sensor that requested them.
    """

    def found(window: str) -> Asked | None:
        tags = {SENSOR_NAME_TAG: sensor_name, PARTITION_NAME_TAG: window}
        runs = instance.get_runs(dg.RunsFilter(tags=tags, statuses=LAUNCHED), limit=1)
        return Asked(name=runs[0].tags[RUN_KEY_TAG], ended=runs[0].is_finished) if runs else None

    return found
