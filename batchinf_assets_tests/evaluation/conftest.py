"""Lakes with real days of flights in them, made once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.evaluation.evaluate import evaluate_window
from batchinf_assets.evaluation.realised.measure import measure_performance
from batchinf_assets.scoring.model import ScoringModel, scoring_model
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.evaluation.real_days import DAYS, NOW, copied, score, show

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World


@pytest.fixture(scope="session")
def champion(world: World, pipeline: Pipeline) -> ScoringModel:
    return scoring_model(world.registry, pipeline, NOW)


@pytest.fixture(scope="session")
def scored_lake(
    world: World,
    pipeline: Pipeline,
    champion: ScoringModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A lake in which the last of the days is scored and not evaluated."""
    lake = tmp_path_factory.mktemp("scored") / "lake"
    score(world.with_lake(lake), pipeline, pipeline.spec.window.window(DAYS[-1]), champion)
    return lake


@pytest.fixture(scope="session")
def visible_lake(
    world: World,
    pipeline: Pipeline,
    champion: ScoringModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A lake in which readers see all the days; nothing is measured."""
    lake = tmp_path_factory.mktemp("visible") / "lake"
    project = world.with_lake(lake)
    for key in DAYS:
        window = pipeline.spec.window.window(key)
        score(project, pipeline, window, champion)
        evaluate_window(project, pipeline.spec, window, champion)
        show(project, pipeline, window)
    return lake


@pytest.fixture(scope="session")
def measured_lake(
    visible_lake: Path,
    world: World,
    pipeline: Pipeline,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The visible days, measured against their outcomes; models lie beside them."""
    folder = tmp_path_factory.mktemp("measured")
    project = copied(visible_lake, world, folder, DAYS)
    (project.lake / "_models").symlink_to(world.lake / "_models")
    for day in DAYS:
        measure_performance(project, pipeline.spec, pipeline.spec.window.window(day))
    return project.lake
