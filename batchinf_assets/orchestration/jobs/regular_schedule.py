"""When the jobs run that look after what is there; those that score have schedules of their own."""

import dagster as dg

from batchinf_assets.spec.pipeline import PipelineSpec


def regular_schedule(spec: PipelineSpec, job_name: str, cron: str) -> dg.ScheduleDefinition:
    """Return the schedule of a job of the pipeline, switched off until somebody starts it.

    Args:
        spec: The pipeline, in whose time zone the clock is read.
        job_name: The job.
        cron: When.
    """
    return dg.ScheduleDefinition(
        name=f"{job_name}_schedule",
        job_name=job_name,
        cron_schedule=cron,
        execution_timezone=spec.window.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
