"""Run a pipeline's job here and now, in this process, and say per window what became of it.

Everything goes through Dagster, so such a run shows in its UI like any other.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from batchinf_assets.orchestration.keys import WINDOWED
from batchinf_assets.orchestration.metadata.names import PREEMPTED, REFUSED, SECONDS
from batchinf_assets.orchestration.unfinished.sensor import HERE
from batchinf_assets.windows import Window

Reported = Callable[[str, str], None]
"""Called with a window's key and the asset that finished it."""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a run did.

    Attributes:
        run_id: Dagster's id of the run.
        succeeded: Whether every window came through.
        seconds: Time per window over all its steps.
        done: Windows that came through the run's last step.
        refused: Refused windows with the reason.
        failure: The sentence of the first step that failed.
        crashed: Whether that step failed by itself, not by refusing windows.
        preempted: Whether it was asked to leave; running it again goes on from there.
        warned: What failed and kept nothing back, as `asset/check`: by window, in one clause.
    """

    run_id: str
    succeeded: bool
    seconds: Mapping[str, float]
    done: Sequence[str]
    refused: Mapping[str, str]
    failure: str | None
    crashed: bool
    preempted: bool
    warned: Mapping[str, Mapping[str, str]]


def run_job(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    windows: Sequence[Window],
    on_event: Reported,
) -> RunReport:
    """Materialize a contiguous range of windows, the whole graph.

    Args:
        job: The pipeline's job.
        instance: Where the run is recorded.
        windows: The windows, in order, at least one.
        on_event: Hears of every finished window of every asset.
    """
    run_id = str(uuid.uuid4())
    heard = _Listener(on_event)
    instance.add_event_listener(run_id, heard)
    result = job.execute_in_process(
        instance=instance,
        run_id=run_id,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
        tags={
            HERE: "true",
            ASSET_PARTITION_RANGE_START_TAG: windows[0].key,
            ASSET_PARTITION_RANGE_END_TAG: windows[-1].key,
        },
    )
    return RunReport(
        run_id=run_id,
        succeeded=result.success,
        seconds=heard.seconds,
        done=sorted(heard.done),
        refused=heard.refused,
        failure=heard.failure,
        crashed=heard.crashed,
        preempted=heard.preempted,
        warned=heard.warned,
    )


class _Listener:
    """Collect what a run reports while it goes on."""

    def __init__(self, on_event: Reported) -> None:
        self._on_event = on_event
        self.seconds: dict[str, float] = {}
        self.refused: dict[str, str] = {}
        self.failure: str | None = None
        self.crashed = False
        self.preempted = False
        self.done: set[str] = set()
        self.warned: dict[str, dict[str, str]] = {}

    def __call__(self, entry: dg.EventLogEntry, _cursor: object = None) -> None:
        event = entry.dagster_event
        if event is None:
            return
        if event.is_step_failure:
            self.failure = self.failure or _reason(event)
            said = event.step_failure_data.user_failure_data
            self.crashed = self.crashed or said is None
            self.preempted = self.preempted or (said is not None and PREEMPTED in said.metadata)
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            self._hear_check(event.asset_check_evaluation_data)
        record = entry.asset_materialization or entry.asset_observation
        if record is not None and record.partition is not None:
            self._hear(record)

    def _hear(self, record: dg.AssetMaterialization | dg.AssetObservation) -> None:
        window, metadata = str(record.partition), record.metadata
        if SECONDS in metadata:
            spent = float(str(metadata[SECONDS].value))
            self.seconds[window] = self.seconds.get(window, 0.0) + spent
        if REFUSED in metadata:
            self.refused[window] = str(metadata[REFUSED].value)
        elif record.asset_key.path[-1] == WINDOWED[-1]:
            self.done.add(window)
        self._on_event(window, record.asset_key.path[-1])

    def _hear_check(self, check: dg.AssetCheckEvaluation) -> None:
        if check.passed or check.severity is not dg.AssetCheckSeverity.WARN:
            return
        name = f"{check.asset_key.path[-1]}/{check.check_name}"
        said = (check.description or "").replace(r"\[", "[")
        self.warned.setdefault(name, {})[str(check.partition)] = said


def _reason(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    cause = data.error.cause if data.error and data.error.cause else data.error
    return cause.message.strip() if cause else f"Step {event.step_key} failed."
