"""The sensor that asks for a challenger; whether one is due is decided in `evaluation.retraining`.

It requests a run that trains and compares. Nothing here, and nothing in that run, promotes.
"""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.tags import RUN_KEY_TAG, SENSOR_NAME_TAG

from batchinf_assets.errors import UsageError
from batchinf_assets.evaluation.retraining import RetrainingDue, retraining_due, window_verdicts
from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.orchestration.keys import CHALLENGER
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.spec.pipeline import PipelineSpec

TICK_SECONDS = 600
REASON = "batchinf/retraining"


def retraining_sensor(spec: PipelineSpec) -> dg.SensorDefinition | None:
    """Request a challenger where drift or lost performance lasts; None without a declaration."""
    declared = spec.retraining
    if declared is None:
        return None

    @dg.sensor(
        name=sensor_name(spec),
        job_name=f"{spec.name}_{CHALLENGER}",
        minimum_interval_seconds=TICK_SECONDS,
        description="One challenger per cool-down, while drift or lost performance lasts.",
    )
    def retraining(
        context: dg.SensorEvaluationContext, workplace: Workplace
    ) -> dg.SensorResult | dg.SkipReason:
        now, last = datetime.now(UTC), last_request(context.cursor, spec)
        if last is not None and now - last < declared.cooldown:
            return dg.SkipReason(f"A challenger was requested on {last:%Y-%m-%d %H:%M} UTC.")
        history = window_verdicts(workplace.project(), spec)
        due = retraining_due(history, spec, last, now)
        if due is None:
            return dg.SkipReason("Neither drift nor performance asks for a challenger.")
        return _requested(due, _asked_at(context.instance, spec, due), now)

    return retraining


def last_request(cursor: str | None, spec: PipelineSpec) -> datetime | None:
    """Read from the sensor's cursor when the last challenger was requested.

    Raises:
        UsageError: The cursor is no time with its zone.
    """
    if not cursor:
        return None
    try:
        found = datetime.fromisoformat(cursor)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UsageError(
            f"The cursor of {sensor_name(spec)} is no time: '{cursor[:64]}'.",
            next_step="Reset it in Dagster's UI.",
        )
    return found


def sensor_name(spec: PipelineSpec) -> str:
    """Return what the sensor is called."""
    return f"{spec.name}_retraining"


def run_key(due: RetrainingDue) -> str:
    """Name a request by the windows that make it due: the same windows ask once."""
    return f"{due.windows[0]}:{json_sha256(due.windows)[:16]}"


def _asked_at(
    instance: dg.DagsterInstance, spec: PipelineSpec, due: RetrainingDue
) -> datetime | None:
    """Return when a run was launched for these very windows; None if there was none."""
    tags = {RUN_KEY_TAG: run_key(due), SENSOR_NAME_TAG: sensor_name(spec)}
    known = instance.get_run_records(dg.RunsFilter(tags=tags))
    # Dagster launches what a tick that died left behind, if it is requested once more.
    launched = [
        record.create_timestamp
        for record in known
        if record.dagster_run.status is not dg.DagsterRunStatus.NOT_STARTED
    ]
    return min(launched, default=None)


def _requested(due: RetrainingDue, asked: datetime | None, now: datetime) -> dg.SensorResult:
    if asked is not None:
        # Dagster would skip the key; a cool-down that begins now would hold back the next windows.
        return dg.SensorResult(
            skip_reason=f"These windows asked for a challenger on {asked:%Y-%m-%d %H:%M} UTC.",
            cursor=asked.isoformat(),
        )
    request = dg.RunRequest(run_key=run_key(due), tags={REASON: due.reason})
    return dg.SensorResult(run_requests=[request], cursor=now.isoformat())
