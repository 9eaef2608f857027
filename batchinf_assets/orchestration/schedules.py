"""The schedule of a pipeline: the newest window that is due, at the declared time."""

import dagster as dg

from batchinf_assets.orchestration.partitions import partitions_of
from batchinf_assets.spec import PipelineSpec


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
    def newest_window(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        with dg.partition_loading_context(context.scheduled_execution_time):
            key = partitions.get_last_partition_key()
        if key is None:
            return dg.SkipReason(f"No window of {spec.name} is due yet.")
        return dg.RunRequest(partition_key=key, run_key=key)

    return newest_window
