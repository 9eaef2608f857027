"""The sensor that asks for a challenger; whether one is due is decided in `evaluation.retraining`.

It requests a run that trains and compares. Nothing here, and nothing in that run, promotes.
"""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from batchinf_assets.errors import UsageError
from batchinf_assets.evaluation.retraining import RetrainingDue, retraining_due, window_verdicts
from batchinf_assets.orchestration.keys import CHALLENGER
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.spec import PipelineSpec

TICK_SECONDS = 600
REASON = "batchinf/retraining"
FIRST = "the first"


def retraining_sensor(spec: PipelineSpec) -> dg.SensorDefinition | None:
    """Request a challenger where drift or lost performance lasts; None without a declaration."""
    declared = spec.retraining
    if declared is None:
        return None

    @dg.sensor(
        name=f"{spec.name}_retraining",
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
        return _requested(due, context.cursor, now)

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
            f"The cursor of {spec.name}_retraining is no time: '{cursor[:64]}'.",
            next_step="Reset it in Dagster's UI.",
        )
    return found


def _requested(due: RetrainingDue, cursor: str | None, now: datetime) -> dg.SensorResult:
    # A tick that died is repeated with the cursor that it began with: the same key, so one run.
    request = dg.RunRequest(run_key=f"after {cursor or FIRST}", tags={REASON: due.reason})
    return dg.SensorResult(run_requests=[request], cursor=now.isoformat())
