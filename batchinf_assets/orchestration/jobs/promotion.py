"""Promotion inside Dagster: its jobs, and the observation that makes what a model scored stale."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from pydantic import Field

from batchinf_assets.orchestration.keys import MODEL, asset_key
from batchinf_assets.orchestration.metadata.models import (
    move_metadata,
    promoted_metadata,
    verdict_metadata,
)
from batchinf_assets.orchestration.metadata.results import Metadata
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.steps.window_runs import failing_clearly
from batchinf_assets.promotion.promote import (
    Decision,
    Promoted,
    PromotionRefused,
    demote,
    pipelines_of,
    promote,
)
from batchinf_assets.registry.registry import ModelVersion
from batchinf_assets.registry.trust import promoted_model
from batchinf_assets.spec.contract import Name
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec


class Demotion(dg.Config):
    """Who takes an alias back to its champion before, and why."""

    reason: str = Field(description="Why; it stays on record.")
    alias: Name | None = Field(default=None, description="Which alias; else the declared one.")
    by: str | None = Field(default=None, description="Who; else BATCHINF_ACTOR, else the run.")


class Candidacy(Demotion):
    """Which version shall have an alias, who says so, and why."""

    version: str = Field(description="The version's number.")
    force: bool = Field(default=False, description="Override clauses that fail; stays on record.")


def promote_job(spec: PipelineSpec) -> dg.JobDefinition:
    """Return the job that lets the alias name a version, if it passes the gate."""

    @dg.op(name=f"{spec.name}__promote", description="Judge a version and move the alias to it.")
    def promote_version(
        context: dg.OpExecutionContext, config: Candidacy, workplace: Workplace
    ) -> None:
        with failing_clearly():
            decision = _decision(context, spec, config, force=config.force)
            version = workplace.registry().version(spec.model.name, config.version)
            concerned = pipelines_of(spec.model.name, decision.alias)
            promoted = _promote(workplace, concerned, version, decision)
            _report(context, workplace, promoted)

    @dg.job(
        name=f"{spec.name}_promote",
        description=f"Promote a version of model {spec.model.name}, if it passes the gate.",
        tags={"team": spec.team},
    )
    def job() -> None:
        promote_version()

    return job


def demote_job(spec: PipelineSpec) -> dg.JobDefinition:
    """Return the job that lets the alias name again what it named before."""

    @dg.op(name=f"{spec.name}__demote", description="Move the alias back.")
    def demote_version(
        context: dg.OpExecutionContext, config: Demotion, workplace: Workplace
    ) -> None:
        with failing_clearly():
            decision, key = _decision(context, spec, config), workplace.signing_key()
            demoted = demote(workplace.registry(), key, spec.model.name, decision)
            _report(context, workplace, demoted)

    @dg.job(
        name=f"{spec.name}_demote",
        description=f"Go back to the champion of model {spec.model.name} before the present one.",
        tags={"team": spec.team},
    )
    def job() -> None:
        demote_version()

    return job


def report_model(
    instance: dg.DagsterInstance, pipelines: Sequence[str], version: ModelVersion
) -> None:
    """Let Dagster know which model these pipelines use now: what another one scored is stale."""
    for pipeline in pipelines:
        instance.report_runless_asset_event(model_observation(pipeline, version))


def model_observation(
    pipeline: str, version: ModelVersion, shown: Metadata | None = None
) -> dg.AssetObservation:
    """Return the observation of a pipeline's model; its data version is the artifact's digest."""
    return dg.AssetObservation(
        asset_key(pipeline, MODEL),
        metadata=shown or {"version": version.version, "digest": version.digest},
        tags={DATA_VERSION_TAG: version.digest},
    )


def _decision(
    context: dg.OpExecutionContext, spec: PipelineSpec, config: Demotion, *, force: bool = False
) -> Decision:
    return Decision(
        alias=config.alias or spec.model.alias,
        reason=config.reason,
        # Whoever this process runs as is nobody who decided anything.
        by=config.by or os.environ.get("BATCHINF_ACTOR") or f"Dagster run {context.run_id}",
        at=datetime.now(UTC),
        force=force,
    )


def _promote(
    workplace: Workplace, pipelines: Sequence[Pipeline], version: ModelVersion, decision: Decision
) -> Promoted:
    project, registry = workplace.project(), workplace.registry()
    try:
        return promote(project, registry, pipelines, workplace.signing_key(), version, decision)
    except PromotionRefused as error:
        shown = verdict_metadata(error.verdicts, failed_only=True)
        raise dg.Failure(str(error), metadata=shown, allow_retries=False) from None


def _report(context: dg.OpExecutionContext, workplace: Workplace, promoted: Promoted) -> None:
    record = promoted.record
    for clause in record.clauses:
        verdict = "passed" if clause.passed else "FAILED"
        context.log.info(f"{verdict} {clause.name}: {clause.sentence}.")
    model = promoted_model(workplace.registry(), record.name, record.alias, record.at)
    shown = promoted_metadata(model)
    for pipeline in pipelines_of(record.name):
        if pipeline.spec.model.alias == record.alias:
            context.log_event(model_observation(pipeline.name, model.version, shown))
    context.add_output_metadata(move_metadata(promoted))
