"""The demo pipeline run by conditions, with sensors that look every two seconds."""

from __future__ import annotations

import dagster as dg

from batchinf_assets.cli.workplace import own_definitions
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

SECONDS = 2
CONDITIONS = "default_automation_condition_sensor"


def declarative() -> Pipeline:
    """The demo pipeline as somebody would declare it who leaves runs to conditions."""
    declared = load_pipeline("flight_delays")
    document = declared.spec.model_dump(by_alias=True, exclude_unset=True)
    spec = PipelineSpec.model_validate(document | {"automation": "declarative", "schedule": None})
    return Pipeline(spec=spec, folder=declared.folder)


@dg.definitions
def defs() -> dg.Definitions:
    own = own_definitions(declarative())
    for sensor in own.sensors or ():
        sensor._min_interval = SECONDS
    conditions = dg.AutomationConditionSensorDefinition(
        CONDITIONS, target=dg.AssetSelection.all(), minimum_interval_seconds=SECONDS
    )
    return dg.Definitions.merge(own, dg.Definitions(sensors=[conditions]))
