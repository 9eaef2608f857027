"""Run a pipeline's own `train` on labelled rows; what becomes of the model is in `register`."""

from __future__ import annotations

import runpy
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from zipfile import ZIP_DEFLATED

import pandas as pd

from batchinf_assets.errors import BatchinfError, InvalidSpec
from batchinf_assets.features.labels import LABEL
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.prediction import Kind
from batchinf_assets.training.dataset import LabelledRows


def train_model(pipeline: Pipeline, labelled: LabelledRows) -> bytes:
    """Train on labelled rows and return the fitted estimator as a skops file.

    Raises:
        InvalidSpec: `train.py` has no `train`, or it fails, or it returns no fitted model of the
            kind.
    """
    import skops.io  # imported where used: with scikit-learn it takes two seconds

    train = training_function(pipeline)
    frame = model_frame(labelled.rows, pipeline.spec.features.columns)
    with _told_by_line(pipeline, "fails"):
        estimator = train(frame, labelled.rows.column(LABEL).to_pandas())
    kind = pipeline.spec.prediction.of
    if not _is_fitted(estimator, kind):
        found = type(estimator).__name__
        raise _no_training(pipeline, f"returned {found}, no fitted {kind.model}")
    return skops.io.dumps(estimator, compression=ZIP_DEFLATED)


def training_function(pipeline: Pipeline) -> Callable[[pd.DataFrame, pd.Series[Any]], Any]:
    """Return the pipeline's own `train`.

    Raises:
        InvalidSpec: `train.py` cannot be loaded or defines no `train`.
    """
    with _told_by_line(pipeline, "cannot be loaded"):
        train = runpy.run_path(str(pipeline.training_script)).get("train")
    if not callable(train):
        raise _no_training(pipeline, "defines no function `train`")
    return train


@contextmanager
def _told_by_line(pipeline: Pipeline, what: str) -> Generator[None]:
    """Name the line of `train.py` at which it fails: it is not ours, and may raise anything."""
    try:
        yield
    except BatchinfError:
        raise
    except Exception as error:
        script = str(pipeline.training_script)
        at = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == script
        ]
        line = f" in line {at[-1]}" if at else ""
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise InvalidSpec(
            f"{pipeline.name}/{pipeline.training_script.name} {what}{line}: "
            f"{type(error).__name__}: {reason}.",
            next_step=f"Mend it; `batchinf --debug model register {pipeline.name}` shows the "
            "traceback.",
        ) from error


def _no_training(pipeline: Pipeline, reason: str) -> InvalidSpec:
    return InvalidSpec(
        f"{pipeline.name}/{pipeline.training_script.name} {reason}.",
        next_step="Define `train(features, labels)` that returns a fitted "
        f"{pipeline.spec.prediction.of.model}.",
    )


def _is_fitted(estimator: Any, kind: Kind) -> bool:
    classifies = callable(getattr(estimator, "predict_proba", None))
    return classifies if kind.classifies else not classifies and hasattr(estimator, "predict")
