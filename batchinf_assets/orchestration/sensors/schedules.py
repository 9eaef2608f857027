"""What is asked at declared times: the newest window that is due, and what has not landed in time.

A schedule requests no run for data that is not there; when it lands, the landing sensor does.
"""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from batchinf_assets.errors import LostRace
from batchinf_assets.orchestration.assets.late_windows import source_key
from batchinf_assets.orchestration.partitions import partitions_of
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.sensors.requested import last_request
from batchinf_assets.project import Project
from batchinf_assets.publishing.status.overdue import close_landed, open_overdue, turns
from batchinf_assets.snapshots.watch import frozen_from, landed_arrival
from batchinf_assets.spec.pipeline import PipelineSpec


def window_schedule(spec: PipelineSpec) -> dg.ScheduleDefinition | None:
    """Return the declared schedule, switched off until somebody starts it; None without one."""
    if spec.schedule is None:
        return None
    partitions = partitions_of(spec.window)

    @dg.schedule(
        name=f"{spec.name}_schedule",
        job_name=spec.name,
        cron_schedule=spec.schedule,
        execution_timezone=spec.window.timezone,
    )
    def newest_window(
        context: dg.ScheduleEvaluationContext, workplace: Workplace
    ) -> dg.RunRequest | dg.SkipReason:
        with dg.partition_loading_context(context.scheduled_execution_time):
            key = partitions.get_last_partition_key()
        if key is None:
            return dg.SkipReason(f"No window of {spec.name} is due yet.")
        return _requested(context.instance, workplace.project(), spec, key)

    return newest_window


def deadline_sensor(spec: PipelineSpec) -> dg.SensorDefinition | None:
    """Tell once of each window whose data has not landed in time, and once when it has.

    Returns:
        None without a declared deadline.
    """
    if spec.deadline is None:
        return None

    @dg.sensor(
        name=f"{spec.name}_deadline",
        minimum_interval_seconds=60,
        description="A ticket per window whose data has not landed by its deadline; runs nothing.",
    )
    def deadline(context: dg.SensorEvaluationContext, workplace: Workplace) -> dg.SkipReason:
        return dg.SkipReason(_told(context.instance, workplace.project(), spec))

    return deadline


def _requested(
    instance: dg.DagsterInstance, project: Project, spec: PipelineSpec, key: str
) -> dg.RunRequest | dg.SkipReason:
    window = spec.window.window(key)
    arrival = landed_arrival(project, spec, window, datetime.now(UTC))
    if arrival is None:
        return dg.SkipReason(f"Window {key} of {spec.name} has not landed, or not all of it.")
    asked = last_request(instance, spec.name)(key)
    if asked is not None and asked.name == arrival.request_name:
        return dg.SkipReason(f"A run of window {key} was requested when it landed.")
    if frozen_from(project, spec, window) == arrival.sha256:
        return dg.SkipReason(f"Window {key} of {spec.name} was run with what has landed.")
    return dg.RunRequest(partition_key=key, run_key=arrival.request_name)


def _told(instance: dg.DagsterInstance, project: Project, spec: PipelineSpec) -> str:
    """Bring tickets up to date, and show each turn on the landed source first.

    Who dies in between shows it once more; the ticket is opened and closed once.
    """
    now = datetime.now(UTC)
    found = turns(project, spec, now)
    for overdue in found.overdue:
        instance.report_runless_asset_event(_observed(spec, overdue.window.key, str(overdue)))
        open_overdue(project, spec, overdue, now)
    for key, ticket in found.landed.items():
        instance.report_runless_asset_event(_observed(spec, key, "Its data has landed."))
        try:
            close_landed(project, spec, ticket, now)
        except LostRace:  # somebody closed it just now
            continue
    told = [
        *(f"{each.window}: {each}" for each in found.overdue),
        *(f"{key}: its data has landed." for key in found.landed),
    ]
    return " ".join(told) or "No window became overdue, and none that was has landed."


def _observed(spec: PipelineSpec, key: str, sentence: str) -> dg.AssetObservation:
    return dg.AssetObservation(
        source_key(spec),
        partition=key,
        description=sentence,
        metadata={"window": key, "state": sentence},
    )
