"""What evaluation costs beside one scan of the same columns, and beside the plain pandas route.

Three sides take the same rows of float32 features from one Parquet file with all cores, in turn,
A B C A B C, so that a machine whose speed drifts slows all; quoted are medians and the ratios round
by round. The file is laid out as feature files are and lies in the page cache: every side reads it
once before the rounds.

- ours: row groups are read and counted by the bins of a reference profile, as the shards do it,
  added up, and measured for drift against it: every distance, p-value and verdict.
- scan: one DuckDB query that sums each column.
- pandas: read_parquet, then for each column cut, value_counts and the stability index; no other
  distance and no test.

    python -m benchmarks.evaluation [--rows N] [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.cores import usable_cores
from batchinf_assets.evaluation.drift.measure import measure_drift
from batchinf_assets.lake.layout import ROW_GROUP_ROWS, parquet_options
from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.registry.bins import NumericBins
from batchinf_assets.registry.profile import Profile, build_profile
from batchinf_assets.scoring.observed import observe
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from benchmarks.machine import Load, described, libraries

FEATURES = [f"f{place}" for place in range(19)]
SCORE = "delay_probability"
COLUMNS = [*FEATURES, SCORE]
TRAINING_ROWS = 200_000
SHARD_GROUPS = 4
"""Row groups that one core takes at a time."""


def main() -> None:
    """Time the sides in turn and print them."""
    parser = argparse.ArgumentParser(description="Evaluate rows, scan them, and use pandas.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    cores = usable_cores()
    print(described(cores))
    print(libraries(["duckdb", "numba", "pandas", "pyarrow"]))
    print(f"{arguments.rows} rows of {len(COLUMNS)} float32 columns")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "features.parquet"
        write(file, arguments.rows)
        print(f"{file.stat().st_size / 2**20:.0f} MiB of Parquet")
        compare(sides(file, arguments.rows, cores), arguments.rounds, arguments.rows)


def write(file: Path, rows: int) -> None:
    """Make the rows, group by group."""
    random = np.random.default_rng(1)
    schema = pa.schema({name: pa.float32() for name in COLUMNS})
    with pq.ParquetWriter(file, schema, **parquet_options(schema, scan=True)) as writer:
        for start in range(0, rows, ROW_GROUP_ROWS):
            writer.write_table(normal(random, min(ROW_GROUP_ROWS, rows - start)))


def normal(random: np.random.Generator, rows: int) -> pa.Table:
    """Draw rows."""
    return pa.table({name: random.standard_normal(rows, dtype=np.float32) for name in COLUMNS})


def sides(file: Path, rows: int, cores: int) -> dict[str, Callable[[], object]]:
    """Return the three sides."""
    spec = spec_of()
    training = normal(np.random.default_rng(0), TRAINING_ROWS)
    profile = build_profile(
        training.select(FEATURES),
        training.column(SCORE),
        columns=spec.features.columns,
        score_column=SCORE,
    )
    return {
        "scan": lambda: scan(file, cores),
        "ours": lambda: evaluate(file, rows, profile, spec, cores),
        "pandas": lambda: with_pandas(file, profile),
    }


def spec_of() -> PipelineSpec:
    """Return the demo's declaration with these features."""
    document = load_pipeline("flight_delays").spec.model_dump()
    document["features"]["columns"] = {name: {"type": "float32"} for name in FEATURES}
    document["golden"]["segments"] = document["performance"]["segments"] = ()
    document["model"]["promotion"]["canary"]["segments"] = ()
    return PipelineSpec.model_validate(document)


def evaluate(
    file: Path, rows: int, profile: Profile, spec: PipelineSpec, cores: int
) -> dict[str, float | None]:
    """Count rows as the shards do, and measure drift."""
    source = RowGroups(file)
    count = len(source.rows)
    shards = [
        range(start, min(start + SHARD_GROUPS, count)) for start in range(0, count, SHARD_GROUPS)
    ]

    def counted(shard: range) -> dict[str, np.ndarray]:
        total: dict[str, np.ndarray] = {}
        for table in source.read(shard):
            columns = {name: table.column(name) for name in COLUMNS}
            for name, found in observe(profile, columns).items():
                total[name] = total.get(name, 0) + found
        return total

    with ThreadPoolExecutor(cores) as pool:
        parts = list(pool.map(counted, shards))
    observed = {name: sum(part[name] for part in parts).tolist() for name in COLUMNS}
    drifts = measure_drift(observed, rows, profile, spec=spec)
    return {drift.subject: drift.psi for drift in drifts}


def scan(file: Path, cores: int) -> object:
    """Sum every column."""
    sums = ", ".join(f"sum({name})" for name in COLUMNS)
    with duckdb.connect(":memory:", config={"threads": cores}) as connection:
        return connection.execute(f"SELECT {sums} FROM read_parquet(?)", [str(file)]).fetchall()


def with_pandas(file: Path, profile: Profile) -> dict[str, float]:
    """Compute the stability index of every column."""
    frame = pd.read_parquet(file)
    found: dict[str, float] = {}
    for name in COLUMNS:
        bins = profile.subjects[name]
        assert isinstance(bins, NumericBins)
        cut = pd.cut(frame[name], [-np.inf, *bins.edges, np.inf])
        p = (cut.value_counts(sort=False) / len(frame)).clip(lower=1e-4).to_numpy()
        q = np.maximum(np.array(bins.counts) / profile.rows, 1e-4)
        found[name] = float(np.sum((p - q) * np.log(p / q)))
    return found


def compare(calls: dict[str, Callable[[], object]], rounds: int, rows: int) -> None:
    """Time the sides in turn; print one line for each, and what others used meanwhile."""
    first = {name: call() for name, call in calls.items()}
    require_same(first["ours"], first["pandas"])
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    began = Load.now()
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    for name, spent in seconds.items():
        speeds = [rows * len(COLUMNS) / each / 1e6 for each in spent]
        print(f"  {name:7} {figures(spent)} s   {figures(speeds)} M values/s")
    for name, other, target in (("ours", "scan", "at most 3"), ("pandas", "ours", "at least 10")):
        ratios = [a / b for a, b in zip(seconds[name], seconds[other], strict=True)]
        print(f"  {name} takes {figures(ratios)} x the time of {other} (target {target})")
    others = (Load.now() - began).others
    print(f"  others kept {'?' if others is None else f'{others:.2f}'} cores busy")


def require_same(ours: object, pandas: object) -> None:
    """Stop where the two routes do not find the same index."""
    assert isinstance(ours, dict)
    assert isinstance(pandas, dict)
    np.testing.assert_allclose(
        [ours[name] for name in COLUMNS], [pandas[name] for name in COLUMNS], atol=1e-9
    )


def figures(values: list[float]) -> str:
    """Write median, minimum and maximum."""
    return f"{statistics.median(values):7.2f} ({min(values):7.2f} to {max(values):7.2f})"


if __name__ == "__main__":
    sys.exit(main())
