"""Judging rows by their contract, beside scoring the same rows with the fast tree scorer.

Both sides take the same rows of 20 float32 features with all cores, in turn, A B A B, so that a
machine whose speed drifts slows both; quoted are medians and the ratio round by round. The contract
bounds every column on both sides and allows no null. Once no row breaks it, and once one row in
10,000 breaks it in one column and is set aside. What the scorer compiles is not counted. Nothing is
read or written: the rows are in memory, made slice by slice.

Peak memory is that of one judgement in a process of its own, above what its rows take, at 2 M rows
and at the full number.

    python -m benchmarks.validation [--rows N] [--rounds N]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pyarrow as pa

from batchinf_assets.contracts.judge import SLICE_ROWS, judge_rows
from batchinf_assets.contracts.row_contract import RowContract
from batchinf_assets.scoring.trees.predict import predict
from batchinf_assets.scoring.trees.translate import translate
from batchinf_assets.spec.contract import ColumnSpec, QuarantineSpec
from benchmarks.machine import described
from benchmarks.tree_scoring import CORES, FEATURES, TRAINING_ROWS, boosted

FEWER_ROWS, OUTSIDE, BAD = 2_000_000, 1e6, 1e-4
BOUNDED = ColumnSpec(type="float32", min=-100, max=100)
CONTRACT = RowContract(
    asset="features",
    columns={"id": ColumnSpec(type="int64"), **{f"f{n}": BOUNDED for n in range(FEATURES)}},
    key=("id",),
    quarantine=QuarantineSpec(),
)


def main() -> None:
    """Time both sides, measure memory, and print them."""
    parser = argparse.ArgumentParser(description="Judge rows, and score them, side by side.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(described(CORES))
    print(f"{arguments.rows} rows of {FEATURES} float32 features, bounded, not null")
    cases = {"no row": 0.0, "one row in 10,000": BAD}
    fewer = min(FEWER_ROWS, arguments.rows)
    # First of all: a child's peak counts what its parent held when it was started.
    memory = {share: [peak(n, share) for n in (fewer, arguments.rows)] for share in cases.values()}
    for name, share in cases.items():
        print(f"\n{name} breaks the contract")
        compare(sides(arguments.rows, share), arguments.rounds, arguments.rows)
        few, all_rows = memory[share]
        print(f"  peak memory of judging, above the rows: {few} MB at {fewer} rows, {all_rows} MB")


def sides(rows: int, share: float) -> dict[str, Callable[[], object]]:
    """Return what scores and what judges the rows."""
    rng = np.random.default_rng(0)
    training = rng.normal(size=(TRAINING_ROWS, FEATURES)).astype(np.float32)
    model = boosted(100).fit(training, training[:, 0] * training[:, 1] + training[:, 2] > 0)
    ensemble, table = translate(model), pa.concat_tables(list(slices(rows, share)))
    # As the scorer gets them: one row group at a time, column by column.
    blocks = [
        np.stack([column.to_numpy() for column in batch.columns[1:]])
        for batch in (table.slice(start, SLICE_ROWS) for start in range(0, rows, SLICE_ROWS))
    ]
    return {
        "fast tree scorer": lambda: [predict(ensemble, block, threads=CORES) for block in blocks],
        "judging": lambda: judge_rows(table, CONTRACT),
    }


def slices(rows: int, share: float) -> Iterator[pa.Table]:
    """Make the rows, of which a share is out of bounds in one column."""
    rng = np.random.default_rng(1)
    for start in range(0, rows, SLICE_ROWS):
        count = min(SLICE_ROWS, rows - start)
        features = rng.standard_normal((FEATURES, count), dtype=np.float32)
        bad = np.flatnonzero(rng.random(count) < share)
        features[rng.integers(0, FEATURES, bad.size), bad] = OUTSIDE
        names = {f"f{n}": values for n, values in enumerate(features)}
        yield pa.table({"id": np.arange(start, start + count), **names})


def compare(calls: dict[str, Callable[[], object]], rounds: int, rows: int) -> None:
    """Time the sides in turn and print one line for each."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    scoring = seconds["fast tree scorer"]
    for name, spent in seconds.items():
        ratios = [mine / theirs for mine, theirs in zip(spent, scoring, strict=True)]
        speeds = [rows / each / 1e6 for each in spent]
        print(
            f"  {name:18} {figures(spent)} s   {figures(speeds)} M rows/s   "
            f"{figures(ratios)} x scoring's time"
        )


def peak(rows: int, share: float) -> int:
    """Return how many MB judging adds to a process that holds the rows."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as alone:
        return alone.submit(judged_memory, rows, share).result()


def judged_memory(rows: int, share: float) -> int:
    """Judge once; a small judgement comes first, for what is loaded then."""
    judge_rows(pa.concat_tables(list(slices(SLICE_ROWS, 0.01))), CONTRACT)
    table = pa.concat_tables(list(slices(rows, share)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    judge_rows(table, CONTRACT)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024


def figures(values: list[float]) -> str:
    """Write median, minimum and maximum."""
    return f"{statistics.median(values):6.2f} ({min(values):6.2f} to {max(values):6.2f})"


if __name__ == "__main__":
    sys.exit(main())
