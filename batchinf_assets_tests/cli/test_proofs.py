"""`replay`: the same rows again, or an exit code that says not; `verify` is in test_windows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from batchinf_assets.project import Project

FIRST, NEXT = "2013-07-01", "2013-07-02"


def test_published_windows_come_out_the_same_again(
    fine: Callable[..., str], project: Project
) -> None:
    fine("backfill", "run", "flight_delays", "--from", FIRST, "--to", NEXT)
    before = {path: path.stat().st_mtime_ns for path in _files(project)}
    told = fine("replay", "flight_delays", "--all")
    assert told.endswith("2 of 2 windows came out the same.\n")
    assert f"{FIRST}: same 966 rows" in told
    assert told.count("same bytes, features rebuilt.") == 2
    assert {path: path.stat().st_mtime_ns for path in _files(project)} == before
    (one,) = json.loads(fine("replay", "flight_delays", NEXT, "--json"))
    assert (one["window"], one["same_rows"], one["same_bytes"]) == (NEXT, True, True)
    assert one["published_digest"] == one["replayed_digest"]
    assert len(one["published_digest"]) == 64


def test_a_window_that_was_never_published_cannot_be_replayed(
    refused: Callable[..., str],
) -> None:
    assert "Nothing is published for window 2013-07-01" in refused("replay", "flight_delays", FIRST)


def test_replay_wants_to_know_which_windows(
    refused: Callable[..., str], batchinf: Callable[..., Result]
) -> None:
    assert "replay needs one window or --all" in refused("replay", "flight_delays", code=2)
    assert "Nothing of flight_delays is published" in refused(
        "replay", "flight_delays", "--all", code=2
    )
    assert batchinf("replay", "nobody", "--all").exit_code == 2


def _files(project: Project) -> list[Path]:
    return sorted(path for path in Path(str(project.lake)).rglob("*.parquet") if path.is_file())
