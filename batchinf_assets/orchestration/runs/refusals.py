"""Which windows were refused last, read back from Dagster's event log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dagster as dg

from batchinf_assets.orchestration.keys import WINDOWED, asset_key
from batchinf_assets.orchestration.metadata.names import REFUSED, SECONDS
from batchinf_assets.spec.pipeline import PipelineSpec

AT_ONCE = 500
"""Windows that one query asks for, and observations that it returns."""


def standing_refusals(instance: dg.DagsterInstance, spec: PipelineSpec) -> dict[str, str]:
    """Return the windows whose latest attempt at some asset was refused, with the reason."""
    standing: dict[str, str] = {}
    for name in WINDOWED:
        for window, reason in _refused(instance, asset_key(spec.name, name)).items():
            standing.setdefault(window, reason)
    return standing


def _refused(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, str]:
    ended: dict[str, str | None] = {}
    for window, observation in _since_made(instance, key):
        metadata = observation.metadata
        if REFUSED in metadata:
            ended.setdefault(window, str(metadata[REFUSED].value))
        elif SECONDS in metadata:  # an attempt that came through, with a state and no result
            ended.setdefault(window, None)
    return {window: reason for window, reason in ended.items() if reason is not None}


def _since_made(
    instance: dg.DagsterInstance, key: dg.AssetKey
) -> Iterator[tuple[str, dg.AssetObservation]]:
    """Yield what was observed of windows since they were materialized last, the newest first."""
    seen, made = (
        instance.get_latest_storage_id_by_partition(key, kind)
        for kind in (
            dg.DagsterEventType.ASSET_OBSERVATION,
            dg.DagsterEventType.ASSET_MATERIALIZATION,
        )
    )
    windows = [window for window, storage_id in seen.items() if storage_id > made.get(window, -1)]
    for start in range(0, len(windows), AT_ONCE):
        for record in _observed(instance, key, windows[start : start + AT_ONCE]):
            observation, window = record.asset_observation, str(record.partition_key)
            if observation is not None and record.storage_id > made.get(window, -1):
                yield window, observation


def _observed(
    instance: dg.DagsterInstance, key: dg.AssetKey, windows: Sequence[str]
) -> Iterator[dg.EventLogRecord]:
    of_windows, cursor = dg.AssetRecordsFilter(asset_key=key, asset_partitions=windows), None
    while True:
        page = instance.fetch_observations(of_windows, limit=AT_ONCE, cursor=cursor)
        yield from page.records
        if not page.has_more:
            return
        cursor = page.cursor
