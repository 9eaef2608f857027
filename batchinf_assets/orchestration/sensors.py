"""The sensors of a pipeline: a run per landed file revision. What to run is planned below."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from batchinf_assets.evaluation.measured import Measured, measured_in
from batchinf_assets.evaluation.metric_tables import metric_table
from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.lake.place import Place
from batchinf_assets.orchestration.jobs import performance_job_name
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.snapshots.arrivals import Arrival, landed_files, plan_arrivals
from batchinf_assets.snapshots.freeze import frozen_source
from batchinf_assets.snapshots.parts import Identity, identity_of, landed_sha256
from batchinf_assets.spec import PipelineSpec

RUNS_PER_TICK = 20
LOOKBACK = 100
"""Windows whose figures are asked at each tick whether what follows from them was done."""


def landing_sensor(spec: PipelineSpec) -> dg.SensorDefinition:
    """Run the whole graph of a window when its source file lands or changes."""

    @dg.sensor(
        name=f"{spec.name}_landing",
        job_name=spec.name,
        minimum_interval_seconds=30,
        description="One run per window and source file revision, from what lands from now on.",
    )
    def landing(context: dg.SensorEvaluationContext, workplace: Workplace) -> dg.SensorResult:
        project = workplace.project()
        files = landed_files(project.landing, spec.source.files, spec.window)
        seen = {key: identity_of(path) for key, path in files.items()}
        arrivals, cursor = plan_arrivals(
            context.cursor,
            seen,
            lambda key: frozen_source(project, spec, spec.window.window(key)),
            lambda key: landed_sha256(files[key]),
            limit=RUNS_PER_TICK,
        )
        return dg.SensorResult(run_requests=_requests(arrivals, seen), cursor=cursor)

    return landing


def outcomes_sensor(spec: PipelineSpec) -> dg.SensorDefinition | None:
    """Measure a published window again when its outcomes land or change, or its revision does.

    Returns:
        None without outcomes.
    """
    outcomes = spec.outcomes
    if outcomes is None:
        return None

    @dg.sensor(
        name=f"{spec.name}_outcomes",
        job_name=performance_job_name(spec),
        minimum_interval_seconds=30,
        description="One measurement per published revision and outcomes file revision.",
    )
    def landed_outcomes(
        context: dg.SensorEvaluationContext, workplace: Workplace
    ) -> dg.SensorResult:
        return _measurements(context, workplace.project(), spec, outcomes.files)

    return landed_outcomes


def _measurements(
    context: dg.SensorEvaluationContext, project: Project, spec: PipelineSpec, pattern: str
) -> dg.SensorResult:
    """Ask for every window whose visible revision was not measured with the outcomes there are.

    What calls for a run is a revision as much as a file, so the cursor holds both as if they were
    one.
    """
    predictions = predictions_table(project, spec)
    visible = {key: files[0].parent.name for key, files in predictions.files().items()}
    landed = landed_files(project.landing, pattern, spec.window)
    files = {key: path for key, path in landed.items() if key in visible}
    kept = metric_table(project, spec, "performance").files()
    known = {key: kept[key][0] for key in files if kept.get(key)}
    seen = {key: _identity(path, visible[key]) for key, path in files.items()}
    arrivals, cursor = plan_arrivals(
        context.cursor,
        seen,
        lambda key: _used(measured_in(known[key])) if key in known else None,
        lambda key: f"{landed_sha256(files[key])}:{visible[key]}",
        limit=RUNS_PER_TICK,
    )
    # A revision that readers see again is what it was before; the version that shows it is new.
    requests = _requests(
        arrivals, seen, lambda key: f":{predictions.version_of(spec.window.window(key))}"
    )
    asked = {arrival.window for arrival in arrivals}
    waiting = {key: known[key] for key in sorted(known)[-LOOKBACK:] if key not in asked}
    unfinished = _unfinished(waiting, visible, datetime.now(UTC))
    return dg.SensorResult(
        run_requests=[*requests, *unfinished][:RUNS_PER_TICK],
        cursor=cursor,
    )


def _unfinished(
    figures: Mapping[str, Place], visible: Mapping[str, str], now: datetime
) -> Iterator[dg.RunRequest]:
    """Ask, at most once an hour, for windows whose figures failed and had no consequence yet."""
    for key, file in figures.items():
        found = measured_in(file)
        if found.revision == visible[key] and not found.followed_up:
            yield dg.RunRequest(
                partition_key=key, run_key=f"{key}:{found.outcomes}:{found.revision}:{now:%Y%m%d%H}"
            )


def _identity(path: Path, revision: str) -> Identity:
    changed, size = identity_of(path)
    return changed, int(json_sha256([size, revision])[:15], 16)


def _used(found: Measured) -> str | None:
    """Name what was measured, so that nothing equals what has had no consequence yet."""
    if found.outcomes is None:
        return None
    return f"{found.outcomes}:{found.revision}{'' if found.followed_up else ':unfinished'}"


def _requests(
    arrivals: Sequence[Arrival],
    seen: Mapping[str, Identity],
    shown: Callable[[str], str] = lambda _window: "",
) -> list[dg.RunRequest]:
    # Dagster runs a run key once and never again. The change time makes a file that went back to
    # earlier bytes another key, and stays the same where a lost cursor repeats a tick.
    return [
        dg.RunRequest(
            partition_key=arrival.window,
            run_key=f"{arrival.window}:{arrival.sha256}:{seen[arrival.window][0]}"
            f"{shown(arrival.window)}",
        )
        for arrival in arrivals
    ]
