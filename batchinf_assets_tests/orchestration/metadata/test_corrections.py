"""What the assets show of corrected data."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from batchinf_assets.lake.row_groups import write_row_groups
from batchinf_assets.manifest.work import ChangesRecord
from batchinf_assets.orchestration.metadata.corrections import (
    correction_metadata,
    score_changes_metadata,
    snapshot_changes_metadata,
)
from batchinf_assets.orchestration.metadata.results import Metadata
from batchinf_assets.publishing.score_changes import ScoreChanges

REVISION, BEFORE = "f" * 16, "0" * 16


def shown(metadata: Metadata) -> dict[str, object]:
    return {name: value.value for name, value in metadata.items()}


def snapshot(path: Path, delays: dict[int, float]) -> Path:
    rows = pa.table({"flight": list(delays), "delay": list(delays.values())})
    write_row_groups(path, rows.schema, [rows])
    return path


def test_a_new_snapshot_shows_what_it_changed_with_the_first_keys(tmp_path: Path) -> None:
    before = snapshot(tmp_path / "before.parquet", {1: 0.0, 2: 0.0, 3: 0.0})
    after = snapshot(tmp_path / "after.parquet", {2: 5.0, 3: 0.0, 4: 0.0})
    assert shown(snapshot_changes_metadata([before], after, ["flight"])) == {
        "rows_added": 1,
        "rows_changed": 1,
        "rows_removed": 1,
        "rows_unchanged": 1,
        "first_added": ["flight=4"],
        "first_changed": ["flight=2"],
        "first_removed": ["flight=1"],
    }


def test_the_first_and_the_same_snapshot_show_no_changes(tmp_path: Path) -> None:
    place = snapshot(tmp_path / "rows.parquet", {1: 0.0})
    assert snapshot_changes_metadata([], place, ["flight"]) == {}
    assert snapshot_changes_metadata([place], place, ["flight"]) == {}


def test_changes_to_a_damaged_snapshot_are_unknown_and_not_none(tmp_path: Path) -> None:
    before, after = tmp_path / "before.parquet", snapshot(tmp_path / "after.parquet", {1: 0.0})
    before.write_bytes(b"no Parquet")
    found = shown(snapshot_changes_metadata([before], after, ["flight"]))
    assert found == {"rows_changed": "unknown"}


def test_a_correction_shows_how_many_rows_kept_their_score() -> None:
    changes = ChangesRecord(supersedes=BEFORE, carried_from=BEFORE, carried=97, scored_again=3)
    assert shown(correction_metadata(changes)) == {
        "supersedes": BEFORE,
        "rows_carried": 97,
        "rows_scored_again": 3,
    }


def test_a_correction_that_carries_nothing_says_why() -> None:
    changes = ChangesRecord(supersedes=BEFORE, reason="most rows changed", scored_again=100)
    assert shown(correction_metadata(changes))["all_scored_because"] == "most rows changed"


def test_a_first_revision_corrects_nothing() -> None:
    assert correction_metadata(ChangesRecord()) == correction_metadata(None) == {}
    assert score_changes_metadata(None) == {}


def test_scores_that_cannot_be_compared_say_why() -> None:
    known = ScoreChanges(revision=REVISION, supersedes=BEFORE, rows=4)
    assert shown(score_changes_metadata(known)) == {"supersedes": BEFORE, "scores_changed": 4}
    gone = ScoreChanges(revision=REVISION, supersedes=BEFORE, rows=None, problem="Files are gone.")
    assert shown(score_changes_metadata(gone))["scores_changed"] == "Files are gone."
