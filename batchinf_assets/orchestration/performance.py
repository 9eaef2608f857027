"""The asset `performance`, and what follows where outcomes show that a window is not good."""

from dataclasses import asdict
from datetime import UTC, datetime

import dagster as dg

from batchinf_assets.evaluation.measure import Realised, measure_performance
from batchinf_assets.evaluation.metric_tables import metric_table
from batchinf_assets.evaluation.report.write import write_window_report
from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.orchestration.evaluation_metadata import (
    metric_metadata,
    performance_metadata,
    report_metadata,
)
from batchinf_assets.orchestration.metadata import Metadata
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.rollback import rollback_metadata, rollback_observation
from batchinf_assets.orchestration.window_asset import window_asset
from batchinf_assets.orchestration.window_runs import WindowResult
from batchinf_assets.project import Project
from batchinf_assets.publishing.automatic import roll_back_if_condemned
from batchinf_assets.publishing.tickets import open_tickets
from batchinf_assets.spec import Pipeline, PipelineSpec
from batchinf_assets.windows import Window


def performance_asset(pipeline: Pipeline) -> dg.AssetsDefinition:
    """Hold published predictions against outcomes; reports its state while there are none."""
    outcomes = ["landing/outcomes"] if pipeline.spec.outcomes else []

    def step(workplace: Workplace, run_id: str, window: Window) -> WindowResult:
        project, spec = workplace.project(), pipeline.spec
        realised = measure_performance(project, spec, window)
        followed = _followed_up(workplace, spec, window, run_id, realised)
        return WindowResult(
            data_version=_version(realised),
            metadata=performance_metadata(realised)
            | metric_metadata(metric_table(project, spec, "performance"), window)
            | _report(project, spec, window, realised)
            | followed,
            checks=[realised.check] if realised.check else [],
        )

    return window_asset(pipeline, "performance", ["published", *outcomes], step, kinds={"duckdb"})


def _version(realised: Realised) -> str | None:
    measured = realised.performance.state == "measured"
    return json_sha256(asdict(realised.performance)) if measured else None


def _report(project: Project, spec: PipelineSpec, window: Window, realised: Realised) -> Metadata:
    if realised.manifest is None:
        return {}
    return report_metadata(write_window_report(project, spec, window, realised.manifest))


def _followed_up(
    workplace: Workplace, spec: PipelineSpec, window: Window, run_id: str, realised: Realised
) -> Metadata:
    """Open tickets and go back to an earlier revision, where the declaration asks for it.

    Only what the window itself shows condemns its revision: the windows before it, which the check
    looks at too, have their own.
    """
    if realised.manifest is None or realised.check is None or realised.own_check is None:
        return {}
    project, now = workplace.project(), datetime.now(UTC)
    open_tickets(project, spec, window, realised.manifest, [realised.check], now)
    rollback = roll_back_if_condemned(
        project,
        workplace.registry(),
        spec,
        window,
        realised.own_check,
        run_id=run_id,
        now=now,
        measured=realised.manifest.revision,
    )
    if rollback is None:
        return {}
    if rollback.told is not None:
        dg.AssetExecutionContext.get().log_event(rollback_observation(spec.name, rollback))
        measure_performance(project, spec, window)  # the tables are about what readers see
    return {f"rollback/{name}": shown for name, shown in rollback_metadata(rollback).items()}
