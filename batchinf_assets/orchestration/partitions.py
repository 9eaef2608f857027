"""A pipeline's windows as Dagster partitions."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import dagster as dg

from batchinf_assets.windows import KEY_FORMATS, WindowSpec


def partitions_of(spec: WindowSpec) -> dg.TimeWindowPartitionsDefinition:
    """Return partitions whose keys and bounds are those of the windows."""
    zone = ZoneInfo(spec.timezone)
    return dg.TimeWindowPartitionsDefinition(
        # As times, not as texts: a date alone would be its midnight, whenever windows start.
        start=spec.first_start.astimezone(zone),
        end=spec.last_end.astimezone(zone) if spec.last_end else None,
        cron_schedule=cron_of(spec),
        fmt=KEY_FORMATS[spec.every],
        timezone=spec.timezone,
        end_offset=1 if spec.due == "start" else 0,
    )


def cron_of(spec: WindowSpec) -> str:
    """Return the cron expression whose ticks are the starts of the windows."""
    at = f"{spec.clock_time.minute} {spec.clock_time.hour}"
    return {
        "hour": f"{spec.clock_time.minute} * * * *",
        "day": f"{at} * * *",
        "week": f"{at} * * {spec.start.isoweekday() % 7}",
        "month": f"{at} {spec.start.day} * *",
    }[spec.every]
