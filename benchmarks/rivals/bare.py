"""Our engine with every guarantee off: what the guarantees cost is measured against this.

The same kernels, the same threads, one per core, that read and score row groups while others write,
the same files of the same rows, one Delta commit. Off are page checksums, on reading and writing,
every check, digest, fsync and checkpoint, lease, ledger, evaluation, manifest and signature.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.transaction import AddAction

from batchinf_assets.lake.layout import parquet_options
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.scoring.engine import GROUPS_AHEAD
from batchinf_assets.scoring.fast import TreeScorer
from batchinf_assets.scoring.model import scoring_model
from batchinf_assets.scoring.shards import Shard, plan_shards
from batchinf_assets.scoring.workers import InOrder, ahead_on, run_shards
from benchmarks.rivals.job import Job, Stopwatch, answer, read_job
from benchmarks.scoring_world import ScoringWorld


def main() -> None:
    """Score the window."""
    job = read_job()
    world = ScoringWorld(root=Path(job.root), rows=job.rows)
    pipeline = world.pipeline
    scorer = tree_scorer(world)
    warm(scorer)
    schema = arrow_schema(pipeline.spec.prediction_table)
    watch = Stopwatch()
    footer = pq.read_metadata(job.features)
    groups = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    shards = plan_shards(groups, pipeline.spec.shard_rows)

    with ThreadPoolExecutor(job.cores) as cores:
        work = partial(_work, job, footer, scorer, schema, ahead_on(cores, GROUPS_AHEAD))
        done = run_shards(shards, work, workers=job.cores, stop=Event())
    if done.failure:
        raise done.failure
    files = [done.results[shard.index] for shard in shards]
    _commit(Path(job.out), schema, files)
    watch.lap("read, predict, write, commit")
    answer(watch, files=list(map(str, files)))


def tree_scorer(world: ScoringWorld) -> TreeScorer:
    """Return the champion's scorer, for workers of one core each."""
    scorer = scoring_model(world.registry, world.pipeline, datetime.now(UTC)).scorer
    if not isinstance(scorer, TreeScorer):
        raise TypeError(f"the champion is scored by {scorer.name}")
    return replace(scorer, threads=1)


def unchecked(schema: pa.Schema) -> dict[str, Any]:
    """Return our writer's options without page checksums."""
    return {**parquet_options(schema), "write_page_checksum": False}


def warm(scorer: TreeScorer) -> None:
    """Compile the kernels, or load what was compiled before."""
    few = {name: np.zeros(2, dtype=np.float32) for name in scorer.columns}
    scorer.outputs(pa.table(few))


def _work(
    job: Job,
    footer: pq.FileMetaData,
    scorer: TreeScorer,
    schema: pa.Schema,
    in_order: InOrder,
    shard: Shard,
) -> Path:
    def group(number: int) -> pa.Table:
        file = pq.ParquetFile(job.features, metadata=footer, page_checksum_verification=False)
        rows = file.read_row_group(number, use_threads=False)
        scores = np.ascontiguousarray(scorer.outputs(rows)[:, 1])
        return pa.table([rows.column(job.key), scores], schema=schema)

    path = Path(job.out) / shard.file_name
    with pq.ParquetWriter(path, schema, **unchecked(schema)) as writer:
        for table in in_order(group, shard.groups):
            writer.write_table(table)
    return path


def _commit(folder: Path, schema: pa.Schema, files: list[Path]) -> None:
    nullable = pa.schema([field.with_nullable(nullable=True) for field in schema])
    table = DeltaTable.create(folder, schema=DeltaSchema.from_arrow(nullable))
    actions = [
        AddAction(
            path=path.name,
            size=path.stat().st_size,
            partition_values={},
            modification_time=int(path.stat().st_mtime * 1000),
            data_change=True,
            stats=json.dumps({}),
        )
        for path in files
    ]
    table.create_write_transaction(actions, mode="append", schema=table.schema())


if __name__ == "__main__":
    main()
