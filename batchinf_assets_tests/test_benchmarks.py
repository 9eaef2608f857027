import subprocess
import sys
from pathlib import Path

import pytest

from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.project import CHECKOUT
from benchmarks.scoring_world import build

SMALL = {
    "benchmarks.batch_scoring": [
        "--rows", "20000", "--rounds", "1", "--sides", "ours,bare,limit,script",
    ],
    "benchmarks.evaluation": ["--rows", "20000", "--rounds", "1"],
    "benchmarks.validation": ["--rows", "20000", "--rounds", "1"],
}  # fmt: skip


@pytest.mark.parametrize("module", SMALL)
def test_a_benchmark_still_runs_on_few_rows(module: str, tmp_path: Path) -> None:
    report = ["--report", str(tmp_path / "found.md")] if module.endswith("batch_scoring") else []
    done = subprocess.run(
        [sys.executable, "-m", module, *SMALL[module], *report],
        cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]


def test_the_scoring_benchmark_reads_features_as_a_pipeline_keeps_them(tmp_path: Path) -> None:
    """Columns that may be null cost half of reading again."""
    world = build(tmp_path / "world", rows=1_000)
    declared = world.pipeline.spec.feature_table
    assert RowGroups(world.features_file).schema == arrow_schema(declared)
