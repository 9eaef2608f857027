"""Judge a scored window before it is published: golden quality, golden set and drift.

What outcomes say of it later is in `measure`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import WindowMissing
from batchinf_assets.evaluation.consequences import EVALUATION
from batchinf_assets.evaluation.drift.drift_check import judge_drift
from batchinf_assets.evaluation.drift.measure import (
    Drift,
    drift_windows,
    measure_drift,
    overall_verdict,
)
from batchinf_assets.evaluation.drift.references import EarlierWindows, earlier_windows
from batchinf_assets.evaluation.drift.sketches import keep_sketches
from batchinf_assets.evaluation.evaluation_records import evaluation_rows
from batchinf_assets.evaluation.golden.golden_run import GoldenMeasures, measure_golden
from batchinf_assets.evaluation.golden.golden_set import judge_golden_set
from batchinf_assets.evaluation.golden.judge import judge_golden
from batchinf_assets.evaluation.metrics.figures import Interval
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.lake.fence import Alone, Fence
from batchinf_assets.lake.query import open_database
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.judgement import EarlierWindowsRecord, EvaluationRecord
from batchinf_assets.project import Project
from batchinf_assets.registry.profile import Profile
from batchinf_assets.scoring.model import ScoringModel
from batchinf_assets.scoring.predictions import candidate, manifests, observed_bins
from batchinf_assets.scoring.score_histogram import observed_scores
from batchinf_assets.side_by_side import OneByOne, Order
from batchinf_assets.spec.evaluation import DriftReference
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured on a revision.

    Attributes:
        manifest: The revision's manifest, with the evaluation in it.
        checks: `golden_quality`, `golden_set` and `drift`; what a failure leads to is declared.
        record: The figures.
    """

    manifest: Manifest
    checks: tuple[CheckResult, ...]
    record: EvaluationRecord

    @property
    def data_version(self) -> str:
        """Identity of the figures."""
        return json_sha256([self.manifest.revision, self.record.model_dump(mode="json")])


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What is measured of a revision before anything is judged.

    Attributes:
        golden: On the golden set.
        drifts: Of its features and its score, against every reference.
        earlier: What the references other than training consist of.
        estimated: Metrics expected before any outcome is known.
    """

    golden: GoldenMeasures
    drifts: tuple[Drift, ...]
    earlier: dict[str, EarlierWindowsRecord]
    estimated: dict[str, float | None]


def evaluate_window(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    model: ScoringModel,
    *,
    lease: Fence | None = None,
    order: Order | None = None,
) -> Evaluation:
    """Measure the window's candidate and write the figures into its draft manifest.

    A revision that is published already keeps the evaluation it was published with.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        window: The window.
        model: The model that scored it.
        lease: The attempt's hold on the window; without one nobody else is taken to work on it.
        order: Its place among those that are evaluated at the same time.

    Raises:
        WindowMissing: The window was not scored, or by another model than the current one.
        GoldenSetInvalid: The golden set is missing or does not fit the features.
        LostRace: Another attempt has taken the window over; nothing of its was touched.
    """
    started, lease, order = time.monotonic(), lease or Alone(), order or OneByOne()
    manifest = candidate(project, spec, window)
    if manifest.published_at is not None and manifest.evaluation is not None:
        return _evaluation(manifest, manifest.evaluation)
    _require_same_model(manifest, model, spec)
    measures = _measures(project, spec, window, manifest, model, lease, order)
    lease.require_held()
    keep_evaluation(project, spec, window, manifest, measures, token=lease.token)
    record = evaluation_record(measures)
    finished = manifest.model_copy(
        update={
            "evaluation": record,
            "timings": {**manifest.timings, EVALUATION: round(time.monotonic() - started, 6)},
            "checks": (
                *(check for check in manifest.checks if check.asset != EVALUATION),
                *verdicts(measures, spec, window),
            ),
        }
    )
    lease.require_held()
    manifests(project, spec).write_draft(window, finished)
    order.release_later()
    return _evaluation(finished, record)


def keep_evaluation(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    manifest: Manifest,
    measures: Measures,
    *,
    token: int,
) -> None:
    """Make these figures those of a window in the table `evaluation`.

    Raises:
        Fenced: The log knows a higher token for the window.
        LostRace: Another writer replaced the same window meanwhile.
    """
    golden = measures.golden
    figures = evaluation_rows(
        manifest.revision,
        golden=golden.metrics,
        segments=golden.segments,
        calibration=golden.calibration,
        drifts=measures.drifts,
        estimated=measures.estimated,
        scored=manifest.counts.scored,
    )
    metric_table(project, spec, EVALUATION).keep_figures(window, figures, {}, token=token)


def verdicts(measures: Measures, spec: PipelineSpec, window: Window) -> tuple[CheckResult, ...]:
    """Hold measures against the declaration; in the order of `VERDICTS`."""
    return (
        judge_golden(measures.golden.metrics, spec),
        judge_golden_set(measures.golden.golden, spec, window),
        judge_drift(measures.drifts, spec, measures.earlier),
    )


def _measures(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    manifest: Manifest,
    model: ScoringModel,
    lease: Fence,
    order: Order,
) -> Measures:
    profile = model.artifact.profile
    with ThreadPoolExecutor(2) as beside:  # DuckDB and NumPy let go of Python's lock
        beside.submit(open_database)  # takes as long as reading and scoring the golden set
        shown = beside.submit(measure_golden, project, spec, model)
        histogram = observed_scores(project, spec, window, manifest)
        observed = observed_bins(project, spec, window, manifest, profile)
        if spec.drift.needs_earlier_windows:
            order.await_earlier()
        earlier = earlier_windows(project, spec, window, profile)
        lease.require_held()
        token = lease.token
        keep_sketches(project, spec, window, manifest.revision, profile, observed, token=token)
        drifts = drifts_of(observed, manifest.counts.scored, profile, spec, earlier)
        golden = shown.result()
    return Measures(
        golden=golden,
        drifts=drifts,
        earlier={name: each.record for name, each in earlier.items()},
        estimated=task_of(spec).estimated(histogram) if histogram else {},
    )


def drifts_of(
    observed: Mapping[str, Sequence[int]],
    rows: int,
    profile: Profile,
    spec: PipelineSpec,
    earlier: Mapping[DriftReference, EarlierWindows],
) -> tuple[Drift, ...]:
    """Hold a revision's rows by bin against training and the windows before it.

    Args:
        observed: Rows by bin of each feature, and of the score.
        rows: How many there are.
        profile: That of the model.
        spec: The pipeline.
        earlier: The windows of the declared references.
    """
    return measure_drift(
        observed,
        rows,
        profile,
        spec=spec,
        previous=earlier["previous"].sketches if "previous" in earlier else None,
        season=earlier["season"].sketches if "season" in earlier else None,
    )


def _require_same_model(manifest: Manifest, model: ScoringModel, spec: PipelineSpec) -> None:
    if manifest.model.digest != model.version.digest:
        raise WindowMissing(
            f"Window {manifest.window.key} of {spec.name} was scored by {manifest.model.name} "
            f"version {manifest.model.version}, the registry now says {model.version.version}.",
            next_step=f"Materialize {spec.name}/predictions for {manifest.window.key} again.",
        )


def evaluation_record(measures: Measures) -> EvaluationRecord:
    """Return what a manifest keeps of measures."""
    golden, provenance = measures.golden.metrics, measures.golden.golden.provenance
    training = [drift for drift in measures.drifts if drift.reference == "training"]
    verdicts: dict[str, dict[str, str]] = {}
    for drift in measures.drifts:
        verdicts.setdefault(drift.reference, {})[drift.subject] = drift.verdict
    return EvaluationRecord(
        golden={"rows": golden.rows, **golden.counts, **golden.figures},
        golden_intervals={name: _ends(each) for name, each in golden.intervals.items()},
        golden_set=measures.golden.golden.record,
        golden_set_end=provenance.last.end if provenance else None,
        psi={drift.subject: drift.psi for drift in training},
        drift={drift.subject: drift.verdict for drift in training},
        drift_verdict=overall_verdict(measures.drifts),
        drift_by_reference=verdicts,
        drift_windows={**drift_windows(measures.drifts)},
        earlier_windows=measures.earlier,
        estimated=measures.estimated,
    )


def _ends(interval: Interval | None) -> tuple[float, float] | None:
    return (interval.low, interval.high) if interval else None


def _evaluation(manifest: Manifest, record: EvaluationRecord) -> Evaluation:
    checks = tuple(check for check in manifest.checks if check.asset == EVALUATION)
    return Evaluation(manifest=manifest, checks=checks, record=record)
