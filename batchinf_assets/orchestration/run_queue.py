"""The run queue: every run is labelled as it enters, whoever launched it, so that limits hold.

Dagster's queue counts runs by their tags. Runs of jobs carry those of the job; what is materialized
by a click in the asset graph, or by a backfill, carries none of ours. So the queue adds them:
`dagster.yaml` names this class as the run coordinator, and limits what it labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
    PRIORITY_TAG,
)

PIPELINE_TAG = "batchinf/pipeline"
WINDOW_TAG = "batchinf/window"
TEAM_TAG = "team"
TEAM_OWNER = "team:"

BACKFILL_PRIORITY = "-10"

Owners = Callable[[dg.AssetKey], Iterable[str]]


class WindowQueue(QueuedRunCoordinator[dg.DagsterInstance]):
    """Dagster's run queue, whose runs say pipeline, window, team and priority."""

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Label a run and put it into the queue."""
        graph = context.workspace.asset_graph
        missing = queue_tags(context.dagster_run, lambda key: graph.get(key).owners)
        if missing:
            self._instance.add_run_tags(context.dagster_run.run_id, missing)
        return super().submit_run(context)


def queue_tags(run: dg.DagsterRun, owners: Owners) -> dict[str, str]:
    """Return the tags that a run lacks.

    Args:
        run: As it was launched. What its launcher tagged is left as it is.
        owners: Returns the owners of an asset.

    Returns:
        The pipeline and the team, where the run belongs to one; the window, where it has one: no
            two runs of one window are then launched at once. Backfills rank behind everything else.
    """
    assets = sorted(run.asset_selection or ())
    found = {
        PIPELINE_TAG: _only({key.path[0] for key in assets}),
        TEAM_TAG: _only({team for key in assets for team in _teams(owners(key))}),
        PRIORITY_TAG: BACKFILL_PRIORITY if BACKFILL_ID_TAG in run.tags else None,
    }
    tags = {name: tag for name, tag in found.items() if tag is not None} | dict(run.tags)
    pipeline, window = tags.get(PIPELINE_TAG), _window(run.tags)
    if pipeline is not None and window is not None:
        tags.setdefault(WINDOW_TAG, f"{pipeline}/{window}")
    return {name: tag for name, tag in tags.items() if name not in run.tags}


def _window(tags: Mapping[str, Any]) -> str | None:
    """Return the one window that a run is of; None for ranges and runs without windows."""
    first, last = (
        tags.get(name) for name in (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)
    )
    return tags.get(PARTITION_NAME_TAG) or (first if first == last else None)


def _teams(owners: Iterable[str]) -> Iterable[str]:
    return (owner.removeprefix(TEAM_OWNER) for owner in owners if owner.startswith(TEAM_OWNER))


def _only(names: set[str]) -> str | None:
    return next(iter(names)) if len(names) == 1 else None
