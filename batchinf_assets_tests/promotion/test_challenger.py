"""A challenger learns no golden row, and meets the champion only where neither has learned."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from batchinf_assets.evaluation.metrics.binary import FIGURES
from batchinf_assets.project import Project
from batchinf_assets.promotion.challenger import (
    Challenger,
    Comparison,
    compare_later,
    train_challenger,
)
from batchinf_assets.registry.card import FROM_FILE, TRAINED_HERE, Origin
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import open_version
from batchinf_assets.scoring.model import ScoringModel, scoring_model
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.model import ChallengerSpec
from batchinf_assets.training.dataset import labelled_rows

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

Train = Callable[..., Challenger]


def silent(_done: int, _all: int) -> None:
    pass


@pytest.fixture(scope="module")
def quick(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The pipeline with five trees: learning is not what is tested here."""
    folder = tmp_path_factory.mktemp("quick") / "flight_delays"
    shutil.copytree(pipeline.folder, folder)
    script = folder / "train.py"
    text = script.read_text(encoding="utf-8")
    assert "max_iter=150" in text
    script.write_text(text.replace("max_iter=150", "max_iter=5"), encoding="utf-8")
    return replace(pipeline, folder=folder)


def declaring(pipeline: Pipeline, challenger: ChallengerSpec) -> Pipeline:
    model = pipeline.spec.model.model_copy(update={"challenger": challenger})
    return replace(pipeline, spec=pipeline.spec.model_copy(update={"model": model}))


@pytest.fixture
def train(project: Project, registry: Registry, signing_key: SigningKey, quick: Pipeline) -> Train:
    """Train a challenger on some windows and hold it against the champion on newer ones."""

    def run(windows: int, holdout: int, project: Project = project) -> Challenger:
        declared = declaring(quick, ChallengerSpec(windows=windows, holdout=holdout))
        now = datetime.now(UTC)
        return train_challenger(project, registry, declared, signing_key, silent, now=now)

    return run


def test_a_challenger_of_the_golden_quarter_learns_no_golden_row(
    train: Train, project: Project, quick: Pipeline
) -> None:
    windows = quick.spec.window.between("2013-06-29", "2013-06-30")
    rows = labelled_rows(project, quick, windows, silent).rows.to_pandas()
    golden = pq.read_table(project.root / quick.spec.golden.file).to_pandas()
    key = list(quick.spec.source.key)
    shared = len(rows.merge(golden, on=key, validate="one_to_one"))
    assert shared > 20
    found = train(windows=2, holdout=7)
    assert [window.key for window in found.training] == ["2013-06-29", "2013-06-30"]
    assert found.registered.card.training.rows == len(rows) - shared
    assert found.registered.card.origin == TRAINED_HERE
    assert found.comparison.differences is not None
    auroc = found.comparison.differences["auroc"]
    assert auroc.champion != auroc.candidate


@pytest.fixture(scope="module")
def champion(world: World, pipeline: Pipeline) -> ScoringModel:
    return scoring_model(world.registry, pipeline, datetime.now(UTC))


def until(model: ScoringModel, end: date, origin: Origin = TRAINED_HERE) -> ScoringModel:
    """The same model as if its card said so."""
    card = model.artifact.card
    training = card.training.model_copy(update={"end": end})
    card = card.model_copy(update={"training": training, "origin": origin})
    return replace(model, artifact=replace(model.artifact, card=card))


HOLDOUT = "2013-07-04", "2013-07-07"


def compared(
    world: World, pipeline: Pipeline, champion: ScoringModel, challenger: ScoringModel
) -> Comparison:
    holdout = pipeline.spec.window.between(*HOLDOUT)
    return compare_later(world.project, pipeline, champion, challenger, holdout, silent)


@pytest.mark.parametrize(
    ("end", "first", "windows"),
    [
        (date(2013, 4, 1), "2013-07-04", "4 windows"),
        (date(2013, 7, 4), "2013-07-04", "4 windows"),
        (date(2013, 7, 5), "2013-07-05", "3 windows"),
        (date(2013, 7, 7), "2013-07-07", "1 window"),
    ],
)
def test_both_are_compared_only_on_windows_after_the_champions_training(
    world: World, pipeline: Pipeline, champion: ScoringModel, end: date, first: str, windows: str
) -> None:
    later = pipeline.spec.window.between(first, HOLDOUT[1])
    rows = labelled_rows(world.project, pipeline, later, silent).rows.num_rows
    found = compared(world, pipeline, until(champion, end), champion)
    assert found.sentence == (
        f"With flight_delays v1 on {first} to 2013-07-07: {windows}, {rows} labelled rows."
    )
    assert found.differences is not None
    assert tuple(found.differences) == FIGURES
    assert found.differences["auroc"].difference == 0


def test_a_champion_as_new_as_the_holdout_is_not_compared(
    world: World, pipeline: Pipeline, champion: ScoringModel
) -> None:
    found = compared(world, pipeline, until(champion, date(2013, 7, 8)), champion)
    assert found.differences is None
    assert found.sentence == (
        "Not compared: champion flight_delays v1 learned up to 2013-07-08, and no window of the "
        "holdout starts then or later."
    )


def test_what_a_champion_that_came_as_a_file_learned_from_is_said_to_be_unknown(
    world: World, pipeline: Pipeline, champion: ScoringModel
) -> None:
    found = compared(world, pipeline, until(champion, date(2013, 7, 7), FROM_FILE), champion)
    assert found.sentence.endswith("rows. What it learned from is not known: it came as a file.")
    assert found.differences is not None


def test_a_challenger_is_reported_although_the_champion_does_not_verify(
    train: Train, registry: Registry
) -> None:
    (model,) = (registry.artifact_root / "flight_delays").glob("v1-*/model.skops")
    model.chmod(0o644)
    model.write_bytes(b"changed")
    found = train(windows=1, holdout=1)
    assert found.registered.version.version == "2"
    assert registry.resolve("flight_delays", "challenger").digest == found.registered.version.digest
    assert found.comparison.differences is None
    assert found.comparison.sentence.startswith("Not compared: Model flight_delays v1")


def test_a_challenger_is_reported_although_the_holdout_cannot_be_read(
    train: Train, project: Project, registry: Registry
) -> None:
    path = project.landing / "flights" / "2013-07-07.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["carrier"]), path)
    found = train(windows=1, holdout=1)
    assert open_version(registry, found.registered.version, datetime.now(UTC)).card
    assert found.comparison.differences is None
    assert "2013-07-07" in found.comparison.sentence
    assert "column carrier: expected string, found no such column" in found.comparison.sentence
