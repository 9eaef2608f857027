"""Compare two models on the features of published windows. Nothing is written to the lake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from batchinf_assets.evaluation.comparison.class_drift import class_differences, furthest_first
from batchinf_assets.evaluation.comparison.deltas import ScoreDeltas, score_deltas
from batchinf_assets.evaluation.comparison.distributions import Distributions
from batchinf_assets.evaluation.comparison.labels import joint_state
from batchinf_assets.evaluation.comparison.pairs import SCORE
from batchinf_assets.evaluation.drift.distances import Difference
from batchinf_assets.evaluation.metrics.flips import Flips
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.project import Project
from batchinf_assets.promotion.comparison.quality import (
    ComparedQuality,
    SegmentComparison,
    compare_quality,
    compare_segments,
)
from batchinf_assets.promotion.comparison.scored_windows import ScoredWindows, WindowDeltas
from batchinf_assets.promotion.comparison.segment_times import SegmentTime
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.registry import ModelVersion, Registry
from batchinf_assets.registry.trust import promotion_log
from batchinf_assets.scoring.model import ScoringModel, candidate_model
from batchinf_assets.scoring.said import score_array
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

OnWindow = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class ModelSide:
    """One of the two models.

    Attributes:
        asked: What was asked for: an alias or a version.
        name: The registered model's name.
        version: Its version.
        digest: Of the artifact.
        scorer: What computed the scores.
    """

    asked: str
    name: str
    version: str
    digest: str
    scorer: str


@dataclass(frozen=True, kw_only=True)
class ModelComparison:
    """How two models score the same features; differences are those of b minus a.

    Attributes:
        pipeline: The pipeline.
        a: The one model.
        b: The other.
        windows: The windows that were scored.
        left_out: Why other windows of the range were not, by window.
        decision: The score that counts as positive; None of numbers and of several classes.
        deltas: How the scores differ, over all windows.
        flips: Labels that flip; None of numbers, which have none.
        quality: Metrics of both, where outcomes have landed.
        segments: By declared segment and value, the most changed first.
        slowest: What the rows of each segment took both models here and now, the slowest first.
        drift: Distance of b's scores from a's; of several classes of the largest one, and of each.
    """

    pipeline: str
    a: ModelSide
    b: ModelSide
    windows: tuple[WindowDeltas, ...]
    left_out: Mapping[str, str]
    decision: float | None
    deltas: ScoreDeltas
    flips: Flips | None
    quality: ComparedQuality
    segments: tuple[SegmentComparison, ...]
    slowest: tuple[SegmentTime, ...]
    drift: tuple[Difference, ...]

    def as_record(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return asdict(self)


def compare_models(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    windows: Sequence[Window],
    a: str,
    b: str,
    on_window: OnWindow = lambda _done, _all: None,
) -> ModelComparison:
    """Score the features of published windows with two models and compare.

    Models need only be authentic, not valid now. A window that is not published, or cannot be read
    or scored, is left out and named.

    Args:
        project: Where the tables and the landed files are.
        registry: Whose models and keys count.
        pipeline: The pipeline as it is declared now.
        windows: Which to look at.
        a: An alias or a version; differences are b minus a.
        b: Another one.
        on_window: Told how many windows are done, of how many.

    Raises:
        ModelUnavailable: The registry has no such version or alias, or does not answer.
        ModelRefused: A model is not signed, or does not fit the declared features.
        KeyringInvalid: There is no keyring.
        WindowMissing: No window could be scored.
        UsageError: They hold more rows than are compared at once.
    """
    one, other = (_model(registry, pipeline, each) for each in (a, b))
    scored = ScoredWindows(project=project, registry=registry, pipeline=pipeline, a=one, b=other)
    for done, window in enumerate(windows, start=1):
        scored.add(window)
        on_window(done, len(windows))
    scored.require_some()
    return _measured(scored, _side(a, one), _side(b, other))


def _measured(scored: ScoredWindows, a: ModelSide, b: ModelSide) -> ModelComparison:
    spec, held = scored.pipeline.spec, scored.held()
    state = joint_state([each.labels.state for each in scored.found])
    problem = next((each.labels.problem for each in scored.found if each.labels.problem), None)
    spread = Distributions(scored.a.artifact.profile, spec.prediction.score)
    spread.add_a(pa.table({SCORE: score_array(held.a)}))
    spread.add_b(pa.table({SCORE: score_array(held.b)}))
    by_class = class_differences(held.a, held.b, spec.prediction)
    return ModelComparison(
        pipeline=spec.name,
        a=a,
        b=b,
        windows=tuple(each.deltas for each in scored.found),
        left_out=scored.left_out,
        decision=spec.decision,
        deltas=score_deltas(held.a, held.b, held.largest, spec.prediction.classes),
        flips=task_of(spec).flips(held.a, held.b),
        quality=compare_quality(held, spec, state, problem),
        segments=compare_segments(held, spec, state),
        slowest=scored.segment_times(),
        drift=furthest_first((*spread.differences(), *by_class)),
    )


def _model(registry: Registry, pipeline: Pipeline, asked: str) -> ScoringModel:
    return candidate_model(registry, _version(registry, pipeline, asked), pipeline, None)


def _version(registry: Registry, pipeline: Pipeline, asked: str) -> ModelVersion:
    """Return a version by number or alias; a signed promotion counts more than the registry."""
    name = pipeline.spec.model.name
    if asked.isdigit():
        return registry.version(name, asked)
    record = promotion_log(registry, name, asked).current(read_keyring(registry.keys), None)
    return registry.version(name, record.version) if record else registry.resolve(name, asked)


def _side(asked: str, model: ScoringModel) -> ModelSide:
    found = model.version
    return ModelSide(
        asked=asked,
        name=found.name,
        version=found.version,
        digest=found.digest,
        scorer=model.scorer.name,
    )
