"""The table of changed scores: whole for every step between revisions, whatever died when."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from batchinf_assets.attempts import attempting
from batchinf_assets.errors import LostRace, ManifestInvalid
from batchinf_assets.evaluation.evaluate import evaluate_window
from batchinf_assets.features.build import build_features
from batchinf_assets.publishing.score_changes import (
    ScoreChanges,
    keep_score_changes,
    score_changes_table,
)
from batchinf_assets.publishing.visible import visible_revision
from batchinf_assets.scoring.score import score_window
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets_tests.publishing.desk import NOW, Held

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.desk import Desk


HELD = Held()


def kept(desk: Desk, lease: Held = HELD) -> ScoreChanges | None:
    return keep_score_changes(desk.project, desk.spec, desk.window, lease=lease)


def changed_scores(desk: Desk) -> pa.Table:
    folder = score_changes_table(desk.project, desk.spec).folder
    return DeltaTable(str(folder)).to_pyarrow_table()


def version(desk: Desk) -> int:
    """Count the commits of the table."""
    return DeltaTable(str(score_changes_table(desk.project, desk.spec).folder)).version()


def steps(desk: Desk) -> dict[tuple[str, str], int]:
    """Return the rows of each step that the table shows, also of one without rows."""
    table = score_changes_table(desk.project, desk.spec)
    names = [path.stem.split("-") for path in table.files_of(desk.window)]
    rows = changed_scores(desk)
    found: dict[tuple[str, str], int] = {}
    for supersedes, revision in names:
        of_step = pc.and_(
            pc.equal(rows.column("supersedes"), supersedes),
            pc.equal(rows.column("revision"), revision),
        )
        found[supersedes, revision] = rows.filter(of_step).num_rows
    return found


def publish_without(desk: Desk, rows: int) -> str:
    """Land the window again without some rows, and publish it."""
    desk.correct(lambda landed: landed.slice(rows))
    desk.prepare()
    return desk.publish().manifest.revision


def publish_correction(desk: Desk, rows: int) -> str:
    """Do as `publish_without`, with a manifest that names what it supersedes, as a run's does."""
    project, spec, window = desk.project, desk.spec, desk.window
    desk.correct(lambda landed: landed.slice(rows))
    superseded = visible_revision(project, desk.registry, spec, window)
    freeze_snapshot(project, spec, window)
    build_features(project, desk.pipeline, window)
    with attempting(project, spec, window, run_id="run", stage="predictions") as attempt:
        score_window(
            project,
            desk.pipeline,
            window,
            desk.model,
            attempt=attempt,
            now=NOW,
            superseded=superseded,
        )
    evaluate_window(project, spec, window, desk.model)
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
    first = kept(desk)
    commits = version(desk)
    assert kept(desk, Held(lost=True)) == first
    assert version(desk) == commits


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


def test_a_step_that_a_run_left_out_is_written_with_the_next(desk: Desk) -> None:
    first = desk.publish().manifest.revision
    second = publish_without(desk, 1)
    third = publish_without(desk, 2)
    left_out = ScoreChanges(revision=second, supersedes=first, rows=1)
    last = ScoreChanges(revision=third, supersedes=second, rows=2)
    assert kept(desk) == replace(last, earlier=(left_out,))
    assert steps(desk) == {(first, second): 1, (second, third): 2}
    rows, commits = changed_scores(desk), version(desk)
    assert kept(desk, Held(lost=True)) == last
    assert (changed_scores(desk), version(desk)) == (rows, commits)


def test_all_steps_that_were_left_out_come_in_one_commit(desk: Desk) -> None:
    revisions = [desk.publish().manifest.revision, publish_without(desk, 1)]
    kept(desk)
    commits = version(desk)
    revisions += [publish_without(desk, rows) for rows in (2, 3)]
    found = kept(desk)
    assert found is not None
    assert [step.revision for step in found.earlier] == revisions[2:3]
    assert list(steps(desk).values()).count(0) == 0
    assert steps(desk).keys() == set(pairwise(revisions))
    assert version(desk) == commits + 1


def test_a_step_back_that_was_left_out_is_written_though_the_step_after_it_is_known(
    desk: Desk,
) -> None:
    """Data corrected back and forth publishes the same revisions, and the same step, again."""
    first, landed = desk.publish().manifest.revision, desk.source.read_bytes()
    second = publish_without(desk, 2)
    kept(desk)
    desk.source.write_bytes(landed)
    desk.prepare()
    assert desk.publish().manifest.revision == first
    assert publish_without(desk, 2) == second
    back = ScoreChanges(revision=first, supersedes=second, rows=2)
    forth = ScoreChanges(revision=second, supersedes=first, rows=2, earlier=(back,))
    assert kept(desk) == forth
    assert steps(desk) == {(first, second): 2, (second, first): 2}
    commits = version(desk)
    assert kept(desk) == replace(forth, earlier=())
    assert version(desk) == commits


def test_a_step_there_that_was_left_out_is_written_with_the_step_back(desk: Desk) -> None:
    first, landed = desk.publish().manifest.revision, desk.source.read_bytes()
    second = publish_correction(desk, 2)
    desk.source.write_bytes(landed)
    desk.prepare()
    desk.publish()
    kept(desk)
    assert steps(desk) == {(first, second): 2, (second, first): 2}


def test_an_older_step_whose_files_are_gone_is_named_and_the_others_written(desk: Desk) -> None:
    first = desk.publish().manifest.revision
    second, third = publish_without(desk, 1), publish_without(desk, 2)
    desk.output(first).unlink()
    problem = f"The files of revision {first} are gone or damaged."
    lost = ScoreChanges(revision=second, supersedes=first, rows=None, problem=problem)
    found = kept(desk)
    assert found == ScoreChanges(revision=third, supersedes=second, rows=2, earlier=(lost,))
    assert steps(desk) == {(second, third): 2}


def test_damaged_files_in_between_stop_no_other_step(desk: Desk) -> None:
    revisions = [desk.publish().manifest.revision]
    revisions += [publish_without(desk, rows) for rows in (1, 2, 3)]
    desk.output(revisions[1]).unlink()
    found = kept(desk)
    assert found is not None
    assert [step.rows for step in found.earlier] == [None, None]
    for step in found.earlier:
        assert step.problem is not None
        assert f"revision {revisions[1]}" in step.problem
    assert steps(desk).keys() == set(pairwise(revisions[2:]))


def test_where_the_key_was_another_nothing_is_compared(desk: Desk) -> None:
    first = desk.publish().manifest.revision
    second = publish_without(desk, 2)
    source = desk.spec.source.model_copy(update={"key": (*desk.spec.source.key, "tail_number")})
    spec = desk.spec.model_copy(update={"source": source})
    found = keep_score_changes(desk.project, spec, desk.window, lease=HELD)
    assert found is not None
    assert (found.supersedes, found.revision, found.rows) == (first, second, None)
    assert found.problem is not None
    assert "other columns" in found.problem


def test_who_lost_the_window_makes_up_for_nothing(desk: Desk) -> None:
    desk.publish()
    publish_without(desk, 1)
    publish_without(desk, 2)
    with pytest.raises(LostRace):
        kept(desk, Held(lost=True))
    assert score_changes_table(desk.project, desk.spec).files() == {}
    found = kept(desk)
    assert found is not None
    assert len(found.earlier) == 1
