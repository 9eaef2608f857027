"""A real window that is scored and evaluated, and not yet published."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.scoring.model import ScoringModel, scoring_model
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.publishing.desk import DAY, NOW, Desk
from batchinf_assets_tests.publishing.two_revisions import Shown, two_revisions

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World


@pytest.fixture(scope="session")
def champion(world: World, pipeline: Pipeline) -> ScoringModel:
    return scoring_model(world.registry, pipeline, NOW)


@pytest.fixture(scope="session")
def evaluated(
    world: World,
    pipeline: Pipeline,
    champion: ScoringModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The lake and the landing folder that every test gets a copy of."""
    root = tmp_path_factory.mktemp("evaluated")
    shutil.copytree(world.lake, root / "lake")
    shutil.copytree(world.keys, root / "keys")
    for path in ("weather.parquet", "planes.parquet", f"flights/{DAY}.parquet"):
        (root / "landing" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(world.landing / path, root / "landing" / path)
    window = pipeline.spec.window.window(DAY)
    Desk(_project(root), pipeline, window, champion).prepare()
    return root


@pytest.fixture
def desk(evaluated: Path, pipeline: Pipeline, champion: ScoringModel, tmp_path: Path) -> Desk:
    shutil.copytree(evaluated, tmp_path / "copy")
    project = _project(tmp_path / "copy")
    return Desk(project, pipeline, pipeline.spec.window.window(DAY), champion)


def _project(root: Path) -> Project:
    return Project(
        root=CHECKOUT,
        lake=root / "lake",
        landing=root / "landing",
        dagster_home=root / "dagster",
        keys=root / "keys",
    )


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test leaves the lake with two published revisions for the others."""
    return tmp_path_factory.mktemp("two revisions") / "lake"


@pytest.fixture
def shown(desk: Desk, kept: Path) -> Shown:
    """A window with two published revisions."""
    return two_revisions(desk, kept)
