"""The sensors of a pipeline: a run per landed file revision. What to run is planned below."""

from collections.abc import Callable

import dagster as dg

from batchinf_assets.evaluation.measure import measured_outcomes
from batchinf_assets.orchestration.jobs import performance_job_name
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.snapshots.arrivals import landed_files, plan_arrivals
from batchinf_assets.snapshots.freeze import frozen_source
from batchinf_assets.snapshots.parts import identity_of, landed_sha256
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window

RUNS_PER_TICK = 20


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
        return _arrivals(
            context, project, spec, spec.source.files, lambda w: frozen_source(project, spec, w)
        )

    return landing


def outcomes_sensor(spec: PipelineSpec) -> dg.SensorDefinition | None:
    """Measure a published window again when its outcomes land or change; None without outcomes."""
    outcomes = spec.outcomes
    if outcomes is None:
        return None

    @dg.sensor(
        name=f"{spec.name}_outcomes",
        job_name=performance_job_name(spec),
        minimum_interval_seconds=30,
        description="One measurement per published window and outcomes file revision.",
    )
    def landed_outcomes(
        context: dg.SensorEvaluationContext, workplace: Workplace
    ) -> dg.SensorResult:
        project = workplace.project()
        return _arrivals(
            context,
            project,
            spec,
            outcomes.files,
            lambda w: measured_outcomes(project, spec, w),
            among=set(predictions_table(project, spec).files()),
        )

    return landed_outcomes


def _arrivals(
    context: dg.SensorEvaluationContext,
    project: Project,
    spec: PipelineSpec,
    pattern: str,
    used: Callable[[Window], str | None],
    among: set[str] | None = None,
) -> dg.SensorResult:
    files = landed_files(project.landing, pattern, spec.window)
    seen = {key: identity_of(path) for key, path in files.items() if among is None or key in among}
    arrivals, cursor = plan_arrivals(
        context.cursor,
        seen,
        lambda key: used(spec.window.window(key)),
        lambda key: landed_sha256(files[key]),
        limit=RUNS_PER_TICK,
    )
    # Dagster runs a run key once and never again. The change time makes a file that went back to
    # earlier bytes another key, and stays the same where a lost cursor repeats a tick.
    requests = [
        dg.RunRequest(
            partition_key=arrival.window,
            run_key=f"{arrival.window}:{arrival.sha256}:{seen[arrival.window][0]}",
        )
        for arrival in arrivals
    ]
    return dg.SensorResult(run_requests=requests, cursor=cursor)
