"""The asset checks of a pipeline: declared here, evaluated per window by `window_runs`."""

from __future__ import annotations

import dagster as dg

from batchinf_assets.contracts.declared_checks import declared_checks
from batchinf_assets.evaluation.consequences import (
    EVALUATION,
    PERFORMANCE,
    VERDICTS,
    consequence,
    judges_performance,
)
from batchinf_assets.publishing.gate import blocking_checks
from batchinf_assets.spec.evaluation import Consequence
from batchinf_assets.spec.pipeline import PipelineSpec

DESCRIPTIONS = {
    "schema": "Every declared column is there with its declared type.",
    "new_columns": "Upstream added no column that nobody declared.",
    "contract": "No row breaks a blocking rule, and few enough were set aside (pandera, SQL).",
    "warnings": "No row and no table breaks a rule that only warns.",
    "quarantine": "No row was set aside; the quarantine table tells of those that were.",
    "unique_key": "No key occurs twice.",
    "in_window": "There are rows, and each happens inside the window.",
    "volume": "The window has about as many rows as those before it.",
    "freshness": "The newest row is near the window's end.",
    "rules": "The declared conditions over the whole table hold.",
    "row_conservation": "Every row of the step before is here or was set aside.",
    "inputs_present": "Every outcome file that the features look back on has landed.",
    "trained_features": "The model learned from this very feature definition.",
    "golden_quality": "Metrics on the golden set keep their declared bounds.",
    "golden_set": "The golden set is young and balanced enough, and says where it comes from.",
    "drift": "Features and score are distributed as in the reference (PSI, Wasserstein).",
    "performance": "Metrics over realised outcomes keep their declared bounds.",
    "gate": "All of the above is on record, and files and inputs are unchanged.",
}
WARNINGS = {"predictions": ("trained_features",)}
GATES = {"published": ("gate",)}
CONSEQUENCES: dict[Consequence, str] = {
    "block": "If not, the window is not published, unless somebody overrides it with a reason.",
    "ticket": "If not, a ticket is opened.",
    "inform": "If not, it is shown.",
}


def check_specs(
    key: dg.AssetKey, partitions: dg.PartitionsDefinition[str], spec: PipelineSpec
) -> list[dg.AssetCheckSpec]:
    """Declare the checks of one asset, partitioned like it: those that its declaration asks for.

    Args:
        key: The asset.
        partitions: Its windows.
        spec: The pipeline. A check of what it does not declare would stay empty for ever.
    """
    asset = key.path[-1]
    blocking = (*blocking_checks(spec).get(asset, ()), *GATES.get(asset, ()))
    declared = [name for name, blocks in declared_checks(spec).get(asset, {}).items() if not blocks]
    verdicts = _verdicts(asset, spec)
    names = dict.fromkeys((*blocking, *declared, *verdicts, *WARNINGS.get(asset, ())))
    return [
        dg.AssetCheckSpec(
            name,
            asset=key,
            description=_described(name, spec if name in verdicts else None),
            blocking=name in blocking,
            partitions_def=partitions,
        )
        for name in names
    ]


def _verdicts(asset: str, spec: PipelineSpec) -> tuple[str, ...]:
    """Return the checks of an asset whose consequence is declared in `gate`."""
    if asset == PERFORMANCE and judges_performance(spec):
        return (PERFORMANCE,)
    return VERDICTS if asset == EVALUATION else ()


def _described(name: str, spec: PipelineSpec | None) -> str:
    """Return what a check is about, and for a verdict what follows under this declaration."""
    about = DESCRIPTIONS[name]
    return f"{about} {CONSEQUENCES[consequence(name, spec)]}" if spec else about
