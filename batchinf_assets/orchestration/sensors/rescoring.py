"""The sensor that has recent windows scored again by a model that was promoted or gone back to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.tags import RUN_KEY_TAG

from batchinf_assets.errors import ModelUnavailable
from batchinf_assets.orchestration.keys import asset_key
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.sensors.requested import LAUNCHED
from batchinf_assets.publishing.backfill.rescoring import plan_rescoring, recent_models
from batchinf_assets.registry.trust import promoted_model
from batchinf_assets.spec.pipeline import PipelineSpec

RUNS_PER_TICK = 5
AGAIN = ("predictions", "evaluation", "published", "performance")
"""Snapshot and features stay: what landed since is the landing sensor's business."""


def rescoring_sensor(spec: PipelineSpec) -> dg.SensorDefinition | None:
    """Request recent windows once per move of the alias; None where that is not declared."""
    declared = spec.model.rescore
    if declared is None:
        return None
    selection = [asset_key(spec.name, name) for name in AGAIN]

    @dg.sensor(
        name=f"{spec.name}_rescore",
        job_name=spec.name,
        minimum_interval_seconds=60,
        description="Recent windows, once for each promotion or demotion of the model.",
    )
    def rescore(
        context: dg.SensorEvaluationContext, workplace: Workplace
    ) -> dg.SensorResult | dg.SkipReason:
        registry, now = workplace.registry(), datetime.now(UTC)
        try:
            promoted = promoted_model(registry, spec.model.name, spec.model.alias, now)
        except ModelUnavailable as error:
            return dg.SkipReason(str(error))
        sequence = promoted.promotion.sequence
        if context.cursor == str(sequence):
            return dg.SkipReason(f"What move {sequence} of the alias asks for was requested.")
        requests, complete = plan_rescoring(
            sequence,
            promoted.version.digest,
            recent_models(workplace.project(), spec, declared.windows),
            _followed(context.instance, spec.name),
            limit=RUNS_PER_TICK,
        )
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(partition_key=window, run_key=name, asset_selection=selection)
                for window, name in requests.items()
            ],
            cursor=str(sequence) if complete else context.cursor,
        )

    return rescore


def _followed(instance: dg.DagsterInstance, job_name: str) -> Callable[[str], bool]:
    def followed(name: str) -> bool:
        asked = dg.RunsFilter(job_name=job_name, tags={RUN_KEY_TAG: name}, statuses=LAUNCHED)
        return bool(instance.get_runs(asked, limit=1))

    return followed
