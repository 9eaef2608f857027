"""Judge a scored window: golden quality and drift before publishing, performance afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import LandedFileMissing, WindowMissing
from batchinf_assets.evaluation.drift import Drift, judge_drift, measure_drift, overall_verdict
from batchinf_assets.evaluation.golden import (
    BinaryMetrics,
    binary_metrics,
    judge_golden,
    read_golden_set,
)
from batchinf_assets.evaluation.performance import Performance, realised_performance
from batchinf_assets.evaluation.records import METRIC_SCHEMA, metric_rows
from batchinf_assets.features.labels import landed_outcomes
from batchinf_assets.lake.digest import content_digest, file_sha256, json_sha256
from batchinf_assets.lake.files import read_footer
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.manifest import EvaluationRecord, Manifest
from batchinf_assets.project import Project
from batchinf_assets.scoring.model import ScoringModel
from batchinf_assets.scoring.predictions import (
    candidate,
    manifests,
    observed_bins,
    prediction_rows,
    published_revision,
)
from batchinf_assets.scoring.scorer import Scorer, score_rows
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window

ASSET = "evaluation"
OUTCOMES_SOURCE = "outcomes_sha256"
METRIC_KEY = ("revision", "subject_kind", "subject")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured on a revision.

    Attributes:
        manifest: The revision's manifest, with the evaluation in it.
        checks: `golden_quality`, which blocks, and `drift`, which warns.
        record: The figures.
    """

    manifest: Manifest
    checks: tuple[CheckResult, ...]
    record: EvaluationRecord

    @property
    def data_version(self) -> str:
        """Identity of the figures."""
        return json_sha256([self.manifest.revision, self.record.model_dump(mode="json")])


def evaluate_window(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    model: ScoringModel,
    *,
    require_held: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Measure the window's candidate and write the figures into its draft manifest.

    A revision that is published already keeps the evaluation it was published with.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        window: The window.
        model: The model that scored it.
        require_held: Raises where another attempt has taken the window over.

    Raises:
        WindowMissing: The window was not scored, or by another model than the current one.
        GoldenSetInvalid: The golden set is missing or does not fit the features.
    """
    started = time.monotonic()
    manifest = candidate(project, spec, window)
    if manifest.published_at is not None and manifest.evaluation is not None:
        return _evaluation(manifest, manifest.evaluation)
    _require_same_model(manifest, model, spec)
    golden = measure_golden(project, spec, model)
    profile = model.artifact.profile
    observed = observed_bins(project, spec, window, manifest, profile)
    drifts = measure_drift(observed, manifest.counts.scored, profile, spec=spec)
    figures = metric_rows(manifest.revision, golden=golden, drifts=drifts)
    _keep(metric_table(project, spec, ASSET), window, figures, {})
    record = _record(golden, drifts)
    finished = manifest.model_copy(
        update={
            "evaluation": record,
            "timings": {**manifest.timings, ASSET: round(time.monotonic() - started, 6)},
            "checks": (
                *(check for check in manifest.checks if check.asset != ASSET),
                judge_golden(golden, spec.golden),
                judge_drift(drifts, spec),
            ),
        }
    )
    require_held()
    manifests(project, spec).write_draft(window, finished)
    return _evaluation(finished, record)


def measure_golden(project: Project, spec: PipelineSpec, model: ScoringModel) -> BinaryMetrics:
    """Score the golden set with the scoring code and measure it, once per process and model.

    Raises:
        GoldenSetInvalid: The golden set is missing or does not fit the features.
    """
    path = project.root / spec.golden.file
    return _measured(
        _GoldenRun(
            model=model.version.digest,
            file=file_sha256(path) if path.is_file() else None,
            declared=json_sha256(spec.model_dump(mode="json", include={"golden", "features"})),
            path=path,
            spec=spec,
            scorer=model.scorer,
        )
    )


def measure_performance(project: Project, spec: PipelineSpec, window: Window) -> Performance:
    """Hold the published predictions of a window against its outcomes, once they have landed.

    Raises:
        WindowMissing: Nothing is published for the window.
        WindowRefused: The outcomes lack a declared column.
    """
    revision = published_revision(project, spec, window)
    if revision is None:
        raise WindowMissing(
            f"Window {window} of {spec.name} is not published.",
            next_step=f"Materialize {spec.name}/published for {window} first.",
        )
    rows = prediction_rows(project, spec, manifests(project, spec).read(window, revision))
    try:
        source, outcomes = landed_outcomes(project, spec, window)
    except LandedFileMissing:
        source, outcomes = None, None
    performance = realised_performance(rows, outcomes, spec=spec)
    figures = metric_rows(revision, performance=performance)
    footer = {OUTCOMES_SOURCE: source.sha256 if source else None}
    _keep(metric_table(project, spec, "performance"), window, figures, footer)
    return performance


def measured_outcomes(project: Project, spec: PipelineSpec, window: Window) -> str | None:
    """Return the SHA-256 of the outcomes that a window's performance was measured with, if any."""
    files = metric_table(project, spec, "performance").files_of(window)
    return read_footer(files[0])[OUTCOMES_SOURCE] if files else None


def metric_table(project: Project, spec: PipelineSpec, name: str) -> WindowTable:
    """Return the table `evaluation` or `performance`."""
    return WindowTable(project.lake / spec.name / name, METRIC_SCHEMA)


@dataclass(frozen=True, kw_only=True)
class _GoldenRun:
    """What golden metrics depend on; two runs are the same where the first three are."""

    model: str
    file: str | None
    declared: str
    path: Path = field(compare=False)
    spec: PipelineSpec = field(compare=False)
    scorer: Scorer = field(compare=False)


@lru_cache(maxsize=8)
def _measured(run: _GoldenRun) -> BinaryMetrics:
    golden = read_golden_set(run.path, run.spec)
    scores = score_rows(run.scorer, golden.select(list(run.spec.features.columns)))
    labels = golden.column(run.spec.golden.label)
    return binary_metrics(labels, pa.array(scores), decision=run.spec.golden.decision)


def _require_same_model(manifest: Manifest, model: ScoringModel, spec: PipelineSpec) -> None:
    if manifest.model.digest != model.version.digest:
        raise WindowMissing(
            f"Window {manifest.window.key} of {spec.name} was scored by {manifest.model.name} "
            f"version {manifest.model.version}, the registry now says {model.version.version}.",
            next_step=f"Materialize {spec.name}/predictions for {manifest.window.key} again.",
        )


def _record(golden: BinaryMetrics, drifts: tuple[Drift, ...]) -> EvaluationRecord:
    return EvaluationRecord(
        golden={"rows": golden.rows, "positives": golden.positives, **golden.figures},
        psi={drift.subject: drift.psi for drift in drifts},
        drift_verdict=overall_verdict(drifts),
    )


def _evaluation(manifest: Manifest, record: EvaluationRecord) -> Evaluation:
    checks = tuple(check for check in manifest.checks if check.asset == ASSET)
    return Evaluation(manifest=manifest, checks=checks, record=record)


def _keep(
    table: WindowTable, window: Window, rows: pa.Table, footer: Mapping[str, str | None]
) -> None:
    name = json_sha256([content_digest(rows, METRIC_KEY), dict(footer)])[:16]
    table.keep(window, name, rows, footer)
