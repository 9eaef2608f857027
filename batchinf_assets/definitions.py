"""Dagster's entry point: every pipeline under `defs/`, with the resources they share."""

from pathlib import Path

import dagster as dg

from batchinf_assets.orchestration.resources import shared


@dg.definitions
def defs() -> dg.Definitions:
    """Load the project."""
    pipelines = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    return dg.Definitions.merge(pipelines, shared())
