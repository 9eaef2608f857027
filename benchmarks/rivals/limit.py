"""Side (d), the limit: reading alone, predicting alone, writing alone, one worker per core each.

Each in its best form: the file mapped and its pages not verified, the kernels on rows that lie in
memory as they want them, files without checksums or fsync. Nobody can be faster than the sum with
the same three parts; turning rows into the kernels' matrix is in none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.scoring.encoding.apply import encode
from batchinf_assets.scoring.fast import TreeScorer
from batchinf_assets.scoring.trees.predict import predict
from benchmarks.rivals.bare import tree_scorer, unchecked, warm
from benchmarks.rivals.job import Job, Stopwatch, answer, read_job
from benchmarks.scoring_world import ScoringWorld

Result = TypeVar("Result")


def main() -> None:
    """Time the three parts."""
    job = read_job()
    world = ScoringWorld(root=Path(job.root), rows=job.rows)
    scorer = tree_scorer(world)
    warm(scorer)
    file = pq.ParquetFile(job.features)
    groups = list(map(file.read_row_group, range(file.num_row_groups)))
    matrices = [encode(scorer.recipe, rows, scorer.columns) for rows in groups]
    keys = [rows.column(job.key) for rows in groups]
    groups.clear()
    schema = arrow_schema(world.pipeline.spec.prediction_table)
    watch = Stopwatch()
    with ThreadPoolExecutor(job.cores) as pool:

        def on_all_cores(stage: str, work: Callable[[int], Result]) -> list[Result]:
            watch.restart()
            results = list(pool.map(work, range(job.cores)))
            watch.lap(stage)
            return results

        on_all_cores("read", lambda worker: _read(job, worker))
        parts = on_all_cores("predict", lambda worker: _predict(job, scorer, matrices, worker))
        scores = {index: found for part in parts for index, found in part.items()}
        tables = [pa.table([keys[i], scores[i]], schema=schema) for i in range(len(keys))]
        on_all_cores("write", lambda worker: _write(job, tables, worker))
    answer(watch)


def _read(job: Job, worker: int) -> None:
    file = pq.ParquetFile(job.features, memory_map=True, page_checksum_verification=False)
    for group in range(worker, file.num_row_groups, job.cores):
        file.read_row_group(group, use_threads=False)


def _predict(
    job: Job, scorer: TreeScorer, matrices: list[np.ndarray], worker: int
) -> dict[int, np.ndarray]:
    mine = range(worker, len(matrices), job.cores)
    return {i: np.ascontiguousarray(predict(scorer.ensemble, matrices[i])[:, 1]) for i in mine}


def _write(job: Job, tables: list[pa.Table], worker: int) -> None:
    """Write one file per worker: opening more than that would be no part of the limit."""
    schema = tables[0].schema
    path = Path(job.out) / f"part-{worker:05d}.parquet"
    with pq.ParquetWriter(path, schema, **unchecked(schema)) as writer:
        for table in tables[worker :: job.cores]:
            writer.write_table(table)


if __name__ == "__main__":
    main()
