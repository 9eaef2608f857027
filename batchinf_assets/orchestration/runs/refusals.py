"""Which windows were refused last, read back from Dagster's event log."""

from __future__ import annotations

import dagster as dg

from batchinf_assets.orchestration.keys import WINDOWED, asset_key
from batchinf_assets.orchestration.steps.window_runs import REFUSED
from batchinf_assets.spec.pipeline import PipelineSpec

LATEST = 1_000


def standing_refusals(instance: dg.DagsterInstance, spec: PipelineSpec) -> dict[str, str]:
    """Return the windows whose latest attempt at some asset was refused, with the reason."""
    standing: dict[str, str] = {}
    for name in WINDOWED:
        key = asset_key(spec.name, name)
        for window, (storage_id, reason) in _refused(instance, key).items():
            latest = instance.get_latest_storage_id_by_partition(
                key, dg.DagsterEventType.ASSET_MATERIALIZATION, {window}
            )
            if latest.get(window, -1) < storage_id:
                standing.setdefault(window, reason)
    return standing


def _refused(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    for record in instance.fetch_observations(key, limit=LATEST).records:
        observation = record.asset_observation
        if observation and observation.partition and REFUSED in observation.metadata:
            reason = str(observation.metadata[REFUSED].value)
            found.setdefault(observation.partition, (record.storage_id, reason))
    return found
