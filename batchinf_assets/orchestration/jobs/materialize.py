"""The jobs of a pipeline over its assets; those that move an alias are in `promotion`."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG

from batchinf_assets.orchestration.keys import CHALLENGER, MODEL, WINDOWED, asset_key
from batchinf_assets.orchestration.partitions import partitions_of
from batchinf_assets.orchestration.run_queue import PIPELINE_TAG, TEAM_TAG
from batchinf_assets.spec.pipeline import PipelineSpec


def window_job(spec: PipelineSpec) -> UnresolvedAssetJobDefinition:
    """Return the job named after the pipeline: everything from snapshot to performance."""
    keys = [asset_key(spec.name, name) for name in (*WINDOWED, MODEL)]
    return _job(spec, spec.name, dg.AssetSelection.assets(*keys))


def performance_job(spec: PipelineSpec) -> UnresolvedAssetJobDefinition:
    """Return the job that measures published windows once their outcomes have landed."""
    performance = dg.AssetSelection.assets(asset_key(spec.name, "performance"))
    return _job(spec, performance_job_name(spec), performance)


def challenger_job(spec: PipelineSpec) -> UnresolvedAssetJobDefinition:
    """Return the job that trains a challenger, of no window."""
    return dg.define_asset_job(
        f"{spec.name}_{CHALLENGER}",
        selection=dg.AssetSelection.assets(asset_key(spec.name, CHALLENGER)),
        description=f"Train a challenger of model {spec.model.name} and compare; promote nothing.",
        tags=job_tags(spec),
    )


def job_tags(spec: PipelineSpec) -> dict[str, str]:
    """Return the tags by which the run queue counts a pipeline's runs."""
    return {TEAM_TAG: spec.team, PIPELINE_TAG: spec.name}


def performance_job_name(spec: PipelineSpec) -> str:
    """Return the name of `performance_job`."""
    return f"{spec.name}_performance"


def _job(
    spec: PipelineSpec, name: str, selection: dg.AssetSelection
) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        name,
        selection=selection,
        partitions_def=partitions_of(spec.window),
        description=spec.description,
        tags={
            **job_tags(spec),
            MAX_RUNTIME_SECONDS_TAG: str(int(spec.retries.max_runtime.total_seconds())),
        },
    )
