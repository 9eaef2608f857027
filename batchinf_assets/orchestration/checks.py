"""The asset checks of a pipeline: declared here, evaluated per window by `window_runs`."""

from __future__ import annotations

import dagster as dg

from batchinf_assets.publishing.gate import REQUIRED_CHECKS

DESCRIPTIONS = {
    "schema": "Every declared column is there with its declared type.",
    "contract": "Values are present, finite, within bounds and among those allowed (pandera).",
    "unique_key": "No key occurs twice.",
    "in_window": "There are rows, and each happens inside the window.",
    "row_conservation": "Keys are exactly those of the step before.",
    "inputs_present": "Every outcome file that the features look back on has landed.",
    "trained_features": "The model learned from this very feature definition.",
    "golden_quality": "Metrics on the golden set keep their declared bounds.",
    "drift": "Features and score are distributed as in training (PSI).",
    "gate": "All of the above is on record, and files and inputs are unchanged.",
}
WARNINGS = {
    "features": ("inputs_present",),
    "predictions": ("trained_features",),
    "evaluation": ("drift",),
}
GATES = {"published": ("gate",)}


def check_specs(
    key: dg.AssetKey, partitions: dg.PartitionsDefinition[str]
) -> list[dg.AssetCheckSpec]:
    """Declare the checks of one asset, partitioned like it; warnings do not block."""
    asset = key.path[-1]
    blocking = (*REQUIRED_CHECKS.get(asset, ()), *GATES.get(asset, ()))
    return [
        dg.AssetCheckSpec(
            name,
            asset=key,
            description=DESCRIPTIONS[name],
            blocking=name in blocking,
            partitions_def=partitions,
        )
        for name in (*blocking, *WARNINGS.get(asset, ()))
    ]
