"""Maintenance inside Dagster: a job that removes what no manifest needs, and its schedule."""

from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from batchinf_assets.orchestration.jobs.regular_schedule import regular_schedule
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.steps.window_runs import failing_clearly
from batchinf_assets.publishing.upkeep.maintain import Plan, apply, plan_maintenance
from batchinf_assets.spec.pipeline import PipelineSpec

NIGHTLY = "0 4 * * *"


class Maintenance(dg.Config):
    """Whether anything is removed."""

    dry_run: bool = Field(default=False, description="Say what would be removed, remove nothing.")


def maintain_job(spec: PipelineSpec) -> dg.JobDefinition:
    """Return the job that removes what no manifest of the pipeline needs any more."""

    @dg.op(name=f"{spec.name}__maintain", description="Remove what no manifest needs.")
    def remove_unneeded(
        context: dg.OpExecutionContext, config: Maintenance, workplace: Workplace
    ) -> None:
        project, now = workplace.project(), datetime.now(UTC)
        with failing_clearly():
            plan = plan_maintenance(project, spec, now)
            if not config.dry_run:
                plan = apply(project, spec, plan, now, run_id=context.run_id)
        _report(context, plan)

    @dg.job(
        name=maintain_job_name(spec),
        description=f"Remove what no manifest of {spec.name} needs any more.",
        tags={"team": spec.team},
    )
    def job() -> None:
        remove_unneeded()

    return job


def maintain_job_name(spec: PipelineSpec) -> str:
    """Return the name of `maintain_job`."""
    return f"{spec.name}_maintain"


def maintain_schedule(spec: PipelineSpec) -> dg.ScheduleDefinition:
    """Return the nightly schedule of `maintain_job`, switched off until somebody starts it."""
    return regular_schedule(spec, maintain_job_name(spec), NIGHTLY)


def _report(context: dg.OpExecutionContext, plan: Plan) -> None:
    for removal in plan.removals:
        context.log.info(f"{removal.what} {removal.place}: {removal.why}")
    for task in plan.tasks:
        context.log.info(f"{task.what} {task.table}: {task.why}")
    for left in plan.left_alone:
        say = context.log.error if left.damaged else context.log.info
        say(f"{left.what} is left alone: {left.why}")
    context.add_output_metadata(
        {
            "files": len(plan.removals),
            "bytes": plan.bytes,
            "table_tasks": len(plan.tasks),
            "left_alone": len(plan.left_alone),
        }
    )
    damaged = [left for left in plan.left_alone if left.damaged]
    if damaged:
        sentence = "; ".join(f"{left.what}: {left.why}" for left in damaged[:3])
        raise dg.Failure(f"{len(damaged)} left alone. {sentence}", allow_retries=False)
