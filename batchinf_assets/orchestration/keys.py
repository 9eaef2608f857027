"""The asset keys of a pipeline."""

from __future__ import annotations

import dagster as dg

WINDOWED = ("snapshot", "features", "predictions", "evaluation", "published", "performance")
"""The assets that have windows, in the order of the data's way."""

MODEL = "model"
CHALLENGER = "challenger"


def asset_key(pipeline: str, name: str) -> dg.AssetKey:
    """Return the key of an asset of a pipeline."""
    return dg.AssetKey([pipeline, name])
