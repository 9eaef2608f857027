"""What a model said of rows, in the shapes in which it is stored, measured and counted.

What computes it is in `scoring.scorer`. Scores have shape (rows,), or of several classes
(rows, classes) in the order in which these are declared.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.spec.prediction import PredictionSpec

Scores = npt.NDArray[np.float64]


def score_array(scores: Scores) -> pa.Array:
    """Return scores as they are measured: numbers, or lists of one number per class."""
    if scores.ndim == 1:
        return pa.array(scores)
    return pa.FixedSizeListArray.from_arrays(pa.array(scores.ravel()), scores.shape[1])


def score_matrix(scores: pa.Array | pa.ChunkedArray) -> Scores:
    """Return lists of one number per class as (rows, classes); the reverse of `score_array`."""
    whole = scores.combine_chunks() if isinstance(scores, pa.ChunkedArray) else scores
    return np.asarray(whole.flatten()).reshape(len(whole), -1)


def leading_scores(scores: Scores) -> Scores:
    """Return one number per row, (rows,): of several classes the largest probability."""
    return scores if scores.ndim == 1 else scores.max(axis=1)


def said_columns(scores: Scores, prediction: PredictionSpec) -> dict[str, pa.Array]:
    """Return the declared columns that come of the model.

    The predicted class is that of the largest probability, the first declared one of several.
    """
    rows, classes = len(scores), pa.array(prediction.classes, pa.string())
    by_column = scores.reshape(rows, len(prediction.given)).T
    given = dict(zip(prediction.given, map(pa.array, by_column), strict=True))
    largest = {prediction.score: pa.array(leading_scores(scores))}
    found = {**largest, **given}
    if prediction.classes:
        found[prediction.column] = classes.take(pa.array(scores.argmax(axis=1)))
    return {name: found[name] for name in prediction.columns}
