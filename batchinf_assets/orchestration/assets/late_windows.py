"""A condition of our own for Dagster's declarative automation: windows run whenever they land.

Dagster's `eager()` and `on_cron()` look at nothing but the newest window, so data that lands late,
or again, would never run. This one looks at every window, and follows the data's way only: another
model or reference does not make all windows run.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from batchinf_assets.orchestration.keys import WINDOWED, asset_key
from batchinf_assets.spec.pipeline import PipelineSpec


def source_key(spec: PipelineSpec) -> dg.AssetKey:
    """Return the key of what upstream lands."""
    return dg.AssetKey([spec.name, "landing", "source"])


def window_condition(spec: PipelineSpec, name: str) -> dg.AutomationCondition[Any] | None:
    """Return when an asset's windows run by themselves; None unless automation is declarative.

    Args:
        spec: The pipeline.
        name: An asset with windows.
    """
    if spec.automation != "declarative":
        return None
    before = dict(zip(WINDOWED[1:], WINDOWED, strict=False))
    source = asset_key(spec.name, before[name]) if name in before else source_key(spec)
    landed = dg.AutomationCondition.any_deps_updated().allow(dg.AssetSelection.assets(source))
    idle = ~dg.AutomationCondition.in_progress()
    return (landed.since_last_handled() & idle).with_label("landed, whichever window")
