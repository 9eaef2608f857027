"""The disk is full or broken: the error names the file, and nothing half-done is left or seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchinf_assets.project import CHECKOUT
from batchinf_assets_tests.resilience.chaos import NOT_HERE
from batchinf_assets_tests.resilience.storage_faults import BROKEN, FULL

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

MODULE = "batchinf_assets_tests.resilience.storage_faults"
STOPPED = [*(f"full at {name}" for name in FULL), *(f"broken at {name}" for name in BROKEN)]


@pytest.fixture(scope="module")
def reports(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", MODULE, world.lake.parent, tmp_path_factory.mktemp("struck")],
        cwd=CHECKOUT,
        env=os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == NOT_HERE:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {report["fault"]: report for report in found}


@pytest.mark.parametrize("fault", STOPPED)
def test_an_error_names_the_file_that_could_not_be_written(
    reports: dict[str, dict[str, Any]], fault: str
) -> None:
    report = reports[fault]
    # A full disk strikes both workers; whose error comes first is not decided.
    folders = {str(Path(struck.split(" ", 1)[1]).parent) for struck in report["struck"]}
    assert report["code"] == 0
    assert any(folder in report["text"] for folder in folders)
    assert len(report["text"].splitlines()) == 1


@pytest.mark.parametrize("fault", STOPPED)
def test_nothing_is_published_and_no_temporary_file_stays(
    reports: dict[str, dict[str, Any]], fault: str
) -> None:
    assert reports[fault]["visible"] == "old"
    assert reports[fault]["temporary"] == []


def test_with_the_disk_mended_the_next_run_publishes_the_same_bytes(
    reports: dict[str, dict[str, Any]],
) -> None:
    assert [what for report in reports.values() for what in report["problems"]] == []


def test_a_shard_that_always_fails_is_tried_three_times_and_the_others_are_finished(
    reports: dict[str, dict[str, Any]],
) -> None:
    report = reports["broken at shard"]
    assert report["error"] == "ShardFailed"
    assert len(report["struck"]) == 3
    assert report["finished"] == 2


def test_a_shard_that_fails_once_is_tried_again_and_published(
    reports: dict[str, dict[str, Any]],
) -> None:
    report = reports["a moment's failure at shard"]
    assert len(report["struck"]) == 1
    assert (report["code"], report["visible"]) == (0, "new")


def test_a_ledger_that_cannot_be_written_stops_no_window_and_its_records_wait(
    reports: dict[str, dict[str, Any]],
) -> None:
    report = reports["broken at ledger"]
    assert (report["code"], report["visible"]) == (0, "new")
    assert report["struck"]
    assert report["unwritten_attempts"] > 0


def test_a_shard_without_its_checkpoint_is_computed_again(
    reports: dict[str, dict[str, Any]],
) -> None:
    report = reports["killed between shard and checkpoint"]
    assert (report["code"], report["visible"]) == (-9, "old")
    assert report["finished"] < 3
    assert report["problems"] == []
