"""The command `maintain`: what it prints is what it does, and with `--dry-run` it does nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import manifests
from batchinf_assets.spec.load import Pipeline

WINDOW = "2013-07-01"

Run = Callable[..., Result]
Told = Callable[..., str]


@pytest.fixture
def leftover(project: Project) -> Path:
    """A write that did not end three days ago."""
    path = project.lake / "flight_delays" / "features" / ".a.parquet.17-18.tmp"
    assert isinstance(path, Path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"four")
    then = time.time() - 3 * 86_400
    os.utime(path, (then, then))
    return path


def test_where_there_is_nothing_to_remove_it_says_so(fine: Told) -> None:
    assert fine("maintain", "flight_delays") == "flight_delays: 0 files removed, 0 bytes.\n"


def test_a_dry_run_says_what_would_go_and_removes_nothing(fine: Told, leftover: Path) -> None:
    told = fine("maintain", "flight_delays", "--dry-run")
    assert "flight_delays: 1 file would be removed, 4 bytes" in told
    assert "its write did not end" in told
    assert leftover.is_file()
    document = json.loads(fine("maintain", "flight_delays", "--dry-run", "--json"))
    assert document == {
        "dry_run": True,
        "files": 1,
        "bytes": 4,
        "removals": [
            {
                "what": "temporary file",
                "window": None,
                "path": "flight_delays/features/.a.parquet.17-18.tmp",
                "bytes": 4,
                "days_old": 3,
                "why": "its write did not end",
            }
        ],
        "tasks": [],
        "left_alone": [],
    }
    assert leftover.is_file()


def test_what_a_dry_run_named_is_removed(fine: Told, leftover: Path) -> None:
    told = fine("maintain", "flight_delays")
    assert "flight_delays: 1 file removed, 4 bytes" in told
    assert not leftover.exists()
    assert fine("maintain", "flight_delays") == "flight_delays: 0 files removed, 0 bytes.\n"


def test_of_a_published_window_checkpoints_go_and_it_verifies(fine: Told) -> None:
    fine("run", "flight_delays", WINDOW)
    document = json.loads(fine("maintain", "flight_delays", "--keep-days", "0", "--json"))
    assert {(each["what"], each["window"]) for each in document["removals"]} == {
        ("checkpoint", WINDOW)
    }
    assert fine("verify", "flight_delays", WINDOW).startswith("1 of 1 windows verify.")


def test_a_window_that_something_is_wrong_with_is_named_and_left_alone(
    batchinf: Run, project: Project, pipeline: Pipeline, leftover: Path
) -> None:
    window = pipeline.spec.window.window(WINDOW)
    path = manifests(project, pipeline.spec).path(window, "0" * 16)
    assert isinstance(path, Path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{")
    result = batchinf("maintain", "flight_delays")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"batchinf: {WINDOW}: ")
    assert "is no manifest" in line
    assert path.is_file()
    assert not leftover.exists()


@pytest.mark.parametrize("days", ["-1", "a", "36501"])
def test_days_to_keep_are_a_number_that_makes_sense(batchinf: Run, days: str) -> None:
    assert batchinf("maintain", "flight_delays", f"--keep-days={days}").exit_code == 2
