"""Which scorer a verified model uses: the one that its card names, if this machine has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchinf_assets.errors import Refusal
from batchinf_assets.registry.artifact import Artifact, require_schema
from batchinf_assets.registry.card import SignedFile
from batchinf_assets.registry.estimator import load_estimator
from batchinf_assets.registry.inspection import inspect_onnx, recognize
from batchinf_assets.registry.plain_files import refused
from batchinf_assets.scoring.fast import LINEAR, TREES, FastScorer, LinearScorer, TreeScorer
from batchinf_assets.scoring.onnx_scorer import load_onnx
from batchinf_assets.scoring.scorer import Scorer, SklearnScorer
from batchinf_assets.spec.contract import FeatureSpec


def load_scorer(artifact: Artifact, columns: Mapping[str, FeatureSpec]) -> Scorer:
    """Make the scorer of a verified artifact for a pipeline's declared features.

    A fast scorer counts only in the very version that passed the parity gate; after an update of
    its kernel a model is scored by the reference until it is registered again.

    Raises:
        ModelRefused: The features are not those that the model learned, or a file of the artifact
            is not what it must be.
    """
    require_schema(artifact, columns)
    fast = stored_scorer(artifact.card.scorer, artifact.contents, columns)
    return load_reference(artifact, columns) if fast is None else fast


def stored_scorer(
    name: str | None, files: Mapping[SignedFile, bytes], columns: Mapping[str, FeatureSpec]
) -> FastScorer | None:
    """Make the fast scorer of this name out of its stored files; None if there is none so named.

    Raises:
        ModelRefused: A file is missing or not what it must be.
    """
    if name == TREES:
        return TreeScorer.from_files(files, columns)
    if name == LINEAR:
        return LinearScorer.from_files(files, columns)
    return None


def load_reference(artifact: Artifact, columns: Mapping[str, FeatureSpec]) -> Scorer:
    """Make the scorer that the others are held against: scikit-learn itself, or ONNX Runtime.

    The file is inspected again, signed or not: a signature says who vouches for it, not what is in
    it.

    Raises:
        ModelRefused: The model file is not what it must be.
    """
    card = artifact.card
    data = artifact.contents[card.model_file]
    what = f"Model {card.name} v{artifact.statement.version}"
    if card.model_format == "skops":
        return SklearnScorer(repeatable(load_estimator(data, what)), columns)
    found = recognize(data)
    if found != "onnx":
        raise refused(what, f"model.onnx is a file of format {found}", Refusal.UNREADABLE)
    inspect_onnx(data)
    return load_onnx(data, columns)


def repeatable(estimator: Any) -> Any:
    """Let an estimator work in one thread: forests add up their trees in the order they finish."""
    parameters = estimator.get_params() if hasattr(estimator, "get_params") else {}
    threads = {name: 1 for name in parameters if name.rpartition("__")[2] == "n_jobs"}
    return estimator.set_params(**threads) if threads else estimator
