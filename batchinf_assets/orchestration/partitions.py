"""A pipeline's windows as Dagster partitions."""

from __future__ import annotations

from datetime import datetime

import dagster as dg

from batchinf_assets.windows import KEY_FORMATS, Every, WindowSpec

CRON: dict[Every, str] = {
    "hour": "0 * * * *",
    "day": "0 0 * * *",
    "week": "0 0 * * 0",
    "month": "0 0 1 * *",
}


def partitions_of(spec: WindowSpec) -> dg.TimeWindowPartitionsDefinition:
    """Return partitions whose keys and bounds are those of the windows."""
    form = KEY_FORMATS[spec.every]
    return dg.TimeWindowPartitionsDefinition(
        start=_midnight(spec.start).strftime(form),
        end=_midnight(spec.end).strftime(form) if spec.end else None,
        cron_schedule=CRON[spec.every],
        fmt=form,
        timezone=spec.timezone,
        end_offset=1 if spec.due == "start" else 0,
    )


def _midnight(day: object) -> datetime:
    return datetime.fromisoformat(str(day))
