"""The Dagster component behind `type: batchinf_assets.orchestration.component.BatchPipeline`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster.components.scaffold.scaffold import ScaffolderUnavailableReason
from pydantic import BaseModel

from batchinf_assets.contracts.sound_rules import require_sound_rules
from batchinf_assets.orchestration.assets.pipeline import pipeline_assets
from batchinf_assets.orchestration.jobs.maintenance import maintain_job, maintain_schedule
from batchinf_assets.orchestration.jobs.materialize import (
    challenger_job,
    performance_job,
    window_job,
)
from batchinf_assets.orchestration.jobs.promotion import demote_job, promote_job
from batchinf_assets.orchestration.jobs.verification import verify_job, verify_schedule
from batchinf_assets.orchestration.rollback.roll_back import rollback_job
from batchinf_assets.orchestration.sensors.landed import landing_sensor, outcomes_sensor
from batchinf_assets.orchestration.sensors.rescoring import rescoring_sensor
from batchinf_assets.orchestration.sensors.retraining import retraining_sensor
from batchinf_assets.orchestration.sensors.schedules import deadline_sensor, window_schedule
from batchinf_assets.orchestration.unfinished.sensor import unfinished_sensor
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec


# Dagster's own scaffolder writes a declaration without anything in it, which stops all pipelines.
@dg.scaffold_with(
    ScaffolderUnavailableReason("Draft it from what lands: batchinf scaffold NAME FILE")
)
@dataclass
class BatchPipeline(dg.Component):
    """One pipeline: the spec in `defs.yaml`, with the SQL and training code beside it."""

    pipeline: Pipeline

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Let `dg check yaml` hold `attributes` against the spec."""
        return PipelineSpec

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> BatchPipeline:
        """Take the validated spec; the folder of `defs.yaml` holds the rest.

        Raises:
            InvalidSpec: A declared rule or pattern is none.
            FeatureSqlFailed: DuckDB refuses a declared rule.
        """
        assert isinstance(attributes, PipelineSpec)
        require_sound_rules(attributes)
        return cls(Pipeline(spec=attributes, folder=Path(context.path)))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002
        """Return the pipeline's assets, checks, jobs, schedule and sensors."""
        return pipeline_definitions(self.pipeline)


def pipeline_definitions(pipeline: Pipeline) -> dg.Definitions:
    """Return everything that Dagster runs for one pipeline; resources come with the project."""
    spec = pipeline.spec
    schedule = window_schedule(spec)
    sensors = (
        landing_sensor(spec),
        outcomes_sensor(spec),
        deadline_sensor(spec),
        rescoring_sensor(spec),
        retraining_sensor(spec),
        unfinished_sensor(spec),
    )
    return dg.Definitions(
        assets=pipeline_assets(pipeline),
        jobs=[
            window_job(spec),
            performance_job(spec),
            promote_job(spec),
            demote_job(spec),
            rollback_job(spec),
            maintain_job(spec),
            verify_job(spec),
            *([challenger_job(spec)] if spec.model.challenger else []),
        ],
        schedules=[
            maintain_schedule(spec),
            verify_schedule(spec),
            *([schedule] if schedule else []),
        ],
        sensors=[sensor for sensor in sensors if sensor],
    )
