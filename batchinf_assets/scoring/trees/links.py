"""From raw outputs to predictions, with scikit-learn's own operations in its own order.

These are the inverse links of `sklearn/_loss/link.py` and `softmax` of `sklearn/utils/extmath.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from batchinf_assets.scoring.trees.ensemble import Link

Float64s = npt.NDArray[np.float64]


def classes(link: Link, outputs: int) -> int:
    """Return how many predictions a row has."""
    return 2 if link in ("sigmoid", "double_sigmoid") else outputs


def apply_link(link: Link, raw: Float64s) -> Float64s:
    """Return the predictions for raw outputs.

    Args:
        link: The inverse link. `softmax` adds a row's exponentials one by one, as numpy does for
            the column-major raw outputs of HistGradientBoosting; `softmax_pairwise` in pairs, as it
            does for the row-major ones of GradientBoosting.
        raw: float64, shape (outputs, rows).

    Returns:
        float64, shape (rows, classes).
    """
    if link in ("sigmoid", "double_sigmoid"):
        return _two_classes(expit(raw[0] if link == "sigmoid" else 2 * raw[0]))
    if link == "softmax":
        return np.ascontiguousarray(_softmax(raw).T)
    if link == "softmax_pairwise":
        return _softmax_pairwise(np.ascontiguousarray(raw.T))
    return np.ascontiguousarray((np.exp(raw) if link == "exp" else raw).T)


def _two_classes(positive: Float64s) -> Float64s:
    predictions = np.empty((len(positive), 2))
    predictions[:, 1] = positive
    np.subtract(1, positive, out=predictions[:, 0])
    return predictions


def _softmax(raw: Float64s) -> Float64s:
    powers = np.exp(raw - raw.max(axis=0))
    total = powers[0].copy()
    for power in powers[1:]:
        total += power
    powers /= total
    return powers


def _softmax_pairwise(raw: Float64s) -> Float64s:
    powers = np.exp(raw - raw.max(axis=1).reshape(-1, 1))
    powers /= powers.sum(axis=1).reshape(-1, 1)
    return powers
