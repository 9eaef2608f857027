"""Scorers that need no scikit-learn: a recipe for the matrix, then trees or a linear model.

They are made from a fitted model once, when it is registered, proved equal to it by
`scoring.parity`, and stored as plain data in its signed artifact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.cores import usable_cores
from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.card import ScorerFile, SignedFile
from batchinf_assets.registry.untrusted_text import one_line
from batchinf_assets.scoring.encoding.apply import Encoded
from batchinf_assets.scoring.encoding.recipe import Recipe
from batchinf_assets.scoring.encoding.translate import unwrap
from batchinf_assets.scoring.linear import LinearModel, translate_linear
from batchinf_assets.scoring.linear_encoded import predict_encoded
from batchinf_assets.scoring.scorer import Outputs, Scorer
from batchinf_assets.scoring.trees.ensemble import TreeEnsemble
from batchinf_assets.scoring.trees.predict import KERNEL_VERSION, predict_pieces
from batchinf_assets.scoring.trees.table import ensemble_from_table, ensemble_to_table
from batchinf_assets.scoring.trees.translate import translate
from batchinf_assets.scoring.untranslatable import Untranslatable
from batchinf_assets.spec.contract import FeatureSpec

TREES = f"trees/{KERNEL_VERSION}"
LINEAR = "linear/1"

RECIPE_FILE: ScorerFile = "recipe.json"
TREES_FILE: ScorerFile = "trees.parquet"
LINEAR_FILE: ScorerFile = "linear.json"


@dataclass(frozen=True, kw_only=True)
class TreeScorer:
    """Evaluates trees over encoded features.

    Attributes:
        recipe: How a row of the matrix comes from the features.
        ensemble: The trees.
        columns: The declared features.
        threads: How many cores one call may use.
    """

    recipe: Recipe
    ensemble: TreeEnsemble
    columns: Mapping[str, FeatureSpec]
    threads: int = field(default_factory=usable_cores)
    name: str = field(default=TREES, init=False)

    def outputs(self, features: pa.Table) -> Outputs:
        """Return probabilities per class or values, float64.

        Raises:
            ModelRefused: The model refuses the rows.
            BatchinfError: A feature column does not fit its declaration.
        """
        encoded, rows = Encoded.of(self.recipe, features, self.columns), features.num_rows
        return predict_pieces(self.ensemble, encoded.piece, rows, threads=self.threads)

    def for_workers(self) -> Scorer | None:
        """Return this scorer on one core; kernels hold no lock."""
        return replace(self, threads=1)

    def files(self) -> dict[ScorerFile, bytes]:
        """Return what an artifact keeps of this scorer."""
        sink = pa.BufferOutputStream()
        pq.write_table(ensemble_to_table(self.ensemble), sink, compression="zstd")
        return {
            RECIPE_FILE: self.recipe.to_json().encode(),
            TREES_FILE: sink.getvalue().to_pybytes(),
        }

    @classmethod
    def from_files(
        cls, files: Mapping[SignedFile, bytes], columns: Mapping[str, FeatureSpec]
    ) -> TreeScorer:
        """Read what `files` returned.

        Raises:
            ModelRefused: A file is missing, or recipe and trees contradict themselves or each
                other.
        """
        recipe = Recipe.from_json(_file(files, RECIPE_FILE))
        ensemble = ensemble_from_table(_table(_file(files, TREES_FILE)))
        _require_width(recipe, ensemble.columns)
        return cls(recipe=recipe, ensemble=ensemble, columns=columns)


@dataclass(frozen=True, kw_only=True)
class LinearScorer:
    """Evaluates a linear or logistic model over encoded features.

    Attributes:
        recipe: How a row of the matrix comes from the features.
        model: Coefficients and link.
        columns: The declared features.
    """

    recipe: Recipe
    model: LinearModel
    columns: Mapping[str, FeatureSpec]
    name: str = field(default=LINEAR, init=False)

    def outputs(self, features: pa.Table) -> Outputs:
        """Return probabilities per class or values, float64.

        Raises:
            ModelRefused: The model refuses the rows.
            BatchinfError: A feature column does not fit its declaration.
        """
        return predict_encoded(self.model, self.recipe, features, self.columns)

    def for_workers(self) -> Scorer | None:
        """Return this scorer: it uses one core, and keeps nothing between calls."""
        return self

    def files(self) -> dict[ScorerFile, bytes]:
        """Return what an artifact keeps of this scorer."""
        return {
            RECIPE_FILE: self.recipe.to_json().encode(),
            LINEAR_FILE: self.model.to_json().encode(),
        }

    @classmethod
    def from_files(
        cls, files: Mapping[SignedFile, bytes], columns: Mapping[str, FeatureSpec]
    ) -> LinearScorer:
        """Read what `files` returned.

        Raises:
            ModelRefused: A file is missing, or recipe and model contradict themselves or each
                other.
        """
        recipe = Recipe.from_json(_file(files, RECIPE_FILE))
        model = LinearModel.from_json(_file(files, LINEAR_FILE))
        _require_width(recipe, model.coefficients.shape[1])
        return cls(recipe=recipe, model=model, columns=columns)


FastScorer = TreeScorer | LinearScorer


def fast_scorer(estimator: Any, columns: Mapping[str, FeatureSpec]) -> FastScorer:
    """Make the fast scorer of a fitted model.

    Raises:
        Untranslatable: It has none; the message says which part.
    """
    recipe, final = unwrap(estimator, columns)
    try:
        return TreeScorer(recipe=recipe, ensemble=translate(final), columns=columns)
    except Untranslatable:
        if not hasattr(final, "coef_"):
            raise
    return LinearScorer(recipe=recipe, model=translate_linear(final), columns=columns)


def _file(files: Mapping[SignedFile, bytes], name: ScorerFile) -> bytes:
    if name not in files:
        raise _refused(f"{name} is missing", Refusal.MISSING_FILE)
    return files[name]


def _table(data: bytes) -> pa.Table:
    try:
        return pq.ParquetFile(pa.BufferReader(data)).read()
    except (OSError, pa.ArrowException) as error:
        reason = one_line(str(error)).rstrip(".")
        raise _refused(f"{TREES_FILE} cannot be read: {reason}", Refusal.UNREADABLE) from error


def _require_width(recipe: Recipe, columns: int) -> None:
    made = len(recipe.columns)
    if made != columns:
        problem = f"{RECIPE_FILE} makes {made} columns, the model reads {columns}"
        raise _refused(problem, Refusal.UNREADABLE)


def _refused(problem: str, reason: Refusal) -> ModelRefused:
    return ModelRefused(
        f"The model's fast scorer cannot be made: {problem}.",
        reason=reason,
        next_step="Restore the artifact from a backup, or register the model again.",
    )
