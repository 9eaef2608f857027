"""Which scorer a verified model uses: the one that its card names, if this machine has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchinf_assets.registry.artifact import Artifact, require_schema
from batchinf_assets.registry.estimator import load_estimator
from batchinf_assets.scoring.fast import LINEAR, TREES, LinearScorer, TreeScorer
from batchinf_assets.scoring.onnx_scorer import load_onnx
from batchinf_assets.scoring.scorer import Scorer, SklearnScorer
from batchinf_assets.spec import FeatureSpec


def load_scorer(artifact: Artifact, columns: Mapping[str, FeatureSpec]) -> Scorer:
    """Make the scorer of a verified artifact for a pipeline's declared features.

    A fast scorer counts only in the very version that passed the parity gate; after an update of
    its kernel a model is scored by the reference until it is registered again.

    Raises:
        ModelRefused: The features are not those that the model learned, or a file of the artifact
            is not what it must be.
    """
    require_schema(artifact, columns)
    match artifact.card.scorer:
        case name if name == TREES:
            return TreeScorer.from_files(artifact.contents, columns)
        case name if name == LINEAR:
            return LinearScorer.from_files(artifact.contents, columns)
        case _:
            return load_reference(artifact, columns)


def load_reference(artifact: Artifact, columns: Mapping[str, FeatureSpec]) -> Scorer:
    """Make the scorer that the others are held against: scikit-learn itself, or ONNX Runtime.

    Raises:
        ModelRefused: The model file is not what it must be.
    """
    card = artifact.card
    data = artifact.contents[card.model_file]
    if card.model_format == "onnx":
        return load_onnx(data, columns)
    estimator = load_estimator(data, f"Model {card.name} v{artifact.statement.version}")
    return SklearnScorer(repeatable(estimator), columns)


def repeatable(estimator: Any) -> Any:
    """Let an estimator work in one thread: forests add up their trees in the order they finish."""
    parameters = estimator.get_params() if hasattr(estimator, "get_params") else {}
    threads = {name: 1 for name in parameters if name.rpartition("__")[2] == "n_jobs"}
    return estimator.set_params(**threads) if threads else estimator
