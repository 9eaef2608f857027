"""Memory does not suffice: a clean error and no partial table, or the same scores in parts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchinf_assets.project import CHECKOUT
from batchinf_assets.scoring.shard_scoring import SMALLEST_PART
from batchinf_assets.spec.load import DEFS_FOLDER
from batchinf_assets_tests.resilience.window_run import DAY, PIPELINE

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

MODULE = "batchinf_assets_tests.resilience.scarce_memory"
MEBIBYTE = 2**20

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").is_file(), reason="limits a process by what /proc says of it"
)


@pytest.fixture(scope="module")
def answers(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("scarce memory")
    template = folder / "template"
    for name in ("weather.parquet", "planes.parquet", f"flights/{DAY}.parquet"):
        (template / "landing" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(world.landing / name, template / "landing" / name)
    shutil.copytree(DEFS_FOLDER / PIPELINE, template / "defs" / PIPELINE)
    done = subprocess.run(
        [sys.executable, "-m", MODULE, folder],
        cwd=CHECKOUT,
        env=os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_parquet_bomb_is_refused_by_the_declared_limit_and_takes_no_memory(
    answers: dict[str, dict[str, Any]],
) -> None:
    bomb = answers["bomb"]
    assert bomb["error"] == "LandedFileUnreadable"
    assert f"flights/{DAY}.parquet" in bomb["text"]
    assert "the limit is" in bomb["text"]
    assert bomb["landed"] < MEBIBYTE
    assert bomb["grown"] < 512 * MEBIBYTE
    assert bomb["files"] == 0


def test_feature_sql_beyond_the_memory_limit_is_named_and_leaves_no_table(
    answers: dict[str, dict[str, Any]],
) -> None:
    greedy = answers["greedy sql"]
    assert greedy["error"] == "FeatureSqlFailed"
    assert f"{PIPELINE}/features.sql of window {DAY}" in greedy["text"]
    assert (greedy["files"], greedy["left"]) == (0, [])


def test_rows_that_do_not_fit_are_scored_in_smaller_parts_to_the_same_scores(
    answers: dict[str, dict[str, Any]],
) -> None:
    large = answers["large shard"]
    assert large["equal"]
    assert large["calls"][0] > large["calls"][-1] >= SMALLEST_PART


def test_parts_get_no_smaller_than_a_few_thousand_rows(
    answers: dict[str, dict[str, Any]],
) -> None:
    hopeless = answers["hopeless shard"]
    assert hopeless["error"] == "MemoryError"
    assert min(hopeless["calls"]) == SMALLEST_PART
    assert len(hopeless["calls"]) <= 5
