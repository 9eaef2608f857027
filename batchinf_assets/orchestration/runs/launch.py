"""Hand a range of windows to the daemon of a running Dagster, as its UI does."""

from __future__ import annotations

import time
from collections.abc import Sequence

import dagster as dg
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.utils import make_new_backfill_id
from dagster._daemon.daemon import BackfillDaemon
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.errors import UsageError
from batchinf_assets.orchestration.keys import WINDOWED, asset_key
from batchinf_assets.spec.load import Pipeline

SILENCE_SECONDS = 120.0
"""After which a daemon counts as gone: it shows that it lives every thirty seconds."""


def launch_backfill(
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    pipeline: Pipeline,
    windows: Sequence[str],
) -> str:
    """Request a backfill of all assets of some windows; the declared chunk cuts it into runs.

    Args:
        instance: Dagster's storage, which the daemon shares.
        definitions: The pipeline's.
        pipeline: The pipeline.
        windows: Keys, at least one.

    Returns:
        The backfill's id.

    Raises:
        UsageError: No daemon has been heard of lately: nobody would run it.
    """
    _require_daemon(instance, time.time())
    with disable_dagster_warnings():  # Dagster warns of what it calls itself
        backfill = PartitionBackfill.from_asset_partitions(
            backfill_id=make_new_backfill_id(),
            asset_graph=definitions.resolve_asset_graph(),
            partition_names=list(windows),
            asset_selection=[asset_key(pipeline.name, name) for name in WINDOWED],
            backfill_timestamp=time.time(),
            tags={"team": pipeline.spec.team},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description="batchinf backfill run",
            run_config=None,
        )
    instance.add_backfill(backfill)
    return backfill.backfill_id


def _require_daemon(instance: dg.DagsterInstance, now: float) -> None:
    heartbeat = instance.get_daemon_heartbeats().get(BackfillDaemon.daemon_type())
    if heartbeat is not None and now - heartbeat.timestamp <= SILENCE_SECONDS:
        return
    raise UsageError(
        "No daemon of this Dagster instance has shown for two minutes that it runs.",
        next_step="Start one (`make ui` does), or leave out --launch.",
    )
