"""Verification inside Dagster: a job that proves what is published again, and its schedule."""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from batchinf_assets.errors import BatchinfError
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.steps.window_runs import failing_clearly
from batchinf_assets.project import Project
from batchinf_assets.publishing.proof.verify import (
    Verification,
    not_known,
    undeclared,
    verify_window,
)
from batchinf_assets.publishing.visible import published_revisions
from batchinf_assets.registry.registry import Registry
from batchinf_assets.spec.pipeline import PipelineSpec

WEEKLY = "0 5 * * 0"
LOGGED_EVERY = 50
SHOWN = 3


def verify_job(spec: PipelineSpec) -> dg.JobDefinition:
    """Return the job that verifies every published window; it changes nothing."""

    @dg.op(name=f"{spec.name}__verify", description="Recompute every digest and signature.")
    def verify_published(context: dg.OpExecutionContext, workplace: Workplace) -> None:
        project, registry = workplace.project(), workplace.registry()
        with failing_clearly():
            keys = sorted(published_revisions(project, spec))
        found = list[Verification]()
        for done, key in enumerate(keys, start=1):
            found.append(_verified(project, registry, spec, key))
            if done == len(keys) or done % LOGGED_EVERY == 0:
                context.log.info(f"{done} of {len(keys)} windows are verified.")
        _report(context, spec, found)

    @dg.job(
        name=verify_job_name(spec),
        description=f"Verify every published window of {spec.name}.",
        tags={"team": spec.team},
    )
    def job() -> None:
        verify_published()

    return job


def verify_job_name(spec: PipelineSpec) -> str:
    """Return the name of `verify_job`."""
    return f"{spec.name}_verify"


def verify_schedule(spec: PipelineSpec) -> dg.ScheduleDefinition:
    """Return the weekly schedule of `verify_job`, switched off until somebody starts it."""
    return dg.ScheduleDefinition(
        name=f"{verify_job_name(spec)}_schedule",
        job_name=verify_job_name(spec),
        cron_schedule=WEEKLY,
        execution_timezone=spec.window.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )


def _verified(project: Project, registry: Registry, spec: PipelineSpec, key: str) -> Verification:
    if not spec.window.has(key):
        return undeclared(key)
    try:
        return verify_window(project, registry, spec, spec.window.window(key))
    except (BatchinfError, OSError) as error:  # one that cannot be read hides no other
        return not_known(key, error)


def _report(
    context: dg.OpExecutionContext, spec: PipelineSpec, found: Sequence[Verification]
) -> None:
    failed = [each for each in found if not each.holds]
    context.add_output_metadata(
        {
            "windows": len(found),
            "verified": len(found) - len(failed),
            "at": dg.MetadataValue.timestamp(datetime.now(UTC)),
        }
    )
    for each in failed:
        context.log.error(f"{each.window}: {' '.join(each.problems)}")
    if not found:
        raise dg.Failure(f"Nothing of {spec.name} is published.", allow_retries=False)
    if failed:
        first = "; ".join(f"{each.window}: {each.problems[0]}" for each in failed[:SHOWN])
        raise dg.Failure(
            f"{len(failed)} of {len(found)} windows do not verify. {first} "
            f"`batchinf verify {spec.name} --all` says what to do about each.",
            allow_retries=False,
        )
