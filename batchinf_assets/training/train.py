"""Train a pipeline's first model and register it."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from batchinf_assets.errors import InvalidSpec
from batchinf_assets.evaluation.golden import BinaryMetrics, binary_metrics
from batchinf_assets.features.build import feature_definition
from batchinf_assets.features.labels import LABEL
from batchinf_assets.project import Project
from batchinf_assets.registry.artifact import Artifact, Training, write_artifact
from batchinf_assets.registry.profile import build_profile
from batchinf_assets.registry.registry import ModelVersion, Registry
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.scoring.scorer import SklearnScorer, load_scorer
from batchinf_assets.spec import Pipeline
from batchinf_assets.training.dataset import LabelledRows, labelled_rows

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A registered model and what it learned from.

    Attributes:
        version: What the registry says of it.
        training: Windows and rows.
        metrics: On the training rows themselves.
    """

    version: ModelVersion
    training: Training
    metrics: BinaryMetrics


def train_and_register(
    project: Project, registry: Registry, pipeline: Pipeline, on_progress: Progress
) -> TrainedModel:
    """Train on the declared windows by the pipeline's own `train` and register the result.

    Args:
        project: Where the data lies; training reads what landed.
        registry: Where the model goes, under the declared name and alias.
        pipeline: What to train for.
        on_progress: Called with windows done and windows in all.

    Raises:
        InvalidSpec: `train.py` has no `train`.
        UnknownWindow: Training does not start with a declared window.
        LandedFileMissing: A file of a training window has not landed.
        WindowRefused: A training window breaks its contract.
        ModelRefused: The trained estimator cannot be stored or scored.
    """
    train, declared = _train_function(pipeline), pipeline.spec.model.training
    windows = pipeline.spec.window.starting_in(declared.start, declared.end)
    labelled = labelled_rows(project, pipeline, windows, on_progress)
    columns = pipeline.spec.features.columns
    labels = labelled.rows.column(LABEL)
    estimator = train(model_frame(labelled.rows, columns), labels.to_pandas())
    if not callable(getattr(estimator, "predict_proba", None)):
        raise _no_training(pipeline, f"returned {type(estimator).__name__}, no fitted classifier")
    scores = SklearnScorer(estimator, columns).score(labelled.rows.select(list(columns)))
    metrics = binary_metrics(labels, pa.array(scores), decision=pipeline.spec.golden.decision)
    artifact = _artifact(registry, pipeline, estimator, labelled, scores, metrics)
    load_scorer(artifact, columns)  # what cannot be loaded must not become the champion
    version = registry.register(artifact, alias=pipeline.spec.model.alias)
    return TrainedModel(version=version, training=artifact.card.training, metrics=metrics)


def _train_function(pipeline: Pipeline) -> Callable[[pd.DataFrame, pd.Series[bool]], Any]:
    try:
        train = runpy.run_path(str(pipeline.training_script)).get("train")
    except (SyntaxError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise _no_training(pipeline, f"cannot be loaded: {reason}") from error
    if not callable(train):
        raise _no_training(pipeline, "defines no function `train`")
    return train


def _no_training(pipeline: Pipeline, reason: str) -> InvalidSpec:
    return InvalidSpec(
        f"{pipeline.name}/{pipeline.training_script.name} {reason}.",
        next_step="Define `train(features, labels)` that returns a fitted binary classifier.",
    )


def _artifact(
    registry: Registry,
    pipeline: Pipeline,
    estimator: Any,
    labelled: LabelledRows,
    scores: np.ndarray,
    metrics: BinaryMetrics,
) -> Artifact:
    spec, declared = pipeline.spec, pipeline.spec.model
    profile = build_profile(
        labelled.rows,
        scores,
        columns=spec.features.columns,
        score_column=spec.prediction.column,
    )
    return write_artifact(
        registry.artifact_root,
        estimator=estimator,
        name=declared.name,
        columns=spec.features.columns,
        score_column=spec.prediction.column,
        training=Training(
            start=declared.training.start,
            end=declared.training.end,
            rows=metrics.rows,
            positives=metrics.positives,
        ),
        metrics={name: value for name, value in metrics.figures.items() if value is not None},
        feature_definition=feature_definition(pipeline),
        profile=profile,
    )
