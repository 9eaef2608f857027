"""The asset `evaluation`, and what follows where a revision that readers see is found bad by it."""

from datetime import UTC, datetime

import dagster as dg

from batchinf_assets.attempts import Attempt
from batchinf_assets.evaluation.evaluate import Evaluation, evaluate_window, keep_evaluation
from batchinf_assets.evaluation.evaluate_again import judge_again
from batchinf_assets.evaluation.later_evaluations import keep_later_evaluation
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.evaluation.report.write import write_window_report
from batchinf_assets.orchestration.assets.window_asset import attempt_at, window_asset
from batchinf_assets.orchestration.keys import MODEL
from batchinf_assets.orchestration.metadata.evaluations import (
    evaluation_metadata,
    metric_metadata,
    report_metadata,
)
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.rollback.taking_back import take_back
from batchinf_assets.orchestration.steps.tries import Try, WindowResult
from batchinf_assets.publishing.condemned import condemned, refused_later
from batchinf_assets.publishing.tickets.tickets import open_ticket, open_tickets
from batchinf_assets.publishing.verdicts_of_now import failed_since
from batchinf_assets.scoring.model import scoring_model
from batchinf_assets.scoring.predictions import candidate
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

EVALUATION = "evaluation"


def evaluation_asset(pipeline: Pipeline) -> dg.AssetsDefinition:
    """Measure golden quality and drift of what was scored, or of what readers see."""
    upstream = ["predictions", MODEL]
    return window_asset(pipeline, EVALUATION, upstream, _evaluate, {"duckdb"}, _follow_up)


def _evaluate(workplace: Workplace, pipeline: Pipeline, tried: Try, window: Window) -> WindowResult:
    with attempt_at(EVALUATION, pipeline, workplace, tried, window) as attempt:
        evaluation = _evaluated(workplace, pipeline, window, attempt)
        return _shown(workplace, pipeline, window, evaluation)


def _evaluated(
    workplace: Workplace, pipeline: Pipeline, window: Window, attempt: Attempt
) -> Evaluation:
    project, spec, now = workplace.project(), pipeline.spec, datetime.now(UTC)
    registry = workplace.registry()
    evaluation = evaluate_window(
        project,
        spec,
        window,
        scoring_model(registry, pipeline, now),
        lease=attempt,
        order=attempt.order,
    )
    manifest = evaluation.manifest
    attempt.works_on(manifest)
    if manifest.published_at is not None:
        later = judge_again(project, registry, spec, window, manifest)
        attempt.require_held()
        if later.measures is not None:
            keep_evaluation(project, spec, window, manifest, later.measures, token=attempt.token)
        keep_later_evaluation(project, spec, window, manifest, later, lease=attempt, at=now)
        evaluation = Evaluation(
            manifest=later.of(manifest), checks=later.checks, record=later.record
        )
    open_tickets(project, spec, window, evaluation.manifest, evaluation.checks, now)
    return evaluation


def _shown(
    workplace: Workplace, pipeline: Pipeline, window: Window, evaluation: Evaluation
) -> WindowResult:
    project, spec = workplace.project(), pipeline.spec
    report = write_window_report(project, spec, window, evaluation.manifest)
    table = metric_table(project, spec, EVALUATION)
    return WindowResult(
        data_version=evaluation.data_version,
        metadata=evaluation_metadata(evaluation.record, table, window)
        | metric_metadata(table, window)
        | report_metadata(report),
        checks=evaluation.checks,
        inputs={MODEL: evaluation.manifest.model.digest},
        is_to_follow_up=evaluation.manifest.published_at is not None,
    )


def _follow_up(
    workplace: Workplace, pipeline: Pipeline, tried: Try, window: Window, result: WindowResult
) -> WindowResult:
    """Take back what readers see where a verdict that blocks failed, as far as the policy goes.

    What takes a revision back holds the window by itself, and tells Dagster.

    Raises:
        WindowRefused: It was taken back; nothing of this run is left to do with the window.
    """
    if not result.is_to_follow_up:
        return result
    project, spec, now = workplace.project(), pipeline.spec, datetime.now(UTC)
    manifest = candidate(project, spec, window)
    revision, run_id = manifest.revision, tried.run_id
    failed = failed_since(project, workplace.registry(), spec, window, revision)
    if failed is None:
        return result
    open_ticket(project, spec, window, revision, failed, now, manifest=manifest)
    take_back(workplace, spec, window, failed, revision=revision, run_id=run_id, now=now)
    found = condemned(project, spec, window, revision)
    if found is not None:
        raise refused_later(project, spec, window, found, result.checks)
    return result
