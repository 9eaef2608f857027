"""scikit-learn's own model in its fastest form; every rival scores by it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import skops.io

from benchmarks.rivals.job import BLOCK

TRUSTED = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]


@cache
def load(path: str) -> Any:
    """Load the fitted model, once per process; without the names that it expects of rows."""
    model = skops.io.loads(Path(path).read_bytes(), trusted=TRUSTED)
    del model.feature_names_in_
    return model


def probabilities(model: Any, rows: np.ndarray) -> np.ndarray:
    """Score float32 rows, (n, columns), by blocks.

    The model reads float64 and is fastest on columns that lie together, in blocks that stay near
    the cache: measured here, a fifth faster than on the whole frame at once.
    """
    scores = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        block = np.asfortranarray(rows[start : start + BLOCK], dtype=np.float64)
        scores[start : start + BLOCK] = model.predict_proba(block)[:, 1]
    return scores
