"""The table of changed scores: whole for every step between revisions, whatever died when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from batchinf_assets.errors import LostRace, ManifestInvalid
from batchinf_assets.publishing.score_changes import (
    ScoreChanges,
    keep_score_changes,
    score_changes_table,
)
from batchinf_assets_tests.publishing.conftest import Held

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.conftest import Desk


HELD = Held()


def kept(desk: Desk, lease: Held = HELD) -> ScoreChanges | None:
    return keep_score_changes(desk.project, desk.spec, desk.window, lease=lease)


def changed_scores(desk: Desk) -> pa.Table:
    folder = score_changes_table(desk.project, desk.spec).folder
    return DeltaTable(str(folder)).to_pyarrow_table()


def publish_without(desk: Desk, rows: int) -> str:
    """Land the window again without some rows, and publish it."""
    desk.correct(lambda landed: landed.slice(rows))
    desk.prepare()
    return desk.publish().manifest.revision


def test_the_first_revision_changes_no_scores(desk: Desk) -> None:
    desk.publish()
    assert kept(desk) is None
    assert not score_changes_table(desk.project, desk.spec).folder.exists()


def test_before_anything_is_published_nothing_changes(desk: Desk) -> None:
    assert kept(desk) is None


def test_removed_rows_have_no_score_after(desk: Desk) -> None:
    first = desk.publish().manifest.revision
    second = publish_without(desk, 2)
    assert kept(desk) == ScoreChanges(revision=second, supersedes=first, rows=2)
    rows = changed_scores(desk)
    assert rows.column("score_after").null_count == 2
    assert rows.column("score_before").null_count == 0


def test_added_rows_have_no_score_before(desk: Desk) -> None:
    desk.publish()
    landed: list[pa.Table] = []
    desk.correct(lambda rows: landed.append(rows) or rows.slice(2))
    desk.prepare()
    desk.publish()
    kept(desk)
    desk.correct(lambda _: landed[0])
    desk.prepare()
    back = desk.publish().manifest.revision
    assert kept(desk) is not None
    rows = changed_scores(desk)
    rows = rows.filter(pc.equal(rows.column("revision"), back))
    assert (rows.num_rows, rows.column("score_before").null_count) == (2, 2)
    assert rows.column("score_after").null_count == 0


def test_a_run_that_died_after_publishing_leaves_the_rows_to_the_next(desk: Desk) -> None:
    desk.publish()
    publish_without(desk, 3)
    assert not desk.publish().changed
    found = kept(desk)
    assert found is not None
    assert found.rows == changed_scores(desk).num_rows == 3


def test_a_step_is_written_once(desk: Desk) -> None:
    desk.publish()
    publish_without(desk, 2)
    table = score_changes_table(desk.project, desk.spec)
    first = kept(desk)
    commits = DeltaTable(str(table.folder)).version()
    assert kept(desk, Held(lost=True)) == first
    assert DeltaTable(str(table.folder)).version() == commits


def test_earlier_steps_stay(desk: Desk) -> None:
    desk.publish()
    for rows in (1, 2):
        publish_without(desk, rows)
        kept(desk)
    assert sorted(
        changed_scores(desk)
        .group_by("revision")
        .aggregate([([], "count_all")])["count_all"]
        .to_pylist()
    ) == [1, 2]


def test_where_the_files_of_then_are_gone_it_says_so(desk: Desk) -> None:
    first = desk.publish().manifest.revision
    second = publish_without(desk, 2)
    desk.output(first).unlink()
    assert kept(desk) == ScoreChanges(
        revision=second,
        supersedes=first,
        rows=None,
        problem=f"The files of revision {first} are gone or damaged.",
    )


def test_damaged_files_of_now_are_refused(desk: Desk) -> None:
    desk.publish()
    second = publish_without(desk, 2)
    content = bytearray(desk.output(second).read_bytes())
    content[100] ^= 1
    desk.output(second).write_bytes(bytes(content))
    with pytest.raises(ManifestInvalid, match=second):
        kept(desk)


def test_who_lost_the_window_commits_nothing(desk: Desk) -> None:
    desk.publish()
    publish_without(desk, 2)
    with pytest.raises(LostRace):
        kept(desk, Held(lost=True))
    assert score_changes_table(desk.project, desk.spec).files() == {}
