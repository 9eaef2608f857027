"""Side (c): Spark's `mapInPandas` on one machine, started and warmed before the clock runs.

Batches are larger than Spark's default of 10,000 rows and input splits smaller than its 128 MB, so
that all cores have work until the end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as sf

from benchmarks.rivals.job import BLOCK, Job, Stopwatch, answer, read_job
from benchmarks.rivals.sklearn_model import load, probabilities


def main() -> None:
    """Score the window."""
    job = read_job()
    os.environ["PYSPARK_PYTHON"] = sys.executable  # Spark would start any python3
    session = _session(job)
    schema = f"{job.key} long, {job.score} double"
    zeros = [sf.lit(0.0).cast("float").alias(name) for name in job.columns]
    few = session.range(0, 1_000, 1, job.cores).select(sf.col("id").alias(job.key), *zeros)
    few.mapInPandas(_scoring(job), schema).collect()
    out = Path(job.out) / "scores"
    watch = Stopwatch()
    rows = session.read.parquet(job.features).select(job.key, *job.columns)
    rows.mapInPandas(_scoring(job), schema).write.parquet(str(out))
    watch.lap("read, predict, write")
    answer(watch, files=sorted(map(str, out.glob("*.parquet"))))
    session.stop()


def _session(job: Job) -> SparkSession:
    settings = {
        "spark.driver.memory": "4g",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(BLOCK),
        "spark.sql.files.maxPartitionBytes": "32m",
        "spark.local.dir": job.out,
        # A worker of its own per core: threads of OpenMP on top would only get in each other's way.
        "spark.executorEnv.OMP_NUM_THREADS": "1",
    }
    builder = SparkSession.builder.master(f"local[{job.cores}]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def _scoring(job: Job) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    columns, key, score, path = list(job.columns), job.key, job.score, job.model

    def score_batches(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        model = load(path)
        for batch in batches:
            scores = probabilities(model, batch[columns].to_numpy())
            yield pd.DataFrame({key: batch[key], score: scores})

    return score_batches


if __name__ == "__main__":
    main()
