"""Tree models scored by scikit-learn, the fast tree scorer, and other libraries where installed.

All sides score the same float32 rows of 20 features with all cores, in turn, A B A B, so that a
machine whose speed drifts slows all; quoted are medians and the ratio to scikit-learn round by
round. scikit-learn gets its best form: HistGradientBoosting reads float64, column by column, in
blocks of 128 k rows; a forest reads float32 rows with as many jobs as cores. That its rows are
converted is not counted, nor is what any side compiles. Early stopping is off: it would leave fewer
trees. The difference is the largest one in a probability, on the same rows.

A forest with several jobs adds its trees in the order in which they finish, so scikit-learn differs
from itself by some 1e-16; everything else is summed in one order. tl2cgen (with treelite) and ONNX
Runtime (with skl2onnx) stand beside them where installed. lleaves does not: its newest version,
1.3, asks llvmlite for what the version that numba needs no longer has.

    python -m benchmarks.tree_scoring [--rows N] [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from batchinf_assets.scoring.trees.ensemble import TreeEnsemble
from batchinf_assets.scoring.trees.predict import predict
from batchinf_assets.scoring.trees.translate import translate

FEATURES, TRAINING_ROWS, SKLEARN_BLOCK = 20, 100_000, 131_072
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Score = Callable[[], np.ndarray]


def main() -> None:
    """Time all sides of all models and print them."""
    parser = argparse.ArgumentParser(description="Score tree models with every library here.")
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    matrix = np.random.default_rng(1).normal(size=(FEATURES, arguments.rows)).astype(np.float32)
    print(f"{arguments.rows} rows of {FEATURES} float32 features, {CORES} cores")
    for name, (model, bound, share) in models().items():
        rows = np.ascontiguousarray(matrix[:, : int(arguments.rows * share)])
        print(f"\n{name}: {rows.shape[1]} rows, at least {bound} x scikit-learn")
        compare(sides(model, rows), arguments.rounds, rows.shape[1])


def models() -> dict[str, tuple[Any, int, float]]:
    """Train each model; with it the bound, and the share of the rows that it scores."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(TRAINING_ROWS, FEATURES)).astype(np.float32)
    noise = rng.normal(size=TRAINING_ROWS) / 2
    labels = rows[:, 0] * rows[:, 1] + rows[:, 2] + noise > 0
    kinds = {
        "100 boosted trees of 31 leaves": (boosted(100), 15, 1.0),
        "500 boosted trees of 31 leaves": (boosted(500), 8, 0.25),
        "random forest of 100 trees, depth 12": (forest(), 4, 0.25),
    }
    for model, _, _ in kinds.values():
        model.fit(rows, labels)
    return kinds


def boosted(trees: int) -> HistGradientBoostingClassifier:
    """Return boosted trees, untrained."""
    return HistGradientBoostingClassifier(max_iter=trees, early_stopping=False, random_state=0)


def forest() -> RandomForestClassifier:
    """Return a forest, untrained."""
    return RandomForestClassifier(100, max_depth=12, n_jobs=CORES, random_state=0)


def sides(model: Any, matrix: np.ndarray) -> dict[str, Score]:
    """Return what scores the rows, by name; libraries that are not installed are left out."""
    ensemble = translate(model)
    found = {
        "scikit-learn": with_sklearn(model, matrix),
        "fast tree scorer": lambda: predict(ensemble, matrix, threads=CORES)[:, 1],
        "the same, float64 rows": with_float64(ensemble, matrix),
    }
    for name, adapter in {"tl2cgen": with_tl2cgen, "ONNX Runtime": with_onnx}.items():
        try:
            found[name] = adapter(model, matrix)
        except ImportError as error:
            print(f"  {name} is left out: {str(error).splitlines()[0]}")
    return found


def compare(scores: dict[str, Score], rounds: int, rows: int) -> None:
    """Time the sides in turn and print one line for each."""
    reference, *_ = results = [score() for score in scores.values()]  # compiles, warms caches
    seconds: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(rounds):
        for name, score in scores.items():
            started = time.perf_counter()
            score()
            seconds[name].append(time.perf_counter() - started)
    for (name, spent), result in zip(seconds.items(), results, strict=True):
        speeds = [rows / each / 1e6 for each in spent]
        ratios = [a / b for a, b in zip(seconds["scikit-learn"], spent, strict=True)]
        difference = np.abs(result - reference).max()
        print(f"  {name:24} {figures(speeds)} M rows/s   {figures(ratios)} x   {difference:.1e}")


def with_sklearn(model: Any, matrix: np.ndarray) -> Score:
    """scikit-learn itself, in its best form."""
    if isinstance(model, RandomForestClassifier):
        rows = np.ascontiguousarray(matrix.T)
        return lambda: model.predict_proba(rows)[:, 1]
    blocks = [
        np.asfortranarray(matrix[:, start : start + SKLEARN_BLOCK].T.astype(np.float64))
        for start in range(0, matrix.shape[1], SKLEARN_BLOCK)
    ]
    return lambda: np.concatenate([model.predict_proba(block)[:, 1] for block in blocks])


def with_float64(ensemble: TreeEnsemble, matrix: np.ndarray) -> Score:
    """The fast scorer on rows that come as float64."""
    rows = matrix.astype(np.float64)
    return lambda: predict(ensemble, rows, threads=CORES)[:, 1]


def with_tl2cgen(model: Any, matrix: np.ndarray) -> Score:
    """C code, compiled by gcc."""
    import tl2cgen
    import treelite

    library = Path(tempfile.mkdtemp()) / "model.so"
    tl2cgen.export_lib(
        treelite.sklearn.import_model(model),
        toolchain="gcc",
        libpath=library,
        params={"parallel_comp": CORES},
        nthread=CORES,
    )
    predictor = tl2cgen.Predictor(library, nthread=CORES)
    rows = np.ascontiguousarray(matrix.T)
    return lambda: predictor.predict(tl2cgen.DMatrix(rows)).reshape(len(rows), -1)[:, -1]


def with_onnx(model: Any, matrix: np.ndarray) -> Score:
    """ONNX Runtime on what skl2onnx converts."""
    import onnxruntime
    from skl2onnx import to_onnx

    rows = np.ascontiguousarray(matrix.T)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = to_onnx(model, rows[:1], options={id(model): {"zipmap": False}})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = CORES
    session = onnxruntime.InferenceSession(converted.SerializeToString(), options)
    return lambda: session.run(["probabilities"], {"X": rows})[0][:, 1]


def figures(values: list[float]) -> str:
    """Write median, minimum and maximum."""
    return f"{statistics.median(values):6.2f} ({min(values):6.2f} to {max(values):6.2f})"


if __name__ == "__main__":
    sys.exit(main())
