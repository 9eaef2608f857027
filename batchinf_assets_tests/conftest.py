"""One real world for all tests: landed flights, and a model trained on the declared quarter."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.registry.registry import Registry
from batchinf_assets.spec import Pipeline, load_pipeline
from batchinf_assets.training.train import train_and_register
from batchinf_demo.landing import land

FIRST_DAY, LAST_DAY = date(2013, 6, 1), date(2013, 7, 7)


@dataclass(frozen=True)
class World:
    """What the session made once; tests get copies.

    Attributes:
        landing: Every day of 2013.
        lake: Nothing but the registry with the champion.
    """

    landing: Path
    lake: Path


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    return load_pipeline("flight_delays")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, pipeline: Pipeline) -> World:
    root = tmp_path_factory.mktemp("the world")
    project = Project(
        root=CHECKOUT, lake=root / "lake", landing=root / "landing", dagster_home=root / "dagster"
    )
    land(project.landing)
    train_and_register(project, Registry.at(project.lake, {}), pipeline, lambda _done, _all: None)
    return World(landing=project.landing, lake=project.lake)


@pytest.fixture
def project(world: World, tmp_path: Path) -> Project:
    """A project of its own: 37 landed days up to 2013-07-07, the champion, an empty lake."""
    landing = tmp_path / "landing"
    for drop in ("flights", "outcomes"):
        (landing / drop).mkdir(parents=True)
        for source in sorted((world.landing / drop).glob("*.parquet")):
            if str(FIRST_DAY) <= source.stem <= str(LAST_DAY):
                shutil.copy2(source, landing / drop)
    for name in ("weather.parquet", "planes.parquet"):
        shutil.copy2(world.landing / name, landing)
    shutil.copytree(world.lake, tmp_path / "lake")
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy2(CHECKOUT / "dagster.yaml", home)
    return Project(root=CHECKOUT, lake=tmp_path / "lake", landing=landing, dagster_home=home)


@pytest.fixture
def registry(project: Project) -> Registry:
    return Registry.at(project.lake, {})


@pytest.fixture
def environ(project: Project, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Point the process, and what it starts, at the test's project."""
    monkeypatch.setenv("BATCHINF_LAKE", str(project.lake))
    monkeypatch.setenv("BATCHINF_LANDING", str(project.landing))
    monkeypatch.setenv("DAGSTER_HOME", str(project.dagster_home))
    return dict(os.environ)


@pytest.fixture
def instance(environ: dict[str, str]) -> Iterator[dg.DagsterInstance]:  # noqa: ARG001
    with dg.DagsterInstance.get() as instance:
        yield instance
