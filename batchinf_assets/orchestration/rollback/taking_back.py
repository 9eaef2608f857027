"""Automatic rollback inside a run: what is taken back, and what Dagster is told of it."""

from datetime import datetime

import dagster as dg

from batchinf_assets.checks import CheckResult
from batchinf_assets.orchestration.metadata.results import Metadata, check_metadata
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.rollback.roll_back import rollback_metadata, tell_dagster
from batchinf_assets.publishing.rollback.automatic import roll_back_if_condemned
from batchinf_assets.publishing.rollback.roll_back import Rollback
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


def take_back(
    workplace: Workplace,
    spec: PipelineSpec,
    window: Window,
    check: CheckResult,
    *,
    revision: str,
    run_id: str,
    now: datetime,
) -> Rollback | None:
    """Do what `roll_back_if_condemned` does, and tell Dagster in the run that is at it.

    Args:
        workplace: Where lake, registry and keys are.
        spec: The pipeline, with its policy.
        window: The window.
        check: The later check.
        revision: What it is about.
        run_id: The run.
        now: The time.
    """
    rollback = roll_back_if_condemned(
        workplace.project(),
        workplace.registry(),
        spec,
        window,
        check,
        run_id=run_id,
        now=now,
        measured=revision,
    )
    if rollback is not None and rollback.told is not None:
        context = dg.AssetExecutionContext.get()
        tell_dagster(context.instance, spec, rollback, context.log_event)
    return rollback


def taking_back_metadata(rollback: Rollback, check: CheckResult) -> Metadata:
    """Return what the UI shows of a rollback on the asset whose check asked for it."""
    shown = {**check_metadata(check), **rollback_metadata(rollback)}
    return {f"rollback/{name}": value for name, value in shown.items()}
