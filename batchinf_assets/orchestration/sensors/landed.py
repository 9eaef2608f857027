"""The sensors of a pipeline: a run per landed file revision. What to run is planned below."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, islice

import dagster as dg

from batchinf_assets.evaluation.realised.measured import Measured, measured_in
from batchinf_assets.evaluation.realised.trailing_state import trailing_histories
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.lake.place import Place
from batchinf_assets.orchestration.assets.late_windows import source_key
from batchinf_assets.orchestration.jobs.materialize import performance_job_name
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.sensors.follow_ups import not_followed_up
from batchinf_assets.orchestration.sensors.repeated_requests import ToDo, repeated_requests
from batchinf_assets.orchestration.sensors.requested import last_request
from batchinf_assets.orchestration.sensors.stale_trailing import stale_windows
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.snapshots.arrivals import Evidence, Plan, plan_arrivals
from batchinf_assets.snapshots.listing import identities, landed_files, listed_for
from batchinf_assets.snapshots.parts import Identity
from batchinf_assets.snapshots.watch import (
    EFFORT,
    READ_BYTES,
    Look,
    bounded_digests,
    look_at_landing,
)
from batchinf_assets.spec.pipeline import PipelineSpec

LOOKBACK = 100
"""Windows whose figures are asked at each tick whether what follows from them was done."""


def landing_sensor(spec: PipelineSpec) -> dg.SensorDefinition:
    """Run the whole graph of a window when its source file lands or changes."""

    @dg.sensor(
        name=f"{spec.name}_landing",
        job_name=spec.name,
        minimum_interval_seconds=30,
        description="One run per window and source revision, from what lands from now on.",
    )
    def landing(context: dg.SensorEvaluationContext, workplace: Workplace) -> dg.SensorResult:
        asked = last_request(context.instance, spec.name)
        look = look_at_landing(workplace.project(), spec, context.cursor, asked, datetime.now(UTC))
        if look.plan.arrivals:  # else the tick says it as why nothing runs
            context.log.info(str(look))
        return _result(spec, look)

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
        description="One measurement per published revision and outcomes file revision, and of "
        "what windows after corrected ones show together.",
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
    landing = listed_for(project.landing, pattern)
    found = landed_files(landing, pattern, spec.window)
    files = {key: path for key, path in found.items() if key in visible}
    kept = metric_table(project, spec, "performance").files()
    known = {key: kept[key][0] for key in files if kept.get(key)}
    landed = identities(files)
    digests = bounded_digests(landing, files, landed, READ_BYTES)
    evidence = Evidence(
        used=lambda key: _used(measured_in(known[key])) if key in known else None,
        sha256=lambda key: _revision(digests.sha256(key), visible[key]),
        # A revision that readers see again is what it was before; the version that shows it is new.
        landing=lambda key: f"{landed[key][0]}.{predictions.version_of(spec.window.window(key))}",
        asked=last_request(context.instance, performance_job_name(spec)),
    )
    seen = {key: _identity(identity, visible[key]) for key, identity in landed.items()}
    plan = plan_arrivals(context.cursor, seen, evidence, EFFORT)
    requests = _requests(plan)
    asked = {arrival.window for arrival in plan.arrivals}
    waiting = {key: known[key] for key in sorted(known)[-LOOKBACK:] if key not in asked}
    undone = _undone(project, spec, waiting, visible, landed=bool(requests))
    again = repeated_requests(context.instance, project, spec, undone, datetime.now(UTC))
    return dg.SensorResult(
        run_requests=list(islice(chain(requests, again), EFFORT.arrivals)),
        cursor=plan.cursor,
    )


def _undone(
    project: Project,
    spec: PipelineSpec,
    figures: Mapping[str, Place],
    visible: Mapping[str, str],
    *,
    landed: bool,
) -> Iterator[ToDo]:
    """Yield what no run got done yet; what has landed would make trailing figures stale again."""
    yield from not_followed_up(spec, figures, visible)
    if not landed:
        yield from stale_windows(spec, trailing_histories(project, spec))


def _identity(identity: Identity, revision: str) -> Identity:
    changed, size = identity
    return changed, int(json_sha256([size, revision])[:15], 16)


def _revision(sha256: str | None, revision: str) -> str | None:
    return f"{sha256}:{revision}" if sha256 else None


def _used(found: Measured) -> str | None:
    """Name what was measured, so that nothing equals what has had no consequence yet."""
    if found.outcomes is None:
        return None
    return f"{found.outcomes}:{found.revision}{'' if found.followed_up else ':unfinished'}"


def _result(spec: PipelineSpec, look: Look) -> dg.SensorResult:
    arrivals = look.plan.arrivals
    if not arrivals:
        return dg.SensorResult(skip_reason=str(look), cursor=look.plan.cursor)
    if spec.automation == "sensor":
        return dg.SensorResult(run_requests=_requests(look.plan), cursor=look.plan.cursor)
    landed = [
        dg.AssetMaterialization(
            source_key(spec), partition=each.window, metadata={"sha256": each.sha256}
        )
        for each in arrivals
    ]
    return dg.SensorResult(asset_events=landed, cursor=look.plan.cursor)


def _requests(plan: Plan) -> list[dg.RunRequest]:
    return [
        dg.RunRequest(partition_key=each.window, run_key=each.request_name)
        for each in plan.arrivals
    ]
