"""Predictions of a tree ensemble, bit-equal to scikit-learn's, by compiled kernels and threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.scoring.trees.compiled import KERNEL_VERSION
from batchinf_assets.scoring.trees.ensemble import Precision, TreeEnsemble
from batchinf_assets.scoring.trees.kernel import (
    Plan,
    plan,
    refused_column,
    sum_float32_rows,
    sum_float64_rows,
    workspace,
)
from batchinf_assets.scoring.trees.links import apply_link, classes

__all__ = ["KERNEL_VERSION", "predict", "predict_pieces"]

PIECE = 16_384
"""Rows that a thread takes at a time, a multiple of the kernels' block."""

INFINITY_BITS = np.int32(0x7F800000)
LAST_BITS = np.int32(0x7FFFFFFF)

Matrix = npt.NDArray[np.float32] | npt.NDArray[np.float64]


def predict(ensemble: TreeEnsemble, matrix: Matrix, *, threads: int = 1) -> npt.NDArray[np.float64]:
    """Return what `predict_proba` of a classifier or `predict` of a regressor gives.

    The answer for a row depends on that row alone, not on threads or on how rows are cut into
    calls. The first call on a machine compiles the kernels, which takes seconds.

    Args:
        ensemble: The trees.
        matrix: float32 or float64, shape (columns, rows), C-contiguous. A float32 matrix stands for
            the same numbers as float64.
        threads: How many threads may work; few rows use one.

    Returns:
        float64, shape (rows, classes), or (rows, 1) for a regressor.

    Raises:
        ModelRefused: The matrix has another shape, or a value that the model refuses: NaN or
            infinity, where scikit-learn raises, also a number too large for float32.
        Untranslatable: A tree is too large for the kernels.
    """
    _require_matrix(ensemble, matrix)

    def piece(start: int, stop: int) -> npt.NDArray[np.float64]:
        return _raw(ensemble, matrix, start, stop)

    return _in_pieces(ensemble, piece, matrix.shape[1], threads)


def predict_pieces(
    ensemble: TreeEnsemble, matrix_of: Callable[[int, int], Matrix], rows: int, *, threads: int = 1
) -> npt.NDArray[np.float64]:
    """Return what `predict` gives, of a matrix that is made piece by piece.

    Args:
        ensemble: The trees.
        matrix_of: Makes the matrix of rows start to stop.
        rows: How many there are.
        threads: As for `predict`; each makes the pieces that it scores.

    Raises:
        ModelRefused: As `predict` does.
        Untranslatable: A tree is too large for the kernels.
    """

    def piece(start: int, stop: int) -> npt.NDArray[np.float64]:
        matrix = matrix_of(start, stop)
        _require_matrix(ensemble, matrix)
        return _raw(ensemble, matrix, 0, stop - start)

    return _in_pieces(ensemble, piece, rows, threads)


def _in_pieces(
    ensemble: TreeEnsemble,
    piece: Callable[[int, int], npt.NDArray[np.float64]],
    rows: int,
    threads: int,
) -> npt.NDArray[np.float64]:
    result = np.empty((rows, classes(ensemble.link, ensemble.outputs)))
    starts = range(0, rows, PIECE)

    def score(start: int) -> None:
        stop = min(start + PIECE, rows)
        result[start:stop] = apply_link(ensemble.link, piece(start, stop))

    if threads <= 1 or len(starts) <= 1:
        for start in starts:
            score(start)
    else:
        with ThreadPoolExecutor(min(threads, len(starts))) as pool:
            list(pool.map(score, starts))
    return result


def compile_kernels() -> None:
    """Compile for both types of rows, or load what was compiled before: so that others need not."""
    leaf = TreeEnsemble.constant(0.0)
    predict(leaf, np.zeros((leaf.columns, 1), dtype=np.float32))
    predict(leaf, np.zeros((leaf.columns, 1), dtype=np.float64))


def _raw(ensemble: TreeEnsemble, matrix: Matrix, start: int, stop: int) -> npt.NDArray[np.float64]:
    raw = np.empty((ensemble.outputs, stop - start))
    if ensemble.precision == "float32" and matrix.dtype != np.float32:
        with np.errstate(over="ignore"):  # what overflows is refused below, as infinity
            matrix = matrix[:, start:stop].astype(np.float32, order="C")
        start, stop = 0, stop - start
    if matrix.dtype == np.float32:
        bits = matrix.view(np.int32)
        _refuse(ensemble, matrix, bits, start, stop)
        found = _plan(ensemble, "float32")
        sum_float32_rows(found, matrix, bits, start, stop, workspace(found), raw)
    else:
        found = _plan(ensemble, "float64")
        sum_float64_rows(found, matrix, start, stop, workspace(found), raw)
    if ensemble.combine == "mean":
        raw /= ensemble.trees
    return raw


@lru_cache(maxsize=8)
def _plan(ensemble: TreeEnsemble, rows_are: Precision) -> Plan:
    return plan(ensemble, rows_are)


def _refuse(
    ensemble: TreeEnsemble, matrix: Matrix, bits: npt.NDArray[np.int32], start: int, stop: int
) -> None:
    if ensemble.allows_nan and ensemble.allows_infinite:
        return
    first = INFINITY_BITS + np.int32(ensemble.allows_infinite)
    last = INFINITY_BITS if ensemble.allows_nan else LAST_BITS
    column = refused_column(bits, start, stop, first, last)
    if column < 0:
        return
    values = matrix[column, start:stop]
    refused = np.isinf(values) if ensemble.allows_nan else ~np.isfinite(values)
    row = int(np.flatnonzero(refused)[0])
    found = "NaN" if np.isnan(values[row]) else "infinite or too large for float32"
    raise ModelRefused(
        f"Column {column} of the matrix is {found}, and the model was not made for that.",
        reason=Refusal.ROWS,
        next_step="Declare what the model can read, or train it on rows like these.",
    )


def _require_matrix(ensemble: TreeEnsemble, matrix: Matrix) -> None:
    if matrix.dtype.name not in ("float32", "float64") or not matrix.flags.c_contiguous:
        raise ModelRefused(
            f"A matrix of {matrix.dtype} cannot be scored.",
            reason=Refusal.ROWS,
            next_step="Pass float32 or float64, C-contiguous, one line per column.",
        )
    if matrix.ndim != 2 or matrix.shape[0] != ensemble.columns:
        raise ModelRefused(
            f"The matrix has shape {matrix.shape}, the model reads {ensemble.columns} columns.",
            reason=Refusal.SCHEMA,
            next_step="Pass one line per column that the model learned.",
        )
