"""What computes scores, and the reference among them: scikit-learn itself.

The fast scorers that a model may have beside it are in `scoring.fast`, which of them a model uses
is in `scoring.load`; what the rows are and where the scores go is in `scoring.score`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from threadpoolctl import threadpool_limits

from batchinf_assets.errors import BatchinfError, ModelRefused, Refusal
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.scoring.said import Scores
from batchinf_assets.spec.contract import FeatureSpec
from batchinf_assets.spec.prediction import BINARY, Kind

SMALL_SHARD = 16_384
"""Rows up to which threads cost more than they give: they are started anew for every tree."""

Outputs = npt.NDArray[np.float64]


class Scorer(Protocol):
    """What computes a model's outputs."""

    @property
    def name(self) -> str:
        """The kind of scorer, for manifests."""
        ...

    def outputs(self, features: pa.Table) -> Outputs:
        """Return probabilities per class, float64 (rows, classes), or values, (rows, 1).

        The outputs of a row depend on that row alone.

        Raises:
            ModelRefused: The model cannot read the rows.
            BatchinfError: A feature column does not fit its declaration.
        """
        ...

    def for_workers(self) -> Scorer | None:
        """Return the same scorer for several threads at once, each on one core.

        None where it uses all cores by itself, or may not be called twice at the same time.
        """
        ...


def score_rows(scorer: Scorer, features: pa.Table, kind: Kind = BINARY) -> Scores:
    """Return the probability of the label or of each class, or the predicted number, of each row.

    Args:
        scorer: The model.
        features: n rows.
        kind: What the model must be.

    Returns:
        Float64, (n,); of several classes (n, classes), as they are declared.

    Raises:
        ModelRefused: The model cannot read the rows, or is of another kind.
        BatchinfError: A feature column does not fit, or a score is not finite.
    """
    if features.num_rows == 0:
        return _of_places(np.empty((0, kind.outputs)), kind)
    outputs = scorer.outputs(features)
    if outputs.shape != (features.num_rows, kind.outputs):
        raise ModelRefused(
            f"The model gives outputs of shape {outputs.shape} for {features.num_rows} rows; a "
            f"{kind.model} gives {kind.gives}.",
            reason=Refusal.SCHEMA,
            next_step=f"{kind.remedy}, or correct prediction.kind in defs.yaml.",
        )
    return _finite(_of_places(outputs, kind))


@dataclass(frozen=True)
class SklearnScorer:
    """The reference: `predict_proba` of a fitted classifier, or `predict` of a regressor.

    Attributes:
        estimator: The fitted estimator.
        columns: The features that it learned, in its order.
    """

    estimator: Any
    columns: Mapping[str, FeatureSpec]
    name: str = "scikit-learn"

    def outputs(self, features: pa.Table) -> Outputs:
        """Return probabilities per class or values, float64.

        Raises:
            ModelRefused: scikit-learn refuses the rows.
            BatchinfError: A feature column does not fit its declaration.
        """
        frame = model_frame(features, self.columns)
        predict = getattr(self.estimator, "predict_proba", None) or self.estimator.predict
        with threadpool_limits(1 if features.num_rows <= SMALL_SHARD else None):
            try:
                given = np.asarray(predict(frame), dtype=np.float64)
            except ValueError as error:  # how scikit-learn refuses rows
                reason = str(error).splitlines()[0].rstrip(".")
                raise ModelRefused(
                    f"The model refuses the rows: {reason}.",
                    reason=Refusal.ROWS,
                    next_step="Declare what the model can read, or train it on rows like these.",
                ) from error
        return given.reshape(features.num_rows, -1)

    def for_workers(self) -> Scorer | None:
        """Return None: scikit-learn starts its own threads, and holds the interpreter's lock."""
        return None


def _of_places(outputs: Outputs, kind: Kind) -> Scores:
    scores = np.ascontiguousarray(outputs[:, list(kind.places)])
    return scores if kind.classes else scores[:, 0]


def _finite(scores: Scores) -> Scores:
    broken = np.flatnonzero(~np.isfinite(scores).reshape(len(scores), -1).all(axis=1))
    if len(broken):
        raise BatchinfError(
            f"The model gave {scores[broken[0]]} as the score of row {broken[0]}; "
            f"{len(broken)} of {len(scores)} scores are not finite.",
            next_step="Look at that row's features, then register a model that can score it.",
        )
    return scores
