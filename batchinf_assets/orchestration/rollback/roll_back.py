"""Rollback inside Dagster: its job, and what tells of it on `published`."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from pydantic import Field
from sqlalchemy.exc import DBAPIError

from batchinf_assets.errors import StorageFailed
from batchinf_assets.manifest.values import RevisionId
from batchinf_assets.orchestration.keys import asset_key
from batchinf_assets.orchestration.metadata.results import Metadata
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.rollback.withdrawal import (
    PUBLISHED,
    WITHDRAWN,
    is_shown_withdrawn,
    show_withdrawn,
)
from batchinf_assets.orchestration.steps.window_runs import failing_clearly
from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import Announcement, last_announcement
from batchinf_assets.publishing.rollback.plan import RollbackRequest
from batchinf_assets.publishing.rollback.roll_back import (
    Rollback,
    as_announced,
    attempt_rollback,
    is_asked_for,
)
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

Told = dg.AssetMaterialization | dg.AssetObservation

TAKEN_BACK = "batchinf/taken_back"
"""Metadata of what tells of a rollback: no run of the window came through."""


class TakingBack(dg.Config):
    """Which window goes back to what, who says so, and why."""

    window: str = Field(description="The window's key, such as 2013-07-01.")
    reason: str = Field(description="Why; consumers read it, and it stays on record.")
    to: RevisionId | None = Field(
        default=None, description="A revision that readers saw; else the one before the present."
    )
    withdraw: bool = Field(default=False, description="Let readers see nothing instead.")
    reinstate: bool = Field(default=False, description="Show the condemned revision `to` again.")
    seen: RevisionId | None = Field(
        default=None, description="Only if readers see this revision still; else whichever."
    )
    by: str | None = Field(default=None, description="Who; else BATCHINF_ACTOR, else the run.")


def rollback_job(spec: PipelineSpec) -> dg.JobDefinition:
    """Return the job that takes a published revision back."""

    @dg.op(name=f"{spec.name}__rollback", description="Show readers an earlier revision again.")
    def take_back(context: dg.OpExecutionContext, config: TakingBack, workplace: Workplace) -> None:
        with failing_clearly():
            project, window = workplace.project(), spec.window.window(config.window)
            request = _request(config, context.run_id)
            done = untold_rollback(context.instance, project, spec, window, request)
            done = done or attempt_rollback(
                project, workplace.registry(), spec, window, request, run_id=context.run_id
            )
        context.log.info(str(done.told))
        if done.page_problem is not None:
            context.log.warning(f"Its pages were not written again: {done.page_problem}")
        tell_dagster(context.instance, spec, done, context.log_event)
        context.add_output_metadata(rollback_metadata(done))

    @dg.job(
        name=f"{spec.name}_rollback",
        description=f"Take a published window of {spec.name} back: to an earlier revision, or away "
        "from readers.",
        tags={"team": spec.team},
    )
    def job() -> None:
        take_back()

    return job


def _request(config: TakingBack, run_id: str) -> RollbackRequest:
    return RollbackRequest(
        # Whoever this process runs as is nobody who decided anything.
        by=config.by or os.environ.get("BATCHINF_ACTOR") or f"Dagster run {run_id}",
        reason=config.reason,
        at=datetime.now(UTC),
        to=config.to,
        withdraw=config.withdraw,
        reinstate=config.reinstate,
        seen=config.seen or "anything",
    )


def tell_dagster(
    instance: dg.DagsterInstance,
    spec: PipelineSpec,
    done: Rollback,
    log: Callable[[Told], None] | None = None,
) -> None:
    """Let Dagster show on `published` what readers see of a window now, and why.

    Args:
        instance: Whose history tells it.
        spec: The pipeline.
        done: The rollback.
        log: Takes events for the run that did it; without a run they belong to none.

    Raises:
        StorageFailed: Dagster's database cannot be written.
    """
    try:
        for event in rollback_events(spec.name, done):
            (log or instance.report_runless_asset_event)(event)
        if done.told is not None and done.after is None:
            show_withdrawn(instance, spec, done.told)
    except DBAPIError as error:  # whose text quotes the statement, and may quote the address
        raise StorageFailed(
            f"Dagster's database could not be written: {type(error.orig).__name__}.",
            next_step="Make room, or mend what DAGSTER_HOME names.",
        ) from error


def untold_rollback(
    instance: dg.DagsterInstance,
    project: Project,
    spec: PipelineSpec,
    window: Window,
    request: RollbackRequest | None = None,
) -> Rollback | None:
    """Return the last rollback of a window where Dagster was not told of it, as who did it died.

    Args:
        instance: Whose history is asked.
        project: Where the tables are.
        spec: The pipeline.
        window: The window.
        request: Only if this is what was asked for; if None whatever it was.

    Returns:
        What `tell_dagster` is to tell. None where Dagster knows, where a publication followed, or
        where something else is asked for.

    Raises:
        ManifestInvalid: The table's log, or a manifest, is damaged.
    """
    told = last_announcement(project, spec, window)
    if told is None or (request is not None and not is_asked_for(told, request)):
        return None
    if _is_told(instance, spec, told):
        return None
    return as_announced(project, spec, window, told)


def _is_told(instance: dg.DagsterInstance, spec: PipelineSpec, told: Announcement) -> bool:
    if told.after is None:
        return is_shown_withdrawn(instance, spec, told)
    of_window = dg.AssetRecordsFilter(
        asset_key=asset_key(spec.name, PUBLISHED), asset_partitions=[told.window]
    )
    newest = instance.fetch_materializations(of_window, limit=1).records
    shown = newest[0].asset_materialization if newest else None
    return shown is not None and (shown.tags or {}).get(DATA_VERSION_TAG) == told.after


def rollback_events(pipeline: str, done: Rollback) -> Iterator[Told]:
    """Yield what Dagster is told of a window that was taken back, in this order.

    What readers see is a materialization with its data version, so that what was made of another
    one shows as stale; that of a withdrawn window is `withdrawn`. Where nothing was changed, only
    the observation is yielded.
    """
    yield rollback_observation(pipeline, done)
    if done.told is not None:
        yield dg.AssetMaterialization(
            asset_key(pipeline, PUBLISHED),
            partition=done.window,
            metadata=_told(done),
            tags={DATA_VERSION_TAG: done.after.revision if done.after else WITHDRAWN},
        )


def rollback_observation(pipeline: str, done: Rollback) -> dg.AssetObservation:
    """Return the observation of a window that was taken back."""
    return dg.AssetObservation(
        asset_key(pipeline, PUBLISHED), partition=done.window, metadata=_told(done)
    )


def _told(done: Rollback) -> Metadata:
    return {TAKEN_BACK: dg.MetadataValue.bool(True), **rollback_metadata(done)}


def rollback_metadata(done: Rollback) -> Metadata:
    """Return what the UI shows of a rollback; texts of people are shown as they are."""
    shown: dict[str, dg.MetadataValue] = {
        "state": dg.MetadataValue.text(done.state),
        "revision_before": dg.MetadataValue.text(done.before.revision if done.before else "-"),
        "revision": dg.MetadataValue.text(done.after.revision if done.after else "-"),
    }
    if done.after is not None and done.after.rows is not None:
        shown["rows"] = dg.MetadataValue.int(done.after.rows)
    if done.stepped_over:
        shown["stepped_over"] = dg.MetadataValue.text("\n".join(done.stepped_over))
    if done.told is not None:
        shown["by"] = dg.MetadataValue.text(done.told.by)
        shown["reason"] = dg.MetadataValue.text(done.told.reason)
    return shown
