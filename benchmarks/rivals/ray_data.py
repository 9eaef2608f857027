"""Side (b): Ray Data's `map_batches` on one machine, started and warmed before the clock runs.

Tasks, not actors: two actors of one CPU each leave a cluster of two CPUs none to read with. The
model lies in the object store; Ray gives each task one thread per CPU that it asks for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data

from benchmarks.rivals.job import BLOCK, Job, Stopwatch, answer, read_job
from benchmarks.rivals.sklearn_model import load, probabilities


def main() -> None:
    """Score the window."""
    job = read_job()
    ray.init(num_cpus=job.cores, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    model = ray.put(load(job.model))
    _warm(job, model)
    out = Path(job.out) / "scores"
    watch = Stopwatch()
    rows = ray.data.read_parquet(job.features)
    _scored(rows, job, model).write_parquet(str(out))
    watch.lap("read, predict, write")
    answer(watch, files=sorted(map(str, out.glob("*.parquet"))))


def _scored(rows: ray.data.Dataset, job: Job, model: ray.ObjectRef) -> ray.data.Dataset:
    columns, key, score = job.columns, job.key, job.score

    def predict(batch: dict[str, np.ndarray]) -> dict[str, Any]:
        matrix = np.column_stack([batch[name] for name in columns])
        return {key: batch[key], score: probabilities(ray.get(model), matrix)}

    return rows.map_batches(predict, batch_size=BLOCK, batch_format="numpy", zero_copy_batch=True)


def _warm(job: Job, model: ray.ObjectRef) -> None:
    few = {name: np.zeros(1_000, dtype=np.float32) for name in job.columns}
    rows = ray.data.range(1_000 * job.cores, override_num_blocks=job.cores)
    rows = rows.map_batches(lambda batch: {job.key: batch["id"], **few}, batch_size=1_000)
    _scored(rows, job, model).materialize()


if __name__ == "__main__":
    main()
