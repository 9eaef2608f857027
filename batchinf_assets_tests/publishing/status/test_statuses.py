"""What is said of a window at each point of its way, and after each way to fail."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from batchinf_assets.attempts import attempting, lease_place, recorder_of
from batchinf_assets.errors import LandedFileMissing
from batchinf_assets.evaluation.golden.golden_set import golden_set_in_force
from batchinf_assets.features.build import build_features
from batchinf_assets.publishing.status.statuses import pipeline_status
from batchinf_assets.scoring.predictions import checkpoints_of
from batchinf_assets.snapshots.freeze import snapshot_table

if TYPE_CHECKING:
    from batchinf_assets.manifest.judgement import GoldenSetRecord
    from batchinf_assets.publishing.status.window_status import WindowStatus
    from batchinf_assets_tests.publishing.desk import Desk


def statuses(
    desk: Desk,
    *,
    refused: str | None = None,
    no_model: str | None = None,
    golden: GoldenSetRecord | None = None,
    later: timedelta = timedelta(0),
) -> list[WindowStatus]:
    now = datetime.now(UTC) + later
    given = {desk.window.key: refused} if refused else {}
    return pipeline_status(desk.project, desk.spec, given, no_model, now=now, golden=golden)


def status(
    desk: Desk,
    *,
    refused: str | None = None,
    no_model: str | None = None,
    golden: GoldenSetRecord | None = None,
) -> WindowStatus:
    (only,) = statuses(desk, refused=refused, no_model=no_model, golden=golden)
    assert only.window == desk.window.key
    return only


def test_a_lake_where_nothing_ran_has_no_windows(desk: Desk) -> None:
    shutil.rmtree(desk.project.lake / desk.spec.name)
    shutil.rmtree(desk.project.lake / "_ledger", ignore_errors=True)
    assert statuses(desk) == []


def test_a_scored_window_has_a_pending_revision_and_lacks_no_shard(desk: Desk) -> None:
    revision, found = desk.draft().revision, status(desk)
    assert (found.state, found.revision, found.revisions) == ("scored", None, 0)
    assert found.pending is not None
    assert (found.pending.revision, found.pending.shards, found.pending.missing) == (revision, 1, 0)
    assert found.held_back == f"Revision {revision} awaits publishing."
    assert (found.last_failure, found.held_by) == (None, None)


def test_a_published_window_shows_its_revision_and_nothing_pending(desk: Desk) -> None:
    manifest = desk.publish().manifest
    found = status(desk)
    assert (found.state, found.revision, found.rows) == ("published", manifest.revision, 737)
    assert (found.revisions, found.model, found.performance) == (1, "flight_delays v1", False)
    assert (found.pending, found.held_back) == (None, None)


def test_a_published_window_tells_whether_the_golden_set_of_now_evaluated_it(desk: Desk) -> None:
    now = golden_set_in_force(desk.project, desk.spec)
    assert status(desk, golden=now).golden_set is None  # nothing is published yet
    desk.publish()
    other = now.model_copy(update={"sha256": "0" * 64})
    found = [status(desk, golden=each).golden_set for each in (now, other, None)]
    assert found == ["in force", "other", None]
    evaluation = desk.published().evaluation
    assert evaluation is not None
    desk.remanifest(evaluation=evaluation.model_copy(update={"golden_set": None}))
    assert status(desk, golden=now).golden_set == "unknown"


def test_a_correction_is_pending_beside_what_is_published(desk: Desk) -> None:
    old = desk.publish().manifest.revision
    desk.correct(lambda rows: rows.slice(1))
    new = desk.prepare("the correction").revision
    found = status(desk)
    assert (found.state, found.revision, found.rows) == ("published", old, 737)
    assert found.pending is not None
    assert found.pending.revision == new


def test_shards_that_no_attempt_finished_are_counted_by_the_features_of_now(desk: Desk) -> None:
    revision = desk.draft().revision
    desk.store.drop_draft(desk.window)
    checkpoint = checkpoints_of(desk.project, desk.spec, desk.window, revision).folder
    pending = status(desk).pending
    assert pending is not None
    assert (pending.shards, pending.missing) == (1, 0)
    assert str(pending) == f"Revision {revision} is scored and not published."
    (checkpoint / "00001.json").write_bytes(b"{}")  # as of more features than there are now
    found = status(desk)
    assert (found.state, found.pending and found.pending.missing) == ("features ready", None)
    assert str(found.pending) == f"Revision {revision} was begun."
    shutil.rmtree(desk.project.lake / desk.spec.name / "features")
    pending = status(desk).pending
    assert pending is not None
    assert (pending.shards, pending.missing) == (None, None)


def test_what_an_attempt_began_says_how_much_is_missing(desk: Desk) -> None:
    revision = desk.draft().revision
    desk.store.drop_draft(desk.window)
    small = replace(desk.pipeline, spec=desk.spec.model_copy(update={"shard_rows": 100}))
    build_features(desk.project, small, desk.window)
    found = status(replace(desk, pipeline=small))
    assert str(found.pending) == f"Revision {revision} lacks 7 of 8 shards."


def test_the_last_failure_is_told_with_its_reason_and_forgotten_after_a_success(desk: Desk) -> None:
    window = desk.window

    def attempt(run_id: str, error: Exception | None = None) -> None:
        with attempting(desk.project, desk.spec, window, run_id=run_id, stage="snapshot"):
            if error:
                raise error

    missing = LandedFileMissing("The file has not landed.", next_step="Wait for it.")
    with pytest.raises(LandedFileMissing):
        attempt("a run", missing)
    assert recorder_of(desk.project).flush(10) == 0
    found = status(desk)
    assert found.last_failure is not None
    assert found.last_failure.state == "failed"
    assert found.last_failure.reason_code == "landed_file_missing"
    assert (found.last_failure.run_id, found.last_failure.stage) == ("a run", "snapshot")
    assert found.held_back == found.last_failure.reason
    assert "The file has not landed." in str(found.held_back)
    attempt("another run")
    assert recorder_of(desk.project).flush(10) == 0
    assert status(desk).last_failure is None


def test_a_window_of_which_only_a_failure_is_known_is_listed(desk: Desk) -> None:
    other = desk.spec.window.window("2013-07-05")
    with (
        pytest.raises(LandedFileMissing),
        attempting(desk.project, desk.spec, other, run_id="a run", stage="snapshot"),
    ):
        raise LandedFileMissing("It has not landed.", next_step="Wait.")
    assert recorder_of(desk.project).flush(10) == 0
    assert [(each.window, each.state) for each in statuses(desk)] == [
        (desk.window.key, "scored"),
        (other.key, "failed"),
    ]


def test_who_works_on_a_window_is_told_while_it_does(desk: Desk) -> None:
    other = desk.spec.window.window("2013-07-05")
    with attempting(desk.project, desk.spec, other, run_id="a run", stage="snapshot"):
        _, found = statuses(desk)
        assert (found.window, found.state) == (other.key, "started")
        assert found.held_by is not None
        assert (found.held_by.run_id, found.held_by.stage) == ("a run", "snapshot")
        assert str(found.held_by).endswith("works on it (snapshot).")
        assert len(statuses(desk, later=timedelta(hours=1))) == 1  # its beats have stopped by then
    assert lease_place(desk.project, desk.spec, other).is_file()
    assert [each.held_by for each in statuses(desk)] == [None]


def test_a_refusal_in_dagster_comes_before_what_the_ledger_says(desk: Desk) -> None:
    assert status(desk, refused="The gate said no.").held_back == "The gate said no."


def test_windows_with_features_wait_for_a_model(desk: Desk) -> None:
    desk.store.drop_draft(desk.window)
    found = status(desk, no_model="Nobody promoted one.")
    assert (found.state, found.held_back) == ("features ready", "Nobody promoted one.")


def test_damage_to_one_window_is_told_and_hides_no_other(desk: Desk) -> None:
    desk.publish()
    window = desk.spec.window.window("2013-07-05")
    snapshot = snapshot_table(desk.project, desk.spec)
    rows = snapshot.read(desk.window)
    assert isinstance(rows, pa.Table)
    snapshot.keep(window, "a", rows, {})
    desk.store.path(desk.window, desk.visible() or "").unlink()
    lease_place(desk.project, desk.spec, window).write_bytes(b"{")
    first, second = statuses(desk)
    assert (first.state, first.revision) == ("published", desk.visible())
    assert "has no manifest" in str(first.held_back)
    assert (second.window, second.state) == (window.key, "snapshot taken")
    assert "is no lease" in str(second.held_back)


def test_a_window_that_is_no_longer_declared_is_told_as_such(desk: Desk) -> None:
    revision = desk.publish().manifest.revision
    window = desk.spec.window.model_copy(update={"start": desk.window.end.date()})
    spec = desk.spec.model_copy(update={"window": window})
    (found,) = pipeline_status(desk.project, spec, {}, now=datetime.now(UTC))
    assert (found.window, found.state, found.revision) == (desk.window.key, "published", revision)
    assert desk.window.key in str(found.held_back)


def test_a_landed_file_that_was_removed_after_it_was_frozen_is_named(desk: Desk) -> None:
    desk.publish()
    key, now = desk.window.key, datetime.now(UTC)

    def gone(landed: set[str] | None) -> str | None:
        (found,) = pipeline_status(desk.project, desk.spec, {}, now=now, landed=landed)
        assert found.state == "published"
        return found.source_gone

    assert gone({"2013-01-01"}) == f"flights/{key}.parquet"
    assert gone({key}) is None
    assert gone(None) is None  # nobody knows
