"""Scoring a window: the same inputs give the same bytes, however they are cut into shards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from batchinf_assets.attempts import attempting
from batchinf_assets.code_version import running_code
from batchinf_assets.contracts.declared_checks import declared_checks
from batchinf_assets.errors import FeatureSqlFailed, WindowMissing, WindowRefused
from batchinf_assets.features.build import build_features, load_features
from batchinf_assets.lake.digest import content_digest, file_sha256
from batchinf_assets.lake.layout import row_group_rows
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.manifest.document import Manifest, declaration_digest
from batchinf_assets.manifest.work import ShardsRecord
from batchinf_assets.project import Project
from batchinf_assets.registry.trust import open_version
from batchinf_assets.scoring import score as room
from batchinf_assets.scoring.fast import TREES
from batchinf_assets.scoring.load import load_reference
from batchinf_assets.scoring.model import ScoringModel, scoring_model
from batchinf_assets.scoring.predictions import manifests, prediction_rows, predictions_table
from batchinf_assets.scoring.revision import revision_id, scoring_settings
from batchinf_assets.scoring.score import score_window
from batchinf_assets.scoring.scorer import score_rows
from batchinf_assets.scoring.shards import Shard
from batchinf_assets.snapshots.freeze import freeze_snapshot, load_snapshot
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

NOW = datetime(2013, 7, 4, 5, tzinfo=UTC)
ROWS = 737


@pytest.fixture(scope="module")
def window(pipeline: Pipeline) -> Window:
    return pipeline.spec.window.window("2013-07-04")


@pytest.fixture(scope="module")
def model(world: World, pipeline: Pipeline) -> ScoringModel:
    return scoring_model(world.registry, pipeline, NOW)


@pytest.fixture(scope="module")
def template(
    world: World, pipeline: Pipeline, window: Window, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A lake that holds snapshot and features of the window."""
    lake = tmp_path_factory.mktemp("with features") / "lake"
    project = world.with_lake(lake)
    freeze_snapshot(project, pipeline.spec, window)
    build_features(project, pipeline, window)
    return lake


@pytest.fixture
def new_project(world: World, template: Path, tmp_path: Path) -> Callable[[str], Project]:
    """Make projects with a lake of their own, each with the window's features."""

    def make(name: str) -> Project:
        shutil.copytree(template, tmp_path / name)
        return world.with_lake(tmp_path / name)

    return make


@pytest.fixture
def project(new_project: Callable[[str], Project]) -> Project:
    return new_project("lake")


@pytest.fixture
def score(pipeline: Pipeline, window: Window, model: ScoringModel) -> Callable[..., Manifest]:
    def run(project: Project, pipeline: Pipeline = pipeline, run_id: str = "run") -> Manifest:
        made = load_features(project, pipeline.spec, window)
        if made.record.row_group_rows != row_group_rows(pipeline.spec.shard_rows):
            build_features(project, pipeline, window)
        return scored(project, pipeline, window, model, run_id)

    return run


def scored(
    project: Project, pipeline: Pipeline, window: Window, model: ScoringModel, run_id: str = "run"
) -> Manifest:
    with attempting(project, pipeline.spec, window, run_id=run_id, stage="predictions") as attempt:
        return score_window(project, pipeline, window, model, attempt=attempt, now=NOW)


def in_shards_of(pipeline: Pipeline, shard_rows: int) -> Pipeline:
    return replace(pipeline, spec=pipeline.spec.model_copy(update={"shard_rows": shard_rows}))


def with_sql(pipeline: Pipeline, folder: Path, sql: str) -> Pipeline:
    shutil.copytree(pipeline.folder, folder)
    (folder / "postprocess.sql").write_text(sql)
    return replace(pipeline, folder=folder)


def output_files(project: Project, pipeline: Pipeline, manifest: Manifest) -> dict[str, bytes]:
    folder = predictions_table(project, pipeline.spec).folder
    return {output.path: (folder / output.path).read_bytes() for output in manifest.outputs}


def test_every_flight_of_the_snapshot_is_scored_once_in_key_order(
    project: Project, pipeline: Pipeline, window: Window, score: Callable[..., Manifest]
) -> None:
    rows = prediction_rows(project, pipeline.spec, score(project))
    key = list(pipeline.spec.source.key)
    snapshot = load_snapshot(project, pipeline.spec, window).rows
    assert rows.select(key).equals(snapshot.select(key))
    assert rows.num_rows == ROWS
    assert rows.schema.equals(arrow_schema(pipeline.spec.prediction_table))


def test_scores_are_those_of_scikit_learn_on_the_features(
    world: World,
    project: Project,
    pipeline: Pipeline,
    window: Window,
    model: ScoringModel,
    score: Callable[..., Manifest],
) -> None:
    rows = prediction_rows(project, pipeline.spec, score(project))
    features = load_features(project, pipeline.spec, window).rows
    artifact = open_version(world.registry, model.version, NOW)
    expected = score_rows(load_reference(artifact, pipeline.spec.features.columns), features)
    np.testing.assert_array_equal(rows["delay_probability"].to_numpy(), expected)
    assert expected.std() > 0.05
    late = rows["late_expected"].to_numpy(zero_copy_only=False)
    np.testing.assert_array_equal(late, expected >= 0.4)


def test_two_lakes_get_the_same_bytes(
    new_project: Callable[[str], Project], pipeline: Pipeline, score: Callable[..., Manifest]
) -> None:
    small = in_shards_of(pipeline, 200)
    one, other = new_project("one"), new_project("another lake")
    first, second = score(one, small, run_id="a"), score(other, small, run_id="b")
    assert first.revision == second.revision
    assert first.outputs == second.outputs
    files = output_files(one, small, first)
    assert len(files) == 4
    assert files == output_files(other, small, second)


def test_scoring_again_gives_the_same_bytes(
    project: Project, pipeline: Pipeline, score: Callable[..., Manifest]
) -> None:
    first = score(project)
    before = output_files(project, pipeline, first)
    second = score(project)
    assert (second.revision, second.outputs, second.checks) == (
        first.revision,
        first.outputs,
        first.checks,
    )
    assert output_files(project, pipeline, second) == before
    assert first.shards == ShardsRecord(planned=1, computed=1, reused=0)
    assert second.shards == ShardsRecord(planned=1, computed=0, reused=1)


def test_shards_put_together_are_the_window_in_one(
    new_project: Callable[[str], Project], pipeline: Pipeline, score: Callable[..., Manifest]
) -> None:
    whole, cut = new_project("whole"), new_project("cut")
    hundreds = in_shards_of(pipeline, 100)
    in_one, in_eight = score(whole), score(cut, hundreds)
    assert [output.rows for output in in_one.outputs] == [ROWS]
    assert [output.rows for output in in_eight.outputs] == [100] * 7 + [37]
    rows = prediction_rows(cut, pipeline.spec, in_eight)
    assert rows.equals(prediction_rows(whole, pipeline.spec, in_one))
    assert in_one.revision != in_eight.revision
    assert [(check.name, check.passed) for check in in_eight.checks] == [
        (check.name, check.passed) for check in in_one.checks
    ]


@pytest.mark.parametrize("shard_rows", [ROWS - 1, ROWS, ROWS + 1])
def test_a_shard_about_as_large_as_the_window_loses_no_row(
    project: Project, pipeline: Pipeline, score: Callable[..., Manifest], shard_rows: int
) -> None:
    manifest = score(project, in_shards_of(pipeline, shard_rows))
    assert manifest.counts.scored == ROWS
    assert len(manifest.outputs) == (2 if shard_rows < ROWS else 1)


def test_the_draft_says_what_was_scored_with_what(
    project: Project,
    pipeline: Pipeline,
    window: Window,
    model: ScoringModel,
    score: Callable[..., Manifest],
) -> None:
    manifest = score(project)
    snapshot = load_snapshot(project, pipeline.spec, window)
    features = load_features(project, pipeline.spec, window)
    assert manifest.snapshot == snapshot.record.model_copy(update={"version": 1})
    assert manifest.features == features.record
    assert manifest.code == running_code()
    assert manifest.model.digest == model.version.digest
    assert (manifest.model.alias, manifest.model.scorer) == ("champion", TREES)
    assert manifest.model.key_id == model.artifact.statement.key_id
    assert manifest.model.promotion == 1
    assert manifest.counts.model_dump() == {"rows_in": ROWS, "scored": ROWS, "quarantined": 0}
    assert (manifest.window.key, manifest.window.start) == (window.key, window.start)
    assert (manifest.run_id, manifest.scored_at, manifest.published_at) == ("run", NOW, None)
    assert (manifest.attempt, len(manifest.trace_id or "")) == (1, 32)
    assert manifest.declaration == declaration_digest(pipeline.spec)
    assert manifest.model.parity is not None
    assert manifest.model.parity.largest_difference == 0
    assert {"read", "score", "check", "write", "predictions"} <= set(manifest.timings)
    assert manifest.resources is not None
    assert (manifest.resources.peak_memory_bytes or 0) > 10_000_000
    key = pipeline.spec.source.key
    assert snapshot.record.digest == content_digest(snapshot.rows, key)
    assert features.record.digest == content_digest(features.rows, key)
    assert manifest.revision == revision_id(
        snapshot=snapshot.record,
        features=features.record,
        model=model.version.digest,
        settings=scoring_settings(pipeline),
        code=running_code(),
    )
    assert manifests(project, pipeline.spec).draft(window) == manifest


def test_every_output_is_on_record_with_the_digest_of_its_bytes(
    project: Project, pipeline: Pipeline, score: Callable[..., Manifest]
) -> None:
    manifest = score(project, in_shards_of(pipeline, 300))
    folder = predictions_table(project, pipeline.spec).folder
    for index, output in enumerate(manifest.outputs):
        path = folder / output.path
        assert output.path == f"window=2013-07-04/{manifest.revision}/part-0000{index}.parquet"
        assert (output.sha256, output.bytes) == (file_sha256(path), path.stat().st_size)
        assert output.rows == pq.read_metadata(path).num_rows


def test_scored_rows_are_not_visible(
    project: Project, pipeline: Pipeline, window: Window, score: Callable[..., Manifest]
) -> None:
    score(project)
    assert predictions_table(project, pipeline.spec).read(window) is None


def test_checks_of_all_three_steps_are_on_record_and_passed(
    project: Project, pipeline: Pipeline, score: Callable[..., Manifest]
) -> None:
    manifest = score(project)
    assert all(check.passed for check in manifest.checks)
    assert {(check.asset, check.name) for check in manifest.checks} == {
        *(
            (asset, name)
            for asset, names in declared_checks(pipeline.spec).items()
            for name in names
        ),
        *(
            ("predictions", name)
            for name in ("schema", "contract", "unique_key", "row_conservation")
        ),
        ("predictions", "trained_features"),
    }


def test_postprocessing_may_return_its_rows_in_any_order(
    new_project: Callable[[str], Project],
    pipeline: Pipeline,
    score: Callable[..., Manifest],
    tmp_path: Path,
) -> None:
    backwards = f"{pipeline.postprocess_sql} ORDER BY delay_probability DESC"
    one, other = new_project("one"), new_project("other")
    changed = score(other, with_sql(pipeline, tmp_path / "defs", backwards))
    assert prediction_rows(other, pipeline.spec, changed).equals(
        prediction_rows(one, pipeline.spec, score(one))
    )


@pytest.mark.parametrize(
    ("sql", "error", "named"),
    [
        (
            "SELECT * EXCLUDE (risk) FROM ({sql})",
            WindowRefused,
            "column risk: expected string, found no such column",
        ),
        ("{sql} LIMIT 50", WindowRefused, "all kept"),
        ("SELECT * REPLACE ('huge' AS risk) FROM ({sql})", WindowRefused, "column risk: expected "),
        (
            "SELECT * REPLACE (delay_probability + 1 AS delay_probability) FROM ({sql})",
            WindowRefused,
            "column delay_probability: expected ",
        ),
        ("SELECT * REPLACE (1::INTEGER AS flight) FROM ({sql})", WindowRefused, "unique"),
        ("SELECT nothing FROM scored", FeatureSqlFailed, "nothing"),
    ],
)
def test_output_that_breaks_its_contract_leaves_no_draft(
    project: Project,
    pipeline: Pipeline,
    window: Window,
    score: Callable[..., Manifest],
    tmp_path: Path,
    sql: str,
    error: type[Exception],
    named: str,
) -> None:
    changed = with_sql(
        pipeline, tmp_path / "defs", sql.replace("{sql}", pipeline.postprocess_sql or "")
    )
    with pytest.raises(error, match=named):
        score(project, in_shards_of(changed, 100))
    assert manifests(project, pipeline.spec).draft(window) is None
    assert predictions_table(project, pipeline.spec).files() == {}


def test_a_row_that_a_later_shard_repeats_is_found_over_the_whole_window(
    project: Project,
    pipeline: Pipeline,
    score: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each shard is right by itself; the second is the first once more.
    plan = room.plan_shards

    def twice_the_first(row_groups: Sequence[int], shard_rows: int) -> list[Shard]:
        first, second, *rest = plan(row_groups, shard_rows)
        return [first, replace(second, groups=first.groups), *rest]

    monkeypatch.setattr(room, "plan_shards", twice_the_first)
    with pytest.raises(WindowRefused) as refusal:
        score(project, in_shards_of(pipeline, 100))
    failed = {check.name for check in refusal.value.checks if not check.passed}
    assert failed == {"unique_key", "row_conservation"}


def test_without_features_nothing_is_scored(
    project: Project, pipeline: Pipeline, model: ScoringModel
) -> None:
    window = pipeline.spec.window.window("2013-07-05")
    with pytest.raises(WindowMissing, match="no snapshot"):
        scored(project, pipeline, window, model)
    freeze_snapshot(project, pipeline.spec, window)
    with pytest.raises(WindowMissing, match="no features"):
        scored(project, pipeline, window, model)


def test_features_of_an_older_snapshot_are_not_scored(
    project: Project,
    pipeline: Pipeline,
    window: Window,
    score: Callable[..., Manifest],
    tmp_path: Path,
) -> None:
    path = tmp_path / "landing" / "flights" / f"{window}.parquet"
    path.parent.mkdir(parents=True)
    rows = pq.read_table(project.landing / "flights" / f"{window}.parquet")
    pq.write_table(rows.slice(1), path)
    freeze_snapshot(replace(project, landing=tmp_path / "landing"), pipeline.spec, window)
    with pytest.raises(WindowMissing, match="belong to an older snapshot"):
        score(project)


def test_features_of_an_older_definition_are_not_scored(
    project: Project, pipeline: Pipeline, score: Callable[..., Manifest], tmp_path: Path
) -> None:
    changed = replace(pipeline, folder=tmp_path / "defs")
    shutil.copytree(pipeline.folder, changed.folder)
    (changed.folder / "features.sql").write_text(f"{pipeline.features_sql}\n-- changed")
    with pytest.raises(WindowMissing, match="follow an older definition"):
        score(project, changed)


def test_features_that_the_model_did_not_learn_from_are_scored_with_a_warning(
    project: Project,
    pipeline: Pipeline,
    window: Window,
    model: ScoringModel,
    score: Callable[..., Manifest],
    tmp_path: Path,
) -> None:
    changed = replace(pipeline, folder=tmp_path / "defs")
    shutil.copytree(pipeline.folder, changed.folder)
    (changed.folder / "features.sql").write_text(f"{pipeline.features_sql}\n-- changed")
    features = build_features(project, changed, window)
    manifest = score(project, changed)
    (check,) = [check for check in manifest.checks if not check.passed]
    assert (check.asset, check.name, check.blocking) == ("predictions", "trained_features", False)
    assert str(check.violations[0]) == (
        "expected features made by the definition that flight_delays v1 learned from: register "
        "a new model, or accept the difference"
    )
    assert check.measured == {
        "learned": model.artifact.card.feature_definition,
        "scored": features.record.definition,
    }
    assert manifest.counts.scored == ROWS
    assert manifests(project, pipeline.spec).draft(window) == manifest
