"""The promotion gate: measure a candidate beside the champion and judge every clause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.errors import ModelRefused, ModelUnavailable, Refusal
from batchinf_assets.evaluation.golden.golden_set import read_golden_set
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.features.build import features_table, load_features
from batchinf_assets.project import Project
from batchinf_assets.promotion.bootstrap import Difference, label_values, paired_differences
from batchinf_assets.promotion.canary import CanaryReport, canary_sample, compare_scores
from batchinf_assets.promotion.clauses import (
    first_promotion,
    judge_bounds,
    judge_canary,
    judge_margin,
    judge_parity,
    judge_schema,
    same_model,
)
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.promotion_record import Clause
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import open_version, promotion_log
from batchinf_assets.scoring.model import ScoringModel, candidate_model
from batchinf_assets.scoring.said import leading_scores, score_array
from batchinf_assets.scoring.scorer import score_rows
from batchinf_assets.spec.evaluation import Metric
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

SEED = 0
"""Of the bootstrap: the same two models always get the same verdict."""

TAMPERED = frozenset({Refusal.OLDER_VERSION, Refusal.BAD_SIGNATURE, Refusal.OTHER_MODEL})
"""Refusals of a champion that no force overrides; a lost or revoked one may be replaced."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate found for one pipeline.

    Attributes:
        pipeline: Its name.
        clauses: Every clause that was judged.
        canary: Both models on the recent window; None where nothing could be compared.
        canary_window: That window's key.
    """

    pipeline: str
    clauses: tuple[Clause, ...]
    canary: CanaryReport | None = None
    canary_window: str | None = None

    @property
    def failed(self) -> tuple[Clause, ...]:
        """The clauses that did not hold."""
        return tuple(clause for clause in self.clauses if not clause.passed)


def judge_candidate(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    candidate: ScoringModel,
    *,
    alias: str,
) -> Verdict:
    """Judge a verified candidate for a pipeline, beside the champion of now if there is one.

    Raises:
        KeyringInvalid: There is no keyring.
        GoldenSetInvalid: The golden set is missing or does not fit the features.
        ModelRefused: The promotions on record do not verify, or the candidate refuses rows.
    """
    spec, card = pipeline.spec, candidate.artifact.card
    golden = read_golden_set(project, spec).rows
    labels = golden.column(spec.golden.label)
    scores = _scores(candidate, golden, spec)
    metrics = task_of(spec).measure(labels, score_array(scores))
    own = (judge_parity(card.parity, card.scorer), *judge_bounds(metrics, spec.golden))
    champion = _champion(registry, pipeline, candidate, alias)
    if isinstance(champion, Clause):
        return Verdict(pipeline=spec.name, clauses=(*own, champion))
    differences = golden_differences(pipeline, golden, champion, scores)
    window, report = _canary(project, pipeline, champion, candidate)
    return Verdict(
        pipeline=spec.name,
        clauses=(
            judge_schema(card, champion.artifact.card),
            *own,
            *judge_margin(differences, spec.margins, confidence=spec.model.promotion.confidence),
            *_judged(report, pipeline),
        ),
        canary=report,
        canary_window=window,
    )


def _champion(
    registry: Registry, pipeline: Pipeline, candidate: ScoringModel, alias: str
) -> ScoringModel | Clause:
    """Return the champion of now, or the clause that says why there is nothing to measure.

    That its signature or key has expired since does not matter here; that it was revoked does.
    """
    name = pipeline.spec.model.name
    try:
        record = promotion_log(registry, name, alias).current(read_keyring(registry.keys), None)
        if record is None:
            return first_promotion(name, alias)
        version = registry.version(record.name, record.version)
        if version.digest == candidate.version.digest:
            return same_model(version.version)
        card = open_version(registry, version, None).card
        schema = judge_schema(candidate.artifact.card, card)
        return candidate_model(registry, version, pipeline, None) if schema.passed else schema
    except (ModelRefused, ModelUnavailable) as error:
        if isinstance(error, ModelRefused) and error.reason in TAMPERED:
            raise
        why = error.message.removesuffix(".")
        return Clause(name="champion", passed=False, sentence=f"No comparison: {why}")


def golden_differences(
    pipeline: Pipeline,
    labelled: pa.Table,
    champion: ScoringModel,
    candidate_scores: npt.NDArray[np.float64],
) -> dict[Metric, Difference]:
    """Compare a candidate's scores of the golden set with the champion's, metric by metric."""
    spec = pipeline.spec
    return compare_on(
        labelled.column(spec.golden.label),
        _scores(champion, labelled, spec),
        candidate_scores,
        pipeline,
        tuple(spec.margins),
    )


def compare_on(
    labels: pa.ChunkedArray,
    champion: npt.NDArray[np.float64],
    candidate: npt.NDArray[np.float64],
    pipeline: Pipeline,
    metrics: Sequence[Metric],
) -> dict[Metric, Difference]:
    """Compare two models' scores of the same labelled rows, as the declaration asks."""
    declared = pipeline.spec.model.promotion
    return paired_differences(
        label_values(labels),
        champion,
        candidate,
        task=task_of(pipeline.spec),
        metrics=metrics,
        resamples=declared.resamples,
        confidence=declared.confidence,
        seed=SEED,
    )


def _scores(model: ScoringModel, rows: pa.Table, spec: PipelineSpec) -> npt.NDArray[np.float64]:
    inputs = rows.select(list(spec.features.columns))
    return score_rows(model.scorer, inputs, spec.prediction.of)


def _canary(
    project: Project, pipeline: Pipeline, champion: ScoringModel, candidate: ScoringModel
) -> tuple[str | None, CanaryReport | None]:
    spec = pipeline.spec
    newest = max(features_table(project, spec).files(), default=None)
    if newest is None:
        return None, None
    declared = spec.model.promotion.canary
    rows = load_features(project, spec, spec.window.window(newest)).rows
    seed = f"{newest} {candidate.version.digest}"  # asking again gives the same answer
    sample = canary_sample(rows, key=spec.source.key, share=declared.share, seed_text=seed)
    return newest, compare_scores(
        sample,
        leading_scores(_scores(champion, sample, spec)),
        leading_scores(_scores(candidate, sample, spec)),
        decision=spec.decision,
        segments=declared.segments,
    )


def _judged(report: CanaryReport | None, pipeline: Pipeline) -> tuple[Clause, ...]:
    if report is None:
        sentence = f"No window of {pipeline.name} has features that both could score: run one first"
        return (Clause(name="canary", passed=False, sentence=sentence),)
    return judge_canary(report, pipeline.spec.model.promotion.canary)
