"""When a corrected window may keep scores, and what its manifest says of it."""

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

from batchinf_assets.attempts import attempting
from batchinf_assets.errors import ShardFailed
from batchinf_assets.features.build import build_features, made_rows
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.work import ChangesRecord
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.scoring.correction import Superseded
from batchinf_assets.scoring.model import ScoringModel, scoring_model
from batchinf_assets.scoring.score import score_window
from batchinf_assets.scoring.scorer import SklearnScorer
from batchinf_assets.snapshots.freeze import freeze_snapshot, frozen_rows
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.scoring.sharded_window import NOW, SHARD_ROWS, in_shards_of
from batchinf_assets_tests.scoring.watched_scorer import Watch, watched

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

DAY, CHANGED = "2013-07-04", 11  # of 737 flights, spread over the day


@dataclass(frozen=True)
class Desk:
    """A day that was scored, and then landed again with some flights to another distance."""

    project: Project
    pipeline: Pipeline
    model: ScoringModel
    first: Manifest

    def score(
        self,
        first: Manifest | None = None,
        watch: Watch = lambda _: None,
        model: ScoringModel | None = None,
    ) -> Manifest:
        old = first or self.first
        window = self.pipeline.spec.window.window(DAY)
        with attempting(
            self.project, self.pipeline.spec, window, run_id="run", stage="predictions"
        ) as attempt:
            return score_window(
                self.project,
                self.pipeline,
                window,
                watched(model or self.model, watch),
                attempt=attempt,
                now=NOW,
                superseded=Superseded(revision=old.revision, manifest=old),
            )

    def changes(self, **other: object) -> ChangesRecord:
        """Score as if the published manifest had said something else."""
        found = self.score(self.first.model_copy(update=other)).changes
        assert found is not None
        assert (found.carried, found.scored_again) == (0, self.first.counts.scored)
        return found


def project_in(root: Path) -> Project:
    return Project(
        root=CHECKOUT,
        lake=root / "lake",
        landing=root / "landing",
        dagster_home=root / "dagster",
        keys=root / "keys",
    )


def prepare(project: Project, pipeline: Pipeline) -> None:
    window = pipeline.spec.window.window(DAY)
    freeze_snapshot(project, pipeline.spec, window)
    build_features(project, pipeline, window)


@pytest.fixture(scope="module")
def landed_again(
    world: World, pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Manifest]:
    root = tmp_path_factory.mktemp("landed again")
    for part in ("lake", "keys"):
        shutil.copytree(world.lake.parent / part, root / part)
    for name in ("weather.parquet", "planes.parquet", f"flights/{DAY}.parquet"):
        (root / "landing" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(world.landing / name, root / "landing" / name)
    project, small = project_in(root), in_shards_of(pipeline, SHARD_ROWS)
    prepare(project, small)
    window = small.spec.window.window(DAY)
    model = scoring_model(world.registry, small, NOW)
    with attempting(project, small.spec, window, run_id="first", stage="predictions") as attempt:
        first = score_window(project, small, window, model, attempt=attempt, now=NOW)
    path = root / "landing" / "flights" / f"{DAY}.parquet"
    rows = pq.read_table(path)
    chosen = pa.array(np.arange(rows.num_rows) % (rows.num_rows // CHANGED) == 0)
    distance = pc.if_else(chosen, 777, rows.column("distance"))
    column = rows.column_names.index("distance")
    field = rows.schema.field("distance")
    pq.write_table(rows.set_column(column, field, distance.cast(field.type)), path)
    prepare(project, small)
    return root, first


@pytest.fixture
def desk(
    landed_again: tuple[Path, Manifest], world: World, pipeline: Pipeline, tmp_path: Path
) -> Desk:
    root, first = landed_again
    shutil.copytree(root, tmp_path / "copy")
    small = in_shards_of(pipeline, SHARD_ROWS)
    model = scoring_model(world.registry, small, NOW)
    return Desk(project_in(tmp_path / "copy"), small, model, first)


def test_a_first_revision_supersedes_nothing(landed_again: tuple[Path, Manifest]) -> None:
    assert landed_again[1].changes == ChangesRecord()


def test_counts_say_what_was_scored_again(desk: Desk) -> None:
    asked: list[int] = []
    made = desk.score(watch=lambda rows: asked.append(rows.num_rows))
    assert made.changes == ChangesRecord(
        supersedes=desk.first.revision,
        carried_from=desk.first.revision,
        rows_added=0,
        rows_changed=CHANGED,
        rows_removed=0,
        carried=desk.first.counts.scored - CHANGED,
        scored_again=CHANGED,
    )
    assert sum(asked) == CHANGED


def test_a_resumed_run_adds_up(desk: Desk) -> None:
    """The second attempt finds shards of the first, with the rows that these carried."""
    calls: list[int] = []

    def fail_once(rows: pa.Table) -> None:
        calls.append(rows.num_rows)
        if len(calls) == 2:
            raise PermissionError(13, "Permission denied")

    with pytest.raises(ShardFailed):
        desk.score(watch=fail_once)
    made = desk.score()
    assert made.shards is not None
    assert made.shards.reused > 0
    assert made.changes is not None
    assert made.changes.scored_again == CHANGED
    assert made.changes.carried == made.counts.scored - CHANGED


def test_scores_that_an_earlier_attempt_carried_keep_their_source(desk: Desk) -> None:
    """The files were whole when it read them; they are damaged by the time of the second."""
    desk.score()
    again = desk.score(desk.first.model_copy(update={"outputs": broken(desk.first)}))
    assert again.changes is not None
    assert again.changes.carried_from == desk.first.revision
    assert again.changes.reason == "the published files are damaged"
    assert again.changes.carried == again.counts.scored - CHANGED


def broken(manifest: Manifest) -> tuple[object, ...]:
    first, *others = manifest.outputs
    return (first.model_copy(update={"sha256": "0" * 64}), *others)


def test_scores_of_other_code_model_or_settings_are_not_carried(desk: Desk) -> None:
    first = desk.first
    others: dict[str, object] = {
        "code": first.code.model_copy(update={"source": "another"}),
        "model": first.model.model_copy(update={"digest": "0" * 64}),
        "settings": first.settings.model_copy(update={"postprocess": "another"}),
    }
    shards = Path(str(desk.project.lake)) / desk.pipeline.name
    for name, value in others.items():
        found = desk.changes(**{name: value})
        assert found.carried_from is None
        assert found.reason is not None
        assert name in found.reason
        shutil.rmtree(shards / "_checkpoints")


def test_scores_of_another_scorer_of_the_same_model_are_not_carried(desk: Desk) -> None:
    model = desk.first.model.model_copy(update={"scorer": "treelite"})
    assert desk.changes(model=model).reason == "the published revision was scored by another model"


def test_scores_of_scikit_learn_itself_are_not_carried(desk: Desk) -> None:
    """Its matrix products group their sums by how many rows there are."""
    slow = desk.model.scorer

    @dataclass(frozen=True)
    class Named:
        name: str = SklearnScorer.name

        def outputs(self, features: pa.Table) -> object:
            return slow.outputs(features)

        def for_workers(self) -> None:
            return None

    record = desk.first.model.model_copy(update={"scorer": SklearnScorer.name})
    made = desk.score(
        desk.first.model_copy(update={"model": record}),
        model=replace(desk.model, scorer=Named()),  # type: ignore[arg-type]
    )
    assert made.changes is not None
    assert made.changes.carried_from is None
    assert str(made.changes.reason).startswith("scikit-learn's scores")


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [spoil, Path.unlink], ids=["flipped", "gone"])
def test_without_the_features_of_then_every_row_is_scored(
    desk: Desk, damage: Callable[[Path], None]
) -> None:
    spec, window = desk.pipeline.spec, desk.pipeline.spec.window.window(DAY)
    digest = desk.first.snapshot.digest
    damage(Path(str(made_rows(desk.project, spec, window, desk.first.features, digest).place)))
    found = desk.changes()
    assert (found.carried_from, found.rows_changed) == (None, CHANGED)
    assert str(found.reason).startswith("the published revision's features are gone")


def test_features_that_are_not_those_that_were_signed_are_not_believed(desk: Desk) -> None:
    record = desk.first.features.model_copy(update={"digest": "0" * 64})
    spec, window = desk.pipeline.spec, desk.pipeline.spec.window.window(DAY)
    digest = desk.first.snapshot.digest
    old = made_rows(desk.project, spec, window, desk.first.features, digest).place
    forged = made_rows(desk.project, spec, window, record, digest).place
    shutil.copy2(str(old), str(forged))
    assert desk.changes(features=record).carried_from is None


def test_without_the_snapshot_of_then_changed_rows_are_unknown_and_scores_are_carried(
    desk: Desk,
) -> None:
    spec, window = desk.pipeline.spec, desk.pipeline.spec.window.window(DAY)
    Path(str(frozen_rows(desk.project, spec, window, desk.first.snapshot).place)).unlink()
    found = desk.score().changes
    assert found is not None
    assert (found.rows_added, found.rows_changed, found.rows_removed) == (None, None, None)
    assert found.carried_from == desk.first.revision
