"""A window's run is killed at every kind of change it makes; nobody ever sees half of it.

`make chaos N=300` does more of them, at random, and kills reruns too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from batchinf_assets.project import CHECKOUT
from batchinf_assets_tests.resilience.window_run import STAGES

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

MODULE = "batchinf_assets_tests.resilience.chaos"
NOT_HERE = 77
KILLS, SEED = "BATCHINF_CHAOS_KILLS", "BATCHINF_CHAOS_SEED"
ONE_THREAD = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OPENBLAS_NUM_THREADS": "1"}
"""A process that forks must have no threads of its own; jemalloc and OpenBLAS start some."""


@pytest.fixture(scope="module")
def reports(world: World, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    places = [world.lake.parent, tmp_path_factory.mktemp("chaos")]
    kills = ["--kills", os.environ.get(KILLS, "60"), "--seed", os.environ.get(SEED, "0")]
    more = ["--twice"] if KILLS in os.environ else []
    done = subprocess.run(
        [sys.executable, "-m", MODULE, *places, *kills, *more],
        cwd=CHECKOUT,
        env=os.environ | ONE_THREAD,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == NOT_HERE:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_no_kill_loses_doubles_or_mixes_anything(reports: list[dict[str, Any]]) -> None:
    broken = [
        f"{report['scene']} at {report['change']} ({report['at']}), again {report['again']}: {what}"
        for report in reports
        for what in report["problems"]
    ]
    print(f"\n{summary(reports)}")
    assert broken == []


def test_kills_fall_into_every_stage_and_are_watched_by_a_reader(
    reports: list[dict[str, Any]],
) -> None:
    stages = Counter(stage for report in reports for stage in report["stages"])
    assert set(stages) == set(STAGES)
    assert stages.total() >= 0.9 * len(reports)  # a run may be over before its last changes
    assert all(report["reads"] for report in reports)


def summary(reports: list[dict[str, Any]]) -> str:
    """Say what was done and found, in three lines."""
    stages = Counter(stage for report in reports for stage in report["stages"])
    kinds = Counter(what.split(":")[0] for report in reports for what in report["problems"])
    found = [f"{kinds.pop(kind, 0)} {kind}" for kind in ("lost", "doubled", "mixed")]
    found += [f"{count} {kind}" for kind, count in sorted(kinds.items())]
    return "\n".join(
        [
            f"{stages.total()} kills, seed {os.environ.get(SEED, '0')}: {', '.join(found)}",
            "killed in " + ", ".join(f"{stage} {stages[stage]}" for stage in STAGES),
            f"{sum(report['reads'] for report in reports)} reads of the published rows meanwhile",
        ]
    )
