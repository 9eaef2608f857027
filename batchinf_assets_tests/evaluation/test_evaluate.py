"""Judging a real window: figures equal those of scikit-learn on the same rows."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import (
    brier_score_loss,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from batchinf_assets.attempts import attempting
from batchinf_assets.errors import GoldenSetInvalid, WindowMissing
from batchinf_assets.evaluation.evaluate import (
    Evaluation,
    evaluate_window,
    measure_performance,
    measured_outcomes,
    metric_table,
)
from batchinf_assets.features.build import build_features
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.publishing.signed import sign_manifest
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.keys import load_signing_key
from batchinf_assets.registry.trust import open_version
from batchinf_assets.scoring.fast import TREES
from batchinf_assets.scoring.load import load_reference
from batchinf_assets.scoring.model import ScoringModel, scoring_model
from batchinf_assets.scoring.predictions import manifests, prediction_rows, predictions_table
from batchinf_assets.scoring.score import score_window
from batchinf_assets.scoring.scorer import score_rows
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.spec import Pipeline
from batchinf_assets.windows import Window

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

NOW = datetime(2013, 7, 4, 5, tzinfo=UTC)
DECISION = 0.4


@pytest.fixture(scope="module")
def window(pipeline: Pipeline) -> Window:
    return pipeline.spec.window.window("2013-07-04")


@pytest.fixture(scope="module")
def model(world: World, pipeline: Pipeline) -> ScoringModel:
    return scoring_model(world.registry, pipeline, NOW)


@pytest.fixture(scope="module")
def scored(
    world: World,
    pipeline: Pipeline,
    window: Window,
    model: ScoringModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A lake in which the window is scored and not evaluated."""
    lake = tmp_path_factory.mktemp("scored") / "lake"
    project = world.with_lake(lake)
    freeze_snapshot(project, pipeline.spec, window)
    build_features(project, pipeline, window)
    with attempting(project, pipeline.spec, window, run_id="run", stage="predictions") as attempt:
        score_window(project, pipeline, window, model, attempt=attempt, now=NOW)
    return lake


@pytest.fixture
def project(scored: Path, world: World, tmp_path: Path) -> Project:
    shutil.copytree(scored, tmp_path / "lake")
    landing = tmp_path / "landing"
    (landing / "outcomes").mkdir(parents=True)
    shutil.copy2(world.landing / "outcomes/2013-07-04.parquet", landing / "outcomes")
    return replace(world.with_lake(tmp_path / "lake"), landing=landing)


@pytest.fixture
def evaluation(
    project: Project, pipeline: Pipeline, window: Window, model: ScoringModel
) -> Evaluation:
    return evaluate_window(project, pipeline.spec, window, model)


def publish(project: Project, pipeline: Pipeline, window: Window) -> None:
    """Make the draft visible; the gate has its own tests."""
    store, table = manifests(project, pipeline.spec), predictions_table(project, pipeline.spec)
    draft = store.draft(window)
    assert draft is not None
    finished = draft.model_copy(update={"published_at": NOW})
    key = load_signing_key(project.keys, {})
    signed = sign_manifest(finished, key, read_keyring(project.keys))
    store.write(window, signed, require_held=lambda: None)
    rows = prediction_rows(project, pipeline.spec, draft)
    path = table.folder / draft.outputs[0].path
    table.commit(window, [write_parquet(path, rows, {"shard": 0})], {})
    store.drop_draft(window)


def figures(project: Project, pipeline: Pipeline, window: Window, name: str) -> list[dict]:
    rows = metric_table(project, pipeline.spec, name).read(window)
    assert rows is not None
    return rows.to_pylist()


def test_golden_figures_equal_those_of_scikit_learn(
    evaluation: Evaluation, pipeline: Pipeline, model: ScoringModel, world: World
) -> None:
    spec = pipeline.spec
    golden = pq.read_table(CHECKOUT / spec.golden.file)
    reference = load_reference(
        open_version(world.registry, model.version, NOW), spec.features.columns
    )
    assert (model.scorer.name, reference.name) == (TREES, "scikit-learn")
    scores = score_rows(reference, golden)
    labels = golden["late"].to_numpy(zero_copy_only=False)
    expected = {
        "rows": 2_000,
        "positives": int(labels.sum()),
        "auroc": roc_auc_score(labels, scores),
        "log_loss": log_loss(labels, scores),
        "brier": brier_score_loss(labels, scores),
        "precision": precision_score(labels, scores >= DECISION),
        "recall": recall_score(labels, scores >= DECISION),
    }
    found = evaluation.record.golden
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9, rel=0), name


def test_the_manifest_gets_the_figures_and_both_checks(
    evaluation: Evaluation, project: Project, pipeline: Pipeline, window: Window
) -> None:
    draft = manifests(project, pipeline.spec).draft(window)
    assert draft == evaluation.manifest
    assert draft.evaluation == evaluation.record
    checks = {check.name: check for check in evaluation.checks}
    assert checks["golden_quality"].passed
    assert (checks["golden_quality"].blocking, checks["drift"].blocking) == (True, False)
    assert [check for check in draft.checks if check.asset == "evaluation"] == [*checks.values()]


def test_the_table_holds_every_figure_of_the_manifest(
    evaluation: Evaluation, project: Project, pipeline: Pipeline, window: Window
) -> None:
    rows = figures(project, pipeline, window, "evaluation")
    assert {row["revision"] for row in rows} == {evaluation.manifest.revision}
    golden = {row["subject"]: row["value"] for row in rows if row["subject_kind"] == "golden"}
    assert golden == {n: v for n, v in evaluation.record.golden.items() if n != "rows"}
    drift = {row["subject"]: row["value"] for row in rows if row["subject_kind"] == "drift"}
    assert drift == evaluation.record.psi
    assert set(drift) == {*pipeline.spec.features.columns, "delay_probability"}


def test_evaluating_again_changes_nothing(
    evaluation: Evaluation,
    project: Project,
    pipeline: Pipeline,
    window: Window,
    model: ScoringModel,
) -> None:
    table = metric_table(project, pipeline.spec, "evaluation")
    before = table.files()
    again = evaluate_window(project, pipeline.spec, window, model)
    assert (again.record, again.checks) == (evaluation.record, evaluation.checks)
    assert again.data_version == evaluation.data_version
    assert table.files() == before


def test_a_published_revision_keeps_the_figures_it_was_published_with(
    evaluation: Evaluation,
    project: Project,
    pipeline: Pipeline,
    window: Window,
    model: ScoringModel,
) -> None:
    publish(project, pipeline, window)
    strict = pipeline.spec.golden.model_copy(update={"at_least": {"auroc": 0.99}})
    spec = pipeline.spec.model_copy(update={"golden": strict})
    again = evaluate_window(project, spec, window, model)
    assert again.record == evaluation.record
    assert manifests(project, pipeline.spec).draft(window) is None


def test_golden_quality_below_its_bound_fails_its_check(
    project: Project, pipeline: Pipeline, window: Window, model: ScoringModel
) -> None:
    golden = pipeline.spec.golden.model_copy(update={"at_least": {"auroc": 0.99}})
    spec = pipeline.spec.model_copy(update={"golden": golden})
    evaluation = evaluate_window(project, spec, window, model)
    (failed,) = [check for check in evaluation.checks if not check.passed and check.blocking]
    assert failed.name == "golden_quality"
    assert failed.violations[0].rule.startswith("auroc at least 0.99 (found 0.")


def test_another_model_than_the_one_that_scored_does_not_evaluate(
    project: Project, pipeline: Pipeline, window: Window, model: ScoringModel
) -> None:
    version = replace(model.version, digest="0" * 64, version="9")
    with pytest.raises(WindowMissing, match=r"scored by flight_delays version 1.* says 9"):
        evaluate_window(project, pipeline.spec, window, replace(model, version=version))


def test_without_a_golden_set_there_is_no_evaluation(
    project: Project, pipeline: Pipeline, window: Window, model: ScoringModel, tmp_path: Path
) -> None:
    with pytest.raises(GoldenSetInvalid, match=r"flight_delays\.parquet"):
        evaluate_window(replace(project, root=tmp_path), pipeline.spec, window, model)
    draft = manifests(project, pipeline.spec).draft(window)
    assert draft is not None
    assert draft.evaluation is None


def test_a_window_that_was_not_scored_cannot_be_evaluated_or_measured(
    project: Project, pipeline: Pipeline, model: ScoringModel
) -> None:
    window = pipeline.spec.window.window("2013-07-05")
    with pytest.raises(WindowMissing, match="was not scored"):
        evaluate_window(project, pipeline.spec, window, model)
    with pytest.raises(WindowMissing, match="is not published"):
        measure_performance(project, pipeline.spec, window)


def test_realised_performance_equals_that_of_scikit_learn(
    evaluation: Evaluation, project: Project, pipeline: Pipeline, window: Window
) -> None:
    publish(project, pipeline, window)
    found = measure_performance(project, pipeline.spec, window)
    scores = prediction_rows(project, pipeline.spec, evaluation.manifest).to_pandas()
    outcomes = pq.read_table(project.landing / "outcomes/2013-07-04.parquet").to_pandas()
    joined = scores.merge(outcomes, on=list(pipeline.spec.source.key)).dropna(
        subset="arrival_delay"
    )
    labels = joined["arrival_delay"] >= 15
    assert (found.state, found.rows, found.labelled) == ("measured", 737, len(joined))
    assert 700 < len(joined) < 737
    assert found.metrics is not None
    assert found.metrics.positives == labels.sum()
    expected = roc_auc_score(labels, joined["delay_probability"])
    assert found.metrics.auroc == pytest.approx(expected, abs=1e-9, rel=0)


def test_performance_is_a_state_until_outcomes_land_and_measured_once_they_do(
    evaluation: Evaluation, project: Project, pipeline: Pipeline, window: Window
) -> None:
    publish(project, pipeline, window)
    spec, path = pipeline.spec, project.landing / "outcomes/2013-07-04.parquet"
    landed = path.rename(path.with_suffix(".later"))
    assert measured_outcomes(project, spec, window) is None
    assert measure_performance(project, spec, window).state == "no outcomes yet"
    assert measured_outcomes(project, spec, window) is None
    (waiting,) = figures(project, pipeline, window, "performance")
    assert (waiting["verdict"], waiting["revision"]) == (
        "no outcomes yet",
        evaluation.manifest.revision,
    )
    landed.rename(path)
    assert measure_performance(project, spec, window).state == "measured"
    assert measured_outcomes(project, spec, window) == file_sha256(path)
    rows = figures(project, pipeline, window, "performance")
    assert {row["subject"] for row in rows} > {"labelled", "auroc", "brier"}


def test_measuring_again_changes_nothing(
    evaluation: Evaluation, project: Project, pipeline: Pipeline, window: Window
) -> None:
    publish(project, pipeline, window)
    table = metric_table(project, pipeline.spec, "performance")
    first = measure_performance(project, pipeline.spec, window)
    before = table.files()
    assert measure_performance(project, pipeline.spec, window) == first
    assert table.files() == before
    assert evaluation.manifest.published_at is None


def test_corrected_outcomes_are_measured_again(
    evaluation: Evaluation, project: Project, pipeline: Pipeline, window: Window
) -> None:
    publish(project, pipeline, window)
    first = measure_performance(project, pipeline.spec, window)
    path = project.landing / "outcomes/2013-07-04.parquet"
    rows = pq.read_table(path)
    on_time = pa.array(np.zeros(rows.num_rows), pa.float64())
    index = rows.column_names.index("arrival_delay")
    pq.write_table(rows.set_column(index, "arrival_delay", on_time), path)
    second = measure_performance(project, pipeline.spec, window)
    assert (first.metrics is not None, second.metrics is not None) == (True, True)
    assert (second.labelled, second.metrics.positives, second.metrics.auroc) == (737, 0, None)
    assert measured_outcomes(project, pipeline.spec, window) == file_sha256(path)
    assert evaluation.record.golden["rows"] == 2_000
