"""Scorers: from feature rows to one probability per row, the same bits however rows are sharded.

What the rows are and where the scores go is in `scoring.score`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from threadpoolctl import threadpool_limits

from batchinf_assets.errors import BatchinfError, ModelRefused
from batchinf_assets.registry.artifact import Artifact, load_estimator, require_schema
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.spec import FeatureSpec

SMALL_SHARD = 16_384
"""Rows up to which threads cost more than they give: they are started anew for every tree."""

Scores = npt.NDArray[np.float64]


class Scorer(Protocol):
    """What computes scores."""

    @property
    def name(self) -> str:
        """The kind of scorer, for manifests."""
        ...

    def score(self, features: pa.Table) -> Scores:
        """Return the probability of the label, float64, shape (rows,); row i belongs to row i.

        The score of a row depends on that row alone.
        """
        ...


@dataclass(frozen=True)
class SklearnScorer:
    """Scores by `predict_proba` of a fitted binary classifier.

    Attributes:
        estimator: The classifier; its second class is the label.
        columns: The features that it learned, in its order.
    """

    estimator: Any
    columns: Mapping[str, FeatureSpec]
    name: str = "scikit-learn"

    def score(self, features: pa.Table) -> Scores:
        """Return the probability of the label, float64, shape (rows,).

        Raises:
            ModelRefused: The classifier does not give two probabilities per row.
            BatchinfError: A feature column does not fit, or a score is not finite.
        """
        if features.num_rows == 0:
            return np.empty(0, dtype=np.float64)
        frame = model_frame(features, self.columns)
        with threadpool_limits(1 if features.num_rows <= SMALL_SHARD else None):
            given = np.asarray(self._probabilities(frame))
        if given.shape != (features.num_rows, 2):
            raise ModelRefused(
                f"The model gives probabilities of shape {given.shape} for "
                f"{features.num_rows} rows; a binary classifier gives two per row.",
                next_step="Train on rows with both labels.",
            )
        return _finite(np.ascontiguousarray(given[:, 1], dtype=np.float64))

    def _probabilities(self, frame: pd.DataFrame) -> Any:
        try:
            return self.estimator.predict_proba(frame)
        except ValueError as error:  # how scikit-learn refuses rows
            reason = str(error).splitlines()[0].rstrip(".")
            raise ModelRefused(
                f"The model refuses the rows: {reason}.",
                next_step="Declare what the model can read, or train it on rows like these.",
            ) from error


def load_scorer(artifact: Artifact, columns: Mapping[str, FeatureSpec]) -> SklearnScorer:
    """Make the scorer of a verified artifact for a pipeline's declared features.

    Raises:
        ModelRefused: The features are not those that the model learned, or the model file
            changed or holds a type that was not reviewed.
    """
    require_schema(artifact, columns)
    return SklearnScorer(load_estimator(artifact), columns)


def _finite(scores: Scores) -> Scores:
    broken = np.flatnonzero(~np.isfinite(scores))
    if len(broken):
        raise BatchinfError(
            f"The model gave {scores[broken[0]]} as the score of row {broken[0]}; "
            f"{len(broken)} of {len(scores)} scores are not finite.",
            next_step="Look at that row's features, then register a model that can score it.",
        )
    return scores
