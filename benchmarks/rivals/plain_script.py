"""Side (a): the script that most people write, in its best honest form.

The whole file into a frame, scikit-learn on all cores, the scores into one Parquet file. It checks
nothing, resumes nothing, and holds the whole window.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.rivals.job import Stopwatch, answer, read_job
from benchmarks.rivals.sklearn_model import load, probabilities


def main() -> None:
    """Score the window."""
    job = read_job()
    model = load(job.model)
    out = Path(job.out) / "scores.parquet"
    watch = Stopwatch()
    frame = pd.read_parquet(job.features, columns=[job.key, *job.columns])
    watch.lap("read")
    scores = probabilities(model, frame[list(job.columns)].to_numpy())
    watch.lap("predict")
    pd.DataFrame({job.key: frame[job.key], job.score: scores}).to_parquet(out, index=False)
    watch.lap("write")
    answer(watch, files=[str(out)])


if __name__ == "__main__":
    main()
