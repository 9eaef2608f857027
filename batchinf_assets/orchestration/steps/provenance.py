"""What a window was made of and by, in the tags from which Dagster tells fresh from stale.

Dagster writes them on what it materializes by itself; our steps log each window on their own.
"""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

from batchinf_assets.code_version import running_code
from batchinf_assets.features.build import feature_definition
from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.orchestration.keys import CHALLENGER
from batchinf_assets.scoring.revision import scoring_settings
from batchinf_assets.spec.load import Pipeline


def code_version(pipeline: Pipeline, name: str) -> str:
    """Return the version of the code and the declarations that decide what an asset holds."""
    declared: object = None
    if name == "features":
        declared = feature_definition(pipeline)
    elif name == "predictions":
        declared = scoring_settings(pipeline).model_dump(mode="json")
    elif name == CHALLENGER:
        script = pipeline.training_script.read_text(encoding="utf-8")
        declared = [feature_definition(pipeline), script]
    return json_sha256([running_code().source, declared])[:12]


def provenance_tags(context: dg.AssetExecutionContext) -> dict[str, str]:
    """Return the tags that all windows of this step share: its code version and its inputs.

    Of an input with windows Dagster compares what the same window held at the event pointer with
    what it holds now; of any other input it compares data versions. Both are of the moment before
    the step's first window, so whatever changes while the step runs shows as stale. Dagster has
    looked them up by then: this asks the event log for nothing.
    """
    step, asset = context.get_step_execution_context(), context.asset_key
    node = context.job_def.asset_layer.get(asset)
    tags = {CODE_VERSION_TAG: node.code_version or context.run.run_id}
    for key in node.parent_keys:
        found = step.maybe_fetch_and_get_input_asset_version_info(key)
        version = (found.data_version if found else None) or DEFAULT_DATA_VERSION
        tags[get_input_data_version_tag(key)] = version.value
        tags[get_input_event_pointer_tag(key)] = (
            str(found.storage_id) if found else NULL_EVENT_POINTER
        )
    return tags


def window_tags(
    shared: Mapping[str, str], asset: dg.AssetKey, data_version: str, inputs: Mapping[str, str]
) -> dict[str, str]:
    """Return the tags of one window's materialization.

    Args:
        shared: `provenance_tags` of the step.
        asset: What was materialized.
        data_version: Identity of what the window holds.
        inputs: Data versions that the window was made of, by asset name within the pipeline, where
            they are known better than from the event log.
    """
    known = {
        get_input_data_version_tag(dg.AssetKey([*asset.path[:-1], name])): version
        for name, version in inputs.items()
    }
    return {**shared, **known, DATA_VERSION_TAG: data_version}
