"""A window whose source lands again: what changed is scored, all else stays as it was published."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from deltalake import DeltaTable

from batchinf_assets.cli import main
from batchinf_assets.features.build import made_rows
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.work import ChangesRecord
from batchinf_assets.project import Project
from batchinf_assets.publishing.proof.replay import replay_window
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.score_changes import score_changes_table
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.predictions import manifests, predictions_table, published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window
from batchinf_assets_tests.resilience.window_run import (
    DAY,
    project_at,
    run_window,
    small_pipeline,
    visible_rows,
)

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

SHARE = 0.03


@dataclass(frozen=True)
class Corrected:
    """A published day of flights, and whoever lands it again."""

    project: Project
    pipeline: Pipeline

    @property
    def window(self) -> Window:
        return self.pipeline.spec.window.window(DAY)

    @property
    def registry(self) -> Registry:
        return Registry.at(self.project, {})

    @property
    def key(self) -> list[str]:
        return list(self.pipeline.spec.source.key)

    def run(self, run_id: str) -> Manifest:
        run_window(self.project, self.pipeline, self.window, run_id)
        return self.published()

    def published(self) -> Manifest:
        revision = published_revision(self.project, self.pipeline.spec, self.window)
        assert revision is not None
        return manifests(self.project, self.pipeline.spec).read(self.window, revision)

    def land(self, change: Callable[[pa.Table], pa.Table]) -> pa.Table:
        """Land the source file again; return what landed before."""
        path = self.project.landing / "flights" / f"{DAY}.parquet"
        before = pq.read_table(path)
        pq.write_table(change(before), path)
        return before

    def rows(self) -> dict[tuple[object, ...], dict[str, object]]:
        """Return what readers see, by key."""
        rows = visible_rows(self.project, self.pipeline)
        assert rows is not None
        return by_key(rows, self.key)

    def features(self, manifest: Manifest) -> dict[tuple[object, ...], dict[str, object]]:
        spec = self.pipeline.spec
        digest = manifest.snapshot.digest
        groups = made_rows(self.project, spec, self.window, manifest.features, digest)
        return by_key(pa.concat_tables(groups.all()), self.key)

    def holds(self, revision: str) -> bool:
        spec = self.pipeline.spec
        found = verify_window(self.project, self.registry, spec, self.window, revision=revision)
        assert found.problems == ()
        return found.holds

    def score_changes(self) -> pa.Table:
        folder = score_changes_table(self.project, self.pipeline.spec).folder
        return DeltaTable(str(folder)).to_pyarrow_table()


def by_key(rows: pa.Table, key: list[str]) -> dict[tuple[object, ...], dict[str, object]]:
    return {tuple(row[name] for name in key): row for row in rows.to_pylist()}


def changes_of(manifest: Manifest) -> ChangesRecord:
    assert manifest.changes is not None
    return manifest.changes


@pytest.fixture(scope="session")
def published_day(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published day")
    for part in ("lake", "keys"):
        shutil.copytree(world.lake.parent / part, root / part)
    for name in ("weather.parquet", "planes.parquet", f"flights/{DAY}.parquet"):
        (root / "landing" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(world.landing / name, root / "landing" / name)
    Corrected(project_at(root, root / "landing"), small_pipeline()).run("first")
    return root


@pytest.fixture
def day(published_day: Path, tmp_path: Path) -> Corrected:
    shutil.copytree(published_day, tmp_path / "copy")
    project = project_at(tmp_path / "copy", tmp_path / "copy" / "landing")
    return Corrected(project, small_pipeline())


def moved(rows: pa.Table, share: float) -> pa.Table:
    """Give this share of the flights another distance."""
    random = np.random.default_rng(7)
    chosen = random.random(rows.num_rows) < share
    distance = rows.column("distance")
    values = pc.if_else(pa.array(chosen), pc.add(distance, 400), distance)
    return with_column(rows, "distance", values)


def corrected(rows: pa.Table) -> pa.Table:
    """Change three rows in a hundred, lose five and gain one."""
    late = with_column(rows.slice(0, 1), "flight", pa.array([9_999]))
    return pa.concat_tables([moved(rows.slice(5), SHARE), late])


def with_column(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    field = rows.schema.field(name)
    return rows.set_column(rows.column_names.index(name), field, values.cast(field.type))


def test_only_rows_whose_features_changed_are_scored_again(day: Corrected) -> None:
    first, before = day.published(), day.rows()
    old = day.features(first)
    day.land(corrected)
    second = day.run("second")
    new, after = day.features(second), day.rows()
    same = {key for key in new if repr(new[key]) == repr(old.get(key))}
    found = changes_of(second)
    assert (found.supersedes, found.carried_from, found.reason) == (
        first.revision,
        first.revision,
        None,
    )
    assert 0.01 * len(new) < found.scored_again < 0.05 * len(new)
    assert (found.scored_again, found.carried) == (len(new) - len(same), len(same))
    assert (found.rows_added, found.rows_removed) == (1, 5)
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert (len(first.outputs), len(second.outputs)) == (3, 3)
    assert second.counts.scored == len(after) == len(before) - 4


def test_a_second_file_of_a_window_is_a_correction(day: Corrected) -> None:
    first, before = day.published(), day.rows()
    source = day.pipeline.spec.source.model_copy(update={"files": "flights/{window}/*.parquet"})
    spec = day.pipeline.spec.model_copy(update={"source": source})
    day = replace(day, pipeline=replace(day.pipeline, spec=spec))
    folder = day.project.landing / "flights" / DAY
    folder.mkdir()
    (folder.parent / f"{DAY}.parquet").rename(folder / "1.parquet")
    assert day.run("the same rows").revision == first.revision
    rows = pq.read_table(folder / "1.parquet")
    pq.write_table(corrected(rows).slice(rows.num_rows - 25), folder / "2.parquet")
    second = day.run("second")
    found = changes_of(second)
    assert second.snapshot.source.path == f"flights/{DAY}/*.parquet"
    assert (found.supersedes, found.rows_added, found.rows_removed) == (first.revision, 1, 0)
    assert 0 < found.scored_again < 25
    assert len(day.rows()) == len(before) + 1
    assert day.holds(first.revision)
    assert day.holds(second.revision)


def test_both_revisions_verify_and_replay_finds_the_same_bytes(day: Corrected) -> None:
    first = day.published()
    day.land(corrected)
    second = day.run("second")
    assert first.revision != second.revision
    assert day.holds(first.revision)
    assert day.holds(second.revision)
    replayed = replay_window(day.project, day.registry, day.pipeline, day.window)
    assert (replayed.same_rows, replayed.same_bytes) == (True, True)


def test_one_revision_is_published_and_the_old_one_stays_readable(day: Corrected) -> None:
    before = day.rows()
    folder = predictions_table(day.project, day.pipeline.spec).folder
    version = DeltaTable(str(folder)).version()
    first = day.published()
    day.land(corrected)
    second = day.run("second")
    visible = predictions_table(day.project, day.pipeline.spec).files_of(day.window)
    assert {path.parent.name for path in visible} == {second.revision}
    old = DeltaTable(str(folder), version=version).to_pyarrow_table()
    assert by_key(old, day.key) == before
    assert first.revision in manifests(day.project, day.pipeline.spec).revisions(day.window)


def test_score_changes_name_every_row_that_readers_see_otherwise(day: Corrected) -> None:
    before, first = day.rows(), day.published()
    day.land(corrected)
    second, after = day.run("second"), day.rows()
    score = day.pipeline.spec.prediction.column
    expected = {
        key: (before.get(key, {}).get(score), after.get(key, {}).get(score))
        for key in before.keys() | after.keys()
        if before.get(key, {}).get(score) != after.get(key, {}).get(score)
    }
    changes = day.score_changes()
    found = {
        key: (row["score_before"], row["score_after"])
        for key, row in by_key(changes, day.key).items()
    }
    assert found == expected
    assert len(found) >= 6
    assert set(changes.column("revision").to_pylist()) == {second.revision}
    assert set(changes.column("supersedes").to_pylist()) == {first.revision}


def test_running_again_changes_nothing(day: Corrected) -> None:
    day.land(corrected)
    second, rows, changes = day.run("second"), day.rows(), day.score_changes()
    assert day.run("third") == second
    assert day.rows() == rows
    assert day.score_changes().equals(changes)


def test_data_that_is_corrected_back_gives_the_first_revision_again(day: Corrected) -> None:
    first, before = day.published(), day.rows()
    landed = day.land(corrected)
    day.run("second")
    day.land(lambda _rows: landed)
    assert day.run("third") == first
    assert day.rows() == before
    steps = day.score_changes().group_by(["supersedes", "revision"]).aggregate([([], "count_all")])
    counts = set(steps.column("count_all").to_pylist())
    assert (steps.num_rows, len(counts)) == (2, 1)


def test_a_correction_that_changes_no_feature_scores_nothing(day: Corrected) -> None:
    """Of planes that nobody knows, the tail number does not matter."""
    planes = pq.read_table(day.project.landing / "planes.parquet").column("tail_number")

    def renamed(rows: pa.Table) -> pa.Table:
        tails = rows.column("tail_number")
        known = pc.is_in(tails, value_set=planes.combine_chunks())
        return with_column(rows, "tail_number", pc.if_else(known, tails, "N0NONE"))

    first = day.published()
    day.land(renamed)
    second = day.run("second")
    found = changes_of(second)
    assert found.rows_changed is not None
    assert found.rows_changed > 10
    assert (found.scored_again, found.carried) == (0, second.counts.scored)
    assert [o.sha256 for o in second.outputs] == [o.sha256 for o in first.outputs]
    assert day.score_changes().num_rows == 0


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_where_old_files_are_damaged_every_row_is_scored(day: Corrected, damage: str) -> None:
    first = day.published()
    folder = Path(str(predictions_table(day.project, day.pipeline.spec).folder))
    file = folder / first.outputs[1].path
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content)) if damage == "flipped" else file.unlink()
    day.land(corrected)
    second = day.run("second")
    found = changes_of(second)
    assert (found.supersedes, found.carried_from) == (first.revision, None)
    assert found.reason == "the published files are damaged"
    assert (found.carried, found.scored_again) == (0, second.counts.scored)
    assert day.holds(second.revision)


def test_scores_of_an_unsigned_manifest_are_not_carried(day: Corrected) -> None:
    first, spec = day.published(), day.pipeline.spec
    for signature in manifests(day.project, spec).signatures(day.window, first.revision).values():
        signature.unlink()
    day.land(corrected)
    found = changes_of(day.run("second"))
    assert (found.supersedes, found.carried_from, found.carried) == (first.revision, None, 0)
    assert found.reason == "the manifest of the published revision does not verify"
    assert found.rows_changed is None


def test_where_most_rows_changed_every_row_is_scored(day: Corrected) -> None:
    day.land(lambda rows: moved(rows, 0.6))
    second = day.run("second")
    found = changes_of(second)
    assert (found.carried_from, found.reason) == (None, "most rows changed")
    assert found.scored_again == second.counts.scored


def test_the_command_verifies_a_superseded_revision(
    day: Corrected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHINF_LAKE", str(day.project.lake))
    monkeypatch.setenv("BATCHINF_KEYS", str(day.project.keys))
    first = day.published()
    day.land(corrected)
    day.run("second")

    def verify(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["verify", day.pipeline.name, DAY, *arguments])

    assert verify().exit_code == 0
    assert verify("--revision", first.revision).exit_code == 0
    output = Path(str(predictions_table(day.project, day.pipeline.spec).folder))
    (output / first.outputs[0].path).unlink()
    assert verify().exit_code == 0
    assert verify("--revision", first.revision).exit_code == 1
    assert verify("--revision", "0" * 16).exit_code == 1
    assert verify("--revision", "../../x").exit_code == 2
