"""Training on a few real days: the labels are true, the features are those of scoring."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from batchinf_assets.errors import (
    InvalidSpec,
    LandedFileMissing,
    ModelRefused,
    ModelUnavailable,
    UnknownWindow,
    WindowRefused,
)
from batchinf_assets.features.build import build_features, feature_definition
from batchinf_assets.project import Project
from batchinf_assets.registry.artifact import open_artifact
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.scoring.score import scoring_model
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.spec import Pipeline, TrainingSpec
from batchinf_assets.training.dataset import LabelledRows, labelled_rows
from batchinf_assets.training.train import TrainedModel, train_and_register
from batchinf_demo.landing import land

FIRST, END = date(2013, 6, 28), date(2013, 6, 30)
DAYS = ("2013-06-28", "2013-06-29")
KEY = ["scheduled_departure", "carrier", "flight"]

# The pipeline's own model with fewer trees: learning is not what is tested here.
QUICK = "max_iter=150", "max_iter=5"


@dataclass(frozen=True)
class School:
    """What was trained once for all tests."""

    project: Project
    registry: Registry
    pipeline: Pipeline
    trained: TrainedModel
    progress: list[tuple[int, int]]


def quick(pipeline: Pipeline, folder: Path, script: str | None = None, **dates: date) -> Pipeline:
    """A copy of the pipeline that learns from two days."""
    shutil.copytree(pipeline.folder, folder)
    text = (folder / "train.py").read_text(encoding="utf-8")
    assert QUICK[0] in text
    (folder / "train.py").write_text(script or text.replace(*QUICK), encoding="utf-8")
    training = TrainingSpec(**{"start": FIRST, "end": END, **dates})
    model = pipeline.spec.model.model_copy(update={"training": training})
    return replace(pipeline, folder=folder, spec=pipeline.spec.model_copy(update={"model": model}))


@pytest.fixture(scope="module")
def school(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> School:
    root = tmp_path_factory.mktemp("a school")
    project = Project(
        root=root, lake=root / "lake", landing=root / "landing", dagster_home=root / "dagster"
    )
    land(project.landing, first=date(2013, 6, 20), last=date(2013, 6, 29))
    registry, copy = Registry.at(project.lake, {}), quick(pipeline, root / "flight_delays")
    progress: list[tuple[int, int]] = []
    trained = train_and_register(project, registry, copy, lambda *done: progress.append(done))
    return School(project, registry, copy, trained, progress)


@pytest.fixture(scope="module")
def labelled(school: School) -> LabelledRows:
    windows = school.pipeline.spec.window.between(*DAYS)
    return labelled_rows(school.project, school.pipeline, windows, lambda *_: None)


@pytest.fixture(scope="module")
def arrivals(school: School) -> pd.DataFrame:
    """The outcomes of the two days, as they landed."""
    folder = school.project.landing / "outcomes"
    return pd.concat([pq.read_table(folder / f"{day}.parquet").to_pandas() for day in DAYS])


def test_labels_are_the_landed_arrivals_of_the_same_flight(
    labelled: LabelledRows, arrivals: pd.DataFrame
) -> None:
    rows = labelled.rows.select([*KEY, "label"]).to_pandas()
    joined = rows.merge(arrivals, on=KEY, validate="one_to_one")
    assert len(joined) == len(rows) == arrivals["arrival_delay"].notna().sum()
    assert (joined["label"] == (joined["arrival_delay"] >= 15)).all()
    assert 0.1 < joined["label"].mean() < 0.6


def test_flights_without_arrival_are_left_out_and_counted(
    labelled: LabelledRows, arrivals: pd.DataFrame
) -> None:
    assert labelled.windows == 2
    assert labelled.unlabelled == arrivals["arrival_delay"].isna().sum() > 0


def test_a_model_learns_from_the_very_features_that_scoring_makes(
    school: School, labelled: LabelledRows, tmp_path: Path
) -> None:
    project = replace(school.project, lake=tmp_path / "lake")
    window = school.pipeline.spec.window.window(DAYS[1])
    freeze_snapshot(project, school.pipeline.spec, window)
    scored = build_features(project, school.pipeline, window).rows.to_pandas()
    learned = labelled.rows.drop_columns(["label"]).to_pandas()
    learned = learned[learned["scheduled_departure"] >= window.start]
    assert len(learned) > 500
    merged = learned.merge(scored, on=KEY, suffixes=("", "_scored"), validate="one_to_one")
    for feature in school.pipeline.spec.features.columns:
        pd.testing.assert_series_equal(
            merged[feature], merged[f"{feature}_scored"], check_names=False
        )


def test_rows_come_in_window_order_and_sorted_by_key(labelled: LabelledRows) -> None:
    frame = labelled.rows.select(KEY).to_pandas()
    assert frame.equals(frame.sort_values(KEY, ignore_index=True))


def test_the_model_is_registered_under_the_declared_name_and_alias(school: School) -> None:
    version = school.registry.resolve("flight_delays", "champion")
    assert version == school.trained.version
    assert (version.version, version.aliases) == ("1", ("champion",))
    assert scoring_model(school.registry, school.pipeline).version == version


def test_the_card_says_what_the_model_learned_from(school: School, labelled: LabelledRows) -> None:
    version = school.trained.version
    card = open_artifact(version.source, digest=version.digest).card
    positives = labelled.rows["label"].to_pylist().count(True)
    assert card.training == school.trained.training
    assert (card.training.start, card.training.end) == (FIRST, END)
    assert (card.training.rows, card.training.positives) == (labelled.rows.num_rows, positives)
    assert card.feature_definition == feature_definition(school.pipeline)
    assert [column.name for column in card.input_schema] == list(
        school.pipeline.spec.features.columns
    )


def test_its_figures_are_those_on_the_training_rows(school: School, labelled: LabelledRows) -> None:
    scorer = scoring_model(school.registry, school.pipeline).scorer
    frame = model_frame(labelled.rows, school.pipeline.spec.features.columns)
    scores = scorer.estimator.predict_proba(frame)[:, 1]
    expected = roc_auc_score(labelled.rows["label"].to_numpy(zero_copy_only=False), scores)
    assert school.trained.metrics.auroc == pytest.approx(expected, abs=1e-9)
    assert school.trained.version.metrics["auroc"] == school.trained.metrics.auroc
    assert expected > 0.7


def test_progress_counts_the_windows(school: School) -> None:
    assert school.progress == [(1, 2), (2, 2)]


def test_training_again_gives_the_same_scores(
    school: School, labelled: LabelledRows, tmp_path: Path
) -> None:
    # Not the same digest: skops writes memory addresses and the time into its file.
    registry = Registry.at(tmp_path / "another lake", {})
    again = train_and_register(school.project, registry, school.pipeline, lambda *_: None)
    assert again.metrics == school.trained.metrics
    rows = labelled.rows.select(list(school.pipeline.spec.features.columns))
    first, second = (
        scoring_model(one, school.pipeline).scorer.score(rows)
        for one in (school.registry, registry)
    )
    assert first.tobytes() == second.tobytes()


def refuse(
    school: School, pipeline: Pipeline, registry: Registry, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        train_and_register(school.project, registry, pipeline, lambda *_: None)
    with pytest.raises(ModelUnavailable):
        registry.resolve("flight_delays", "champion")


@pytest.fixture
def empty(tmp_path: Path) -> Registry:
    return Registry.at(tmp_path / "lake", {})


@pytest.mark.parametrize("script", ["x = 1\n", "train = 'no function'\n"])
def test_a_script_without_train_is_refused(
    school: School, pipeline: Pipeline, empty: Registry, tmp_path: Path, script: str
) -> None:
    copy = quick(pipeline, tmp_path / "copy", script)
    refuse(school, copy, empty, InvalidSpec, r"flight_delays/train\.py defines no function `train`")


def test_a_model_that_cannot_be_loaded_safely_is_not_registered(
    school: School, pipeline: Pipeline, empty: Registry, tmp_path: Path
) -> None:
    script = """
from sklearn.base import BaseEstimator, ClassifierMixin

class Own(ClassifierMixin, BaseEstimator):
    classes_ = (False, True)
    def predict_proba(self, rows):
        import numpy
        return numpy.full((len(rows), 2), 0.5)

def train(features, labels):
    return Own()
"""
    refuse(school, quick(pipeline, tmp_path / "copy", script), empty, ModelRefused, "Own")


def drop_a_day(school: School, landing: Path) -> Project:
    shutil.copytree(school.project.landing, landing)
    (landing / "outcomes" / f"{DAYS[1]}.parquet").unlink()
    return replace(school.project, landing=landing)


def test_a_day_without_outcomes_stops_training_and_is_named(
    school: School, empty: Registry, tmp_path: Path
) -> None:
    bare = replace(school, project=drop_a_day(school, tmp_path / "landing"))
    refuse(bare, school.pipeline, empty, LandedFileMissing, r"outcomes/2013-06-29\.parquet")


def test_a_day_that_breaks_its_contract_stops_training(
    school: School, empty: Registry, tmp_path: Path
) -> None:
    shutil.copytree(school.project.landing, tmp_path / "landing")
    path = tmp_path / "landing" / "flights" / f"{DAYS[1]}.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["carrier"]), path)
    bare = replace(school, project=replace(school.project, landing=tmp_path / "landing"))
    refuse(bare, school.pipeline, empty, WindowRefused, "2013-06-29")


def test_without_outcomes_nothing_can_be_learned(school: School, empty: Registry) -> None:
    spec = school.pipeline.spec.model_copy(update={"outcomes": None})
    mute = replace(school.pipeline, spec=spec)
    refuse(school, mute, empty, InvalidSpec, "flight_delays declares no outcomes")


def test_training_starts_with_a_declared_window(
    school: School, pipeline: Pipeline, empty: Registry, tmp_path: Path
) -> None:
    early = quick(pipeline, tmp_path / "copy", start=date(2012, 12, 31))
    refuse(school, early, empty, UnknownWindow, "2012-12-31")
