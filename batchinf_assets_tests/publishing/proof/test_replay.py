"""Replay: the same inputs give the same rows and bytes, and what is not as it was is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import ManifestInvalid, ModelRefused, Refusal, WindowMissing
from batchinf_assets.lake.digest import content_digest
from batchinf_assets.publishing.proof.past_declaration import NotReplayable
from batchinf_assets.publishing.proof.replay import Replay, replay_window
from batchinf_assets.snapshots.freeze import freeze_snapshot, frozen_rows
from batchinf_assets.spec.load import Pipeline

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World
    from batchinf_assets_tests.publishing.desk import Desk

ROWS = 737
SHARD_ROWS = 200


@pytest.fixture
def published(desk: Desk) -> Desk:
    desk.publish()
    return desk


@pytest.fixture
def rewritten(pipeline: Pipeline, tmp_path: Path) -> Callable[..., Pipeline]:
    """The pipeline with something else in one of its files."""

    def of(old: str, new: str, file: str = "features.sql", **changes: object) -> Pipeline:
        folder = tmp_path / "defs" / pipeline.name
        shutil.copytree(pipeline.folder, folder, dirs_exist_ok=True)
        text = (pipeline.folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))
        return Pipeline(pipeline.spec.model_copy(update=changes), folder)

    return of


def replay(desk: Desk) -> Replay:
    return replay_window(desk.project, desk.registry, desk.pipeline, desk.window)


def doubled(rows: pa.Table, name: str) -> pa.Table:
    place, column = rows.column_names.index(name), rows.column(name)
    return rows.set_column(place, rows.field(place), pc.add(column, column))


def lake_files(desk: Desk) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in desk.project.lake.rglob("*")}


def test_a_published_window_comes_out_again_byte_by_byte(published: Desk) -> None:
    found = replay(published)
    assert (found.same_rows, found.same_bytes, found.features) == (True, True, "rebuilt")
    assert found.notes == ()
    assert (found.window, found.revision) == ("2013-07-04", published.visible())
    assert found.rows == ROWS
    rows = published.rows().drop_columns("window")
    assert found.published_digest == found.replayed_digest
    assert found.published_digest == content_digest(rows, published.spec.source.key)


def test_a_replay_only_reads_the_lake_and_tidies_up(published: Desk, tmp_path: Path) -> None:
    before, scratch = lake_files(published), tmp_path / "scratch"
    scratch.mkdir()
    replay_window(
        published.project,
        published.registry,
        published.pipeline,
        published.window,
        scratch=scratch,
    )
    assert lake_files(published) == before
    assert list(scratch.iterdir()) == []


def test_every_shard_comes_out_again_whatever_is_declared_now(desk: Desk) -> None:
    spec = desk.spec.model_copy(update={"shard_rows": SHARD_ROWS})
    small = replace(desk, pipeline=Pipeline(spec, desk.pipeline.folder))
    small.prepare()
    published = small.publish().manifest
    assert len(published.outputs) == -(-ROWS // SHARD_ROWS)
    found = replay(desk)
    assert (found.same_rows, found.same_bytes, found.features) == (True, True, "rebuilt")


def test_outcomes_that_landed_since_were_not_known_then(published: Desk, world: World) -> None:
    outcomes = published.project.landing / "outcomes"
    outcomes.mkdir()
    shutil.copy2(world.landing / "outcomes" / "2013-07-03.parquet", outcomes)
    found = replay(published)
    assert (found.same_bytes, found.features, found.notes) == (True, "rebuilt", ())


def test_rows_that_were_corrected_since_are_not_used(published: Desk) -> None:
    before, revision = published.published(), published.visible()
    published.correct(lambda rows: rows.slice(1))
    published.prepare()
    assert published.draft().snapshot.digest != before.snapshot.digest
    found = replay(published)
    assert (found.same_bytes, found.features, found.revision) == (True, "rebuilt", revision)
    assert found.rows == ROWS


def test_kept_features_are_scored_where_a_landed_file_changed(published: Desk) -> None:
    weather = published.project.landing / "weather.parquet"
    pq.write_table(pq.read_table(weather).slice(1), weather)
    found = replay(published)
    assert (found.same_rows, found.same_bytes, found.features) == (True, True, "frozen")
    assert found.notes == ("Landed file weather.parquet is another one than was read then.",)


def test_kept_features_are_scored_where_a_landed_file_is_gone(published: Desk) -> None:
    (published.project.landing / "planes.parquet").unlink()
    found = replay(published)
    assert (found.same_bytes, found.features) == (True, "frozen")
    assert found.notes == ("Landed file planes.parquet is gone.",)


def test_features_are_made_by_the_definition_of_then(
    published: Desk, rewritten: Callable[..., Pipeline]
) -> None:
    later = rewritten("w.wind_speed,", "w.wind_speed + 1 AS wind_speed,")
    found = replay(replace(published, pipeline=later))
    assert (found.same_bytes, found.features, found.notes) == (True, "rebuilt", ())


@pytest.mark.parametrize("damage", ["deleted", "other", "torn"])
def test_kept_features_are_scored_where_their_definition_is_gone(
    published: Desk, rewritten: Callable[..., Pipeline], damage: str
) -> None:
    later = rewritten("w.wind_speed,", "w.wind_speed + 1 AS wind_speed,")
    (kept,) = (published.project.lake / published.pipeline.name / "_definitions").iterdir()
    if damage == "deleted":
        kept.unlink()
    elif damage == "other":
        kept.write_bytes(kept.read_bytes().replace(b"w.pressure", b"w.humidity AS pressure"))
    else:
        kept.write_bytes(kept.read_bytes()[:100])
    found = replay(replace(published, pipeline=later))
    assert (found.same_bytes, found.features) == (True, "frozen")
    assert found.notes == ("The feature definition of then was not kept.",)


def test_inputs_that_do_not_give_what_was_published_are_found_out(published: Desk) -> None:
    """Whoever has a key signs that other rows were scored."""
    published.correct(lambda rows: doubled(rows, "distance"))
    snapshot = freeze_snapshot(published.project, published.spec, published.window)
    published.sign_again(snapshot=snapshot.record)
    found = replay(published)
    assert (found.same_rows, found.same_bytes, found.features) == (False, False, "rebuilt")
    assert found.notes == ("Other features came out.",)
    assert found.published_digest != found.replayed_digest
    assert found.rows == ROWS


def test_kept_features_are_scored_where_the_snapshot_is_gone(published: Desk) -> None:
    record = published.published().snapshot
    frozen_rows(published.project, published.spec, published.window, record).place.unlink()
    found = replay(published)
    assert (found.same_bytes, found.features) == (True, "frozen")
    assert found.notes == ("The snapshot of then is gone or damaged.",)


@pytest.mark.parametrize("damage", ["deleted", "other rows"])
def test_without_the_inputs_of_then_nothing_is_replayed(published: Desk, damage: str) -> None:
    tables = published.project.lake / published.pipeline.name
    shutil.rmtree(tables / "snapshot")
    (features,) = (tables / "features").rglob("*.parquet")
    if damage == "deleted":
        features.unlink()
    else:
        pq.write_table(pq.read_table(features).slice(1), features)
    with pytest.raises(ManifestInvalid, match=features.name):
        replay(published)


def test_published_rows_that_changed_are_told_from_those_that_come_out(published: Desk) -> None:
    output = published.output(published.visible() or "")
    rows = pq.read_table(output)
    score = rows.column_names.index("delay_probability")
    other = pa.array([0.5] * rows.num_rows)
    pq.write_table(rows.set_column(score, rows.field(score), other), output)
    found = replay(published)
    assert (found.same_rows, found.same_bytes) == (False, True)
    assert ["bytes changed" in note for note in found.notes] == [True]


def test_other_code_and_libraries_are_said(published: Desk) -> None:
    code = published.published().code
    libraries = {**code.libraries, "numpy": "1.0"}
    commit = "c" * 40
    published.sign_again(
        code=code.model_copy(update={"source": "e", "libraries": libraries, "commit": commit})
    )
    found = replay(published)
    assert found.same_bytes
    assert found.notes == (
        f"It was scored by other code of commit {commit}.",
        f"It was scored with numpy 1.0, not {code.libraries['numpy']}.",
    )


def test_another_postprocessing_cannot_be_replayed(
    published: Desk, rewritten: Callable[..., Pipeline]
) -> None:
    later = rewritten("0.4", "0.3", file="postprocess.sql")
    with pytest.raises(NotReplayable, match="Post-processing of flight_delays was another one"):
        replay(replace(published, pipeline=later))


def test_a_model_that_is_not_what_was_signed_is_refused(published: Desk) -> None:
    (model,) = (published.project.lake / "_models").rglob("model.skops")
    model.write_bytes(model.read_bytes() + b"x")
    with pytest.raises(ModelRefused) as refusal:
        replay(published)
    assert refusal.value.reason is Refusal.CHANGED_FILE


def test_a_model_is_found_by_the_manifest_and_not_by_the_registry(published: Desk) -> None:
    shutil.rmtree(published.project.lake / "_registry")
    assert replay(published).same_bytes


def test_an_unsigned_manifest_is_not_replayed(published: Desk) -> None:
    published.signature().unlink()
    with pytest.raises(ManifestInvalid, match="not signed"):
        replay(published)


def test_nothing_published_is_nothing_to_replay(desk: Desk) -> None:
    with pytest.raises(WindowMissing, match="Nothing is published for window 2013-07-04"):
        replay(desk)
