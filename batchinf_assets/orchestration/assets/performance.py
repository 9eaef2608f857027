"""The asset `performance`, and what follows where outcomes show that a window is not good."""

from dataclasses import asdict, replace
from datetime import UTC, datetime

import dagster as dg

from batchinf_assets.evaluation.realised.measure import Realised, measure_performance
from batchinf_assets.evaluation.realised.measured import followed_up
from batchinf_assets.evaluation.realised.performance_check import is_old_enough
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.evaluation.report.write import write_window_report
from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.orchestration.assets.window_asset import window_asset
from batchinf_assets.orchestration.metadata.evaluations import (
    metric_metadata,
    performance_metadata,
    report_metadata,
)
from batchinf_assets.orchestration.metadata.results import Metadata
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.rollback.roll_back import tell_dagster, untold_rollback
from batchinf_assets.orchestration.rollback.taking_back import take_back, taking_back_metadata
from batchinf_assets.orchestration.steps.tries import Try, WindowResult
from batchinf_assets.project import Project
from batchinf_assets.publishing.rollback.roll_back import Rollback
from batchinf_assets.publishing.tickets.tickets import open_tickets
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

TOO_EARLY = "too early: labels are still coming in"


def performance_asset(pipeline: Pipeline) -> dg.AssetsDefinition:
    """Hold published predictions against outcomes; reports its state while there are none."""
    outcomes = ["landing/outcomes"] if pipeline.spec.outcomes else []
    return window_asset(
        pipeline, "performance", ["published", *outcomes], _measure, {"duckdb"}, _follow_up
    )


def _measure(workplace: Workplace, pipeline: Pipeline, tried: Try, window: Window) -> WindowResult:
    project, spec = workplace.project(), pipeline.spec
    return _shown(
        project, spec, window, measure_performance(project, spec, window, order=tried.order)
    )


def _follow_up(
    workplace: Workplace, pipeline: Pipeline, tried: Try, window: Window, result: WindowResult
) -> WindowResult:
    """Do what follows where the figures failed, and tell Dagster of it."""
    project, spec = workplace.project(), pipeline.spec
    _tell_what_died_untold(project, spec, window)
    if not result.is_to_follow_up:
        return result
    realised, followed = _measured(workplace, spec, window, tried.run_id)
    shown = _shown(project, spec, window, realised)
    return replace(shown, metadata={**shown.metadata, **followed})


def _shown(
    project: Project, spec: PipelineSpec, window: Window, realised: Realised
) -> WindowResult:
    return WindowResult(
        data_version=_version(realised),
        metadata=performance_metadata(realised)
        | metric_metadata(metric_table(project, spec, "performance"), window)
        | _report(project, spec, window, realised),
        checks=[realised.check] if realised.check else [],
        is_to_follow_up=realised.failed,
    )


def _tell_what_died_untold(project: Project, spec: PipelineSpec, window: Window) -> None:
    context = dg.AssetExecutionContext.get()
    untold = untold_rollback(context.instance, project, spec, window)
    if untold is not None:
        tell_dagster(context.instance, spec, untold, context.log_event)


def _version(realised: Realised) -> str | None:
    measured = realised.performance.state == "measured"
    return json_sha256(asdict(realised.performance)) if measured else None


def _report(project: Project, spec: PipelineSpec, window: Window, realised: Realised) -> Metadata:
    if realised.manifest is None:
        return {}
    return report_metadata(write_window_report(project, spec, window, realised.manifest))


def _measured(
    workplace: Workplace, spec: PipelineSpec, window: Window, run_id: str
) -> tuple[Realised, Metadata]:
    """Measure what readers see, and do what follows until that asks for nothing more.

    A rerun does the same on the figures that are kept, whatever the first run came to: a ticket is
    opened once, and a revision taken back once. What is returned is of the revision that readers
    see in the end; what was taken back on the way is in the metadata, what followed under `then/`.
    """
    project = workplace.project()
    realised = measure_performance(project, spec, window)
    if not realised.failed:
        return realised, {}
    rollback, shown = _consequences(workplace, spec, window, run_id, realised)
    followed_up(project, spec, window)
    if rollback is None or rollback.told is None:
        return realised, shown
    after, further = _measured(workplace, spec, window, run_id)
    if after.manifest is None:  # nothing is left to judge: the check that emptied the window stays
        after = replace(after, check=realised.check)
    return after, {**shown, **{f"then/{name}": value for name, value in further.items()}}


def _consequences(
    workplace: Workplace, spec: PipelineSpec, window: Window, run_id: str, realised: Realised
) -> tuple[Rollback | None, Metadata]:
    """Open tickets and go back to an earlier revision, where the declaration asks for it.

    Only what the window itself shows condemns its revision: the windows before it, which the check
    looks at too, have their own.
    """
    assert realised.manifest is not None
    assert realised.check is not None
    assert realised.own_check is not None
    project, now = workplace.project(), datetime.now(UTC)
    open_tickets(project, spec, window, realised.manifest, [realised.check], now)
    if realised.own_check.passed or "performance" not in spec.rollback.causes:
        return None, {}
    if not is_old_enough(realised.known_after, spec.rollback):
        return None, {"rollback/state": dg.MetadataValue.text(TOO_EARLY)}
    rollback = take_back(
        workplace,
        spec,
        window,
        realised.own_check,
        revision=realised.manifest.revision,
        run_id=run_id,
        now=now,
    )
    if rollback is None:
        return None, {}
    return rollback, taking_back_metadata(rollback, realised.own_check)
