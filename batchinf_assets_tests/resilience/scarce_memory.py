"""What happens where memory does not suffice: each case in a fork with a limit of its own.

    python -m batchinf_assets_tests.resilience.scarce_memory FOLDER

FOLDER has `lake`, `keys`, `landing` and `defs`. It prints one JSON object, by case.
"""

from __future__ import annotations

import json
import resource
import shutil
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.errors import BatchinfError
from batchinf_assets.features.build import build_features, features_table
from batchinf_assets.lake import query
from batchinf_assets.scoring.scorer import Outputs, Scorer
from batchinf_assets.scoring.shard_scoring import SMALLEST_PART, scores_in_parts
from batchinf_assets.snapshots.freeze import freeze_snapshot, snapshot_table
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets_tests.resilience.forks import Fork
from batchinf_assets_tests.resilience.window_run import DAY, PIPELINE, project_at

MEBIBYTE = 2**20
ROWS = 16 * SMALLEST_PART


class Hungry(Scorer):
    """Takes a block of memory per row, as a model with many leaves does."""

    def __init__(self, bytes_per_row: int) -> None:
        self._bytes_per_row = bytes_per_row
        self.calls: list[int] = []

    @property
    def name(self) -> str:
        return "hungry"

    def outputs(self, features: pa.Table) -> Outputs:
        self.calls.append(features.num_rows)
        np.empty(features.num_rows * self._bytes_per_row, dtype=np.uint8)
        score = features.column("x").to_numpy()
        return np.column_stack([1 - score, score])

    def for_workers(self) -> Scorer | None:
        return self


def bomb(root: Path) -> dict[str, Any]:
    """Land a file of kilobytes whose one text, written out, takes ten gigabytes."""
    project, spec = project_at(root, root / "landing"), load_pipeline(PIPELINE).spec
    landed = root / "landing" / "flights" / f"{DAY}.parquet"
    day = pq.read_table(landed)
    many = day.take(pa.array(np.zeros(1_000_000, dtype=np.int64)))
    place = many.schema.get_field_index("destination")
    index = pa.array(np.zeros(many.num_rows, dtype=np.int32))
    text = pa.DictionaryArray.from_arrays(index, pa.array(["x" * 10_000]))
    pq.write_table(many.set_column(place, "destination", text), landed)
    before = _limited(512)
    error = _error_of(lambda: freeze_snapshot(project, spec, spec.window.window(DAY)))
    files = snapshot_table(project, spec).files()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return {**error, "landed": landed.stat().st_size, "grown": grown, "files": len(files)}


def greedy_sql(root: Path) -> dict[str, Any]:
    """Run feature SQL that collects far more than DuckDB may hold."""
    defs = root / "defs"
    path = defs / PIPELINE / "features.sql"
    greedy = "(SELECT list(number) AS numbers FROM range(100_000_000) AS counted (number))"
    path.write_text(f"{path.read_text()}\nCROSS JOIN {greedy} AS greedy\nWHERE len(numbers) > 0\n")
    pipeline = load_pipeline(PIPELINE, defs=defs)
    project, window = project_at(root, root / "landing"), pipeline.spec.window.window(DAY)
    query.MEMORY_LIMIT = "64MB"
    freeze_snapshot(project, pipeline.spec, window)
    error = _error_of(lambda: build_features(project, pipeline, window))
    table = features_table(project, pipeline.spec)
    left = [str(path) for path in root.rglob("features/**/*") if path.is_file()]
    return {**error, "files": len(table.files()), "left": left}


def large_shard(_root: Path) -> dict[str, Any]:
    """Score rows of which only a part fits at a time."""
    rows = pa.table({"x": np.random.default_rng(0).random(ROWS)})
    scorer = Hungry(1024 * MEBIBYTE // ROWS)
    _limited(400)
    scores = scores_in_parts(scorer, rows)
    return {"calls": scorer.calls, "equal": bool((scores == rows.column("x").to_numpy()).all())}


def hopeless_shard(_root: Path) -> dict[str, Any]:
    """Score rows of which not even the smallest part fits."""
    scorer = Hungry(1024 * MEBIBYTE // SMALLEST_PART)
    _limited(400)
    rows = pa.table({"x": np.zeros(ROWS)})
    return {**_error_of(lambda: scores_in_parts(scorer, rows)), "calls": scorer.calls}


CASES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "bomb": bomb,
    "greedy sql": greedy_sql,
    "large shard": large_shard,
    "hopeless shard": hopeless_shard,
}


def _limited(mebibytes: int) -> int:
    """Let the process grow by so much and no more; return its resident memory now, in bytes."""
    size, resident = map(int, Path("/proc/self/statm").read_text().split()[:2])
    limit = size * resource.getpagesize() + mebibytes * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return resident * resource.getpagesize()


def _error_of(work: Callable[[], object]) -> dict[str, Any]:
    try:
        work()
    except (BatchinfError, MemoryError) as error:
        return {"error": type(error).__name__, "text": str(error)}
    return {"error": None}


def main() -> None:
    """Go through all cases."""
    parser = ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    answers: dict[str, Any] = {}
    for name, case in CASES.items():
        root = folder / name.replace(" ", "-")
        shutil.copytree(folder / "template", root)
        answers[name] = Fork(lambda case=case, root=root: case(root)).result()
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
