"""Verification inside Dagster: a job that proves what is published again, and its schedule."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial

import dagster as dg

from batchinf_assets.lake.presence import Presence
from batchinf_assets.orchestration.jobs.regular_schedule import regular_schedule
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.rollback.roll_back import tell_dagster
from batchinf_assets.orchestration.steps.window_runs import failing_clearly
from batchinf_assets.project import Project
from batchinf_assets.publishing.proof.verify import Verification, verify_key
from batchinf_assets.publishing.rollback.remedies import Remedy, judge_damage, take_all_back
from batchinf_assets.publishing.visible import published_revisions
from batchinf_assets.registry.registry import Registry
from batchinf_assets.spec.pipeline import PipelineSpec

WEEKLY = "0 5 * * 0"
LOGGED_EVERY = 50
SHOWN = 3


def verify_job(spec: PipelineSpec) -> dg.JobDefinition:
    """Return the job that verifies every published window, and does what the policy declares."""

    @dg.op(name=f"{spec.name}__verify", description="Recompute every digest and signature.")
    def verify_published(context: dg.OpExecutionContext, workplace: Workplace) -> None:
        project, registry = workplace.project(), workplace.registry()
        found = _verified(context, project, registry, spec)
        failed = [each for each in found if not each.holds]
        _show(context, found, failed)
        done = _taken_back(context, project, registry, spec, failed)
        for key, remedy in done.items():
            context.log.error(f"{key}: {remedy}")
        _require_verified(spec, found, failed, done)

    @dg.job(
        name=verify_job_name(spec),
        description=f"Verify every published window of {spec.name}; take back what is damaged, "
        "where `rollback` says so.",
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
    return regular_schedule(spec, verify_job_name(spec), WEEKLY)


def _verified(
    context: dg.OpExecutionContext, project: Project, registry: Registry, spec: PipelineSpec
) -> Sequence[Verification]:
    with failing_clearly():
        presence = Presence.of(project.lake / spec.name)
        with presence.required():
            keys = sorted(published_revisions(project, spec))
    found = list[Verification]()
    for done, key in enumerate(keys, start=1):
        found.append(verify_key(project, registry, spec, key, presence))
        if done == len(keys) or done % LOGGED_EVERY == 0:
            context.log.info(f"{done} of {len(keys)} windows are verified.")
    return found


def _show(
    context: dg.OpExecutionContext, found: Sequence[Verification], failed: Sequence[Verification]
) -> None:
    context.add_output_metadata(
        {
            "windows": len(found),
            "verified": len(found) - len(failed),
            "at": dg.MetadataValue.timestamp(datetime.now(UTC)),
        }
    )
    for each in failed:
        context.log.error(f"{each.window}: {' '.join(each.problems)}")


def _taken_back(
    context: dg.OpExecutionContext,
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    failed: Sequence[Verification],
) -> Mapping[str, Remedy]:
    tell = partial(tell_dagster, context.instance, spec, log=context.log_event)
    return take_all_back(
        project,
        registry,
        spec,
        judge_damage(project, registry, spec, failed),
        run_id=context.run_id,
        now=datetime.now(UTC),
        telling=lambda: nullcontext(tell),
    )


def _require_verified(
    spec: PipelineSpec,
    found: Sequence[Verification],
    failed: Sequence[Verification],
    done: Mapping[str, Remedy],
) -> None:
    if not found:
        raise dg.Failure(f"Nothing of {spec.name} is published.", allow_retries=False)
    if failed:
        first = "; ".join(
            f"{each.window}: {each.problems[0]} {done.get(each.window, '')}".rstrip()
            for each in failed[:SHOWN]
        )
        raise dg.Failure(
            f"{len(failed)} of {len(found)} windows do not verify. {first} "
            f"`batchinf verify {spec.name} --all` says what to do about each.",
            allow_retries=False,
        )
