"""Train a challenger on the newest windows and hold it against the champion; promote it never."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from batchinf_assets.errors import BatchinfError, InvalidSpec, WindowMissing
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.features.labels import LABEL, require_outcomes
from batchinf_assets.project import Project
from batchinf_assets.promotion.bootstrap import Difference
from batchinf_assets.promotion.gate import compare_on
from batchinf_assets.registry.card import FROM_FILE, TRAINED_HERE
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.model import ScoringModel, candidate_model, scoring_model
from batchinf_assets.scoring.scorer import score_rows
from batchinf_assets.snapshots.listing import landed_files
from batchinf_assets.spec.evaluation import Metric
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.training.dataset import labelled_rows, training_rows
from batchinf_assets.training.register import Progress, RegisteredModel, register_model
from batchinf_assets.training.train import train_model
from batchinf_assets.windows import Window


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Champion and challenger on rows that neither learned from.

    Attributes:
        sentence: With whom and on what the challenger was compared, or why it was not.
        differences: By metric; None where nothing could be compared.
    """

    sentence: str
    differences: Mapping[Metric, Difference] | None = None


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """A registered challenger beside the champion.

    Attributes:
        registered: The signed version.
        training: Windows that it learned from.
        holdout: Newer windows to compare on, as declared.
        comparison: What came of that.
    """

    registered: RegisteredModel
    training: Sequence[Window]
    holdout: Sequence[Window]
    comparison: Comparison


def train_challenger(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    key: SigningKey,
    on_progress: Progress,
    *,
    now: datetime,
) -> Challenger:
    """Train on the declared rolling windows, register, and compare on the windows after them.

    Once it is registered nothing fails any more: why there is no comparison is part of the result.

    Raises:
        InvalidSpec: No challenger is declared, or `train.py` has no `train`.
        WindowMissing: Too few windows have outcomes.
        WindowRefused: One of the training windows breaks its contract.
        GoldenSetInvalid: The golden set is missing or does not fit.
        ModelRefused: The challenger cannot be stored or scored.
    """
    training, holdout = rolling_windows(project, pipeline.spec)
    labelled = training_rows(project, pipeline, training, on_progress)
    data = train_model(pipeline, labelled)
    registered = register_model(
        project, registry, pipeline, key, data, training, labelled, origin=TRAINED_HERE, now=now
    )
    try:
        challenger = candidate_model(registry, registered.version, pipeline, now)
        champion = scoring_model(registry, pipeline, now)
        comparison = compare_later(project, pipeline, champion, challenger, holdout, on_progress)
    except BatchinfError as error:
        comparison = Comparison(sentence=f"Not compared: {error.message}")
    return Challenger(
        registered=registered, training=training, holdout=holdout, comparison=comparison
    )


def compare_later(
    project: Project,
    pipeline: Pipeline,
    champion: ScoringModel,
    challenger: ScoringModel,
    holdout: Sequence[Window],
    on_progress: Progress,
) -> Comparison:
    """Compare on the windows of the holdout that start after the champion's training too.

    Raises:
        LandedFileMissing: A file of these windows has not landed.
        WindowRefused: One of them breaks its contract.
        ModelRefused: One of the models refuses the rows.
    """
    name, card = _named(champion), champion.artifact.card
    later = [window for window in holdout if window.start.date() >= card.training.end]
    if not later:
        return Comparison(
            sentence=f"Not compared: champion {name} learned up to {card.training.end}, and no "
            "window of the holdout starts then or later."
        )
    rows = labelled_rows(project, pipeline, later, on_progress).rows
    inputs = rows.select(list(pipeline.spec.features.columns))
    kind = pipeline.spec.prediction.of
    differences = compare_on(
        rows.column(LABEL),
        score_rows(champion.scorer, inputs, kind),
        score_rows(challenger.scorer, inputs, kind),
        pipeline,
        task_of(pipeline.spec).metrics,
    )
    unknown = " What it learned from is not known: it came as a file."
    return Comparison(
        sentence=f"With {name} on {later[0]} to {later[-1]}: {len(later)} "
        f"window{'s' if len(later) > 1 else ''}, {rows.num_rows} labelled rows."
        f"{unknown if card.origin == FROM_FILE else ''}",
        differences=differences,
    )


def rolling_windows(
    project: Project, spec: PipelineSpec
) -> tuple[Sequence[Window], Sequence[Window]]:
    """Return the windows to learn from and the newer ones to compare on.

    Both are taken from the newest windows whose source and outcomes have landed.

    Raises:
        InvalidSpec: No challenger or no outcomes are declared.
        WindowMissing: Too few windows have outcomes.
    """
    declared, outcomes = spec.model.challenger, require_outcomes(spec)
    if declared is None:
        raise InvalidSpec(
            f"{spec.name} declares no model.challenger.",
            next_step="Add `challenger: {windows: ..., holdout: ...}` to model in defs.yaml.",
        )
    landed = landed_files(project.landing, spec.source.files, spec.window)
    known = landed_files(project.landing, outcomes.files, spec.window)
    keys = sorted({*landed} & {*known})
    needed = declared.windows + declared.holdout
    if len(keys) < needed:
        raise WindowMissing(
            f"A challenger of {spec.name} needs {needed} windows with outcomes, "
            f"{len(keys)} have landed.",
            next_step="Land more, or declare fewer in model.challenger.",
        )
    windows = [spec.window.window(key) for key in keys[-needed:]]
    return windows[: declared.windows], windows[declared.windows :]


def _named(model: ScoringModel) -> str:
    return f"{model.version.name} v{model.version.version}"
