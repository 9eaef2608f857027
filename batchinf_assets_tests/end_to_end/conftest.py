"""One window published once; every test breaks its own copy of it through the real commands."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from batchinf_assets.cli import main, models, windows
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.scoring.predictions import manifests, predictions_table, published_revision
from batchinf_assets.spec.load import DEFS_FOLDER, Pipeline, load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets_tests.end_to_end.browser import chromium, page, url

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

__all__ = ["chromium", "page", "url"]  # fixtures of every test here

PUBLISHED = "2013-07-01"
LANDED = ("2013-06-29", "2013-06-30", PUBLISHED, "2013-07-02", "2013-07-03")


@dataclass(frozen=True)
class Operator:
    """Somebody at the command line of a project in which one window is published."""

    project: Project
    spec: PipelineSpec

    def batchinf(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    def landed(self, name: str) -> Path:
        return self.project.landing / name

    def revision(self, key: str = PUBLISHED) -> str | None:
        return published_revision(self.project, self.spec, self.spec.window.window(key))

    def visible(self, key: str = PUBLISHED) -> dict[str, bytes]:
        """Return the bytes of everything that readers of a window see."""
        window, revision = self.spec.window.window(key), self.revision(key)
        assert revision is not None
        files = predictions_table(self.project, self.spec).files_of(window)
        manifest = manifests(self.project, self.spec).path(window, revision)
        return {str(path): path.read_bytes() for path in (*files, manifest)}


def point_to(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHINF_LAKE", str(project.lake))
    monkeypatch.setenv("BATCHINF_LANDING", str(project.landing))
    monkeypatch.setenv("DAGSTER_HOME", str(project.dagster_home))
    monkeypatch.setenv("BATCHINF_KEYS", str(project.keys))


def project_in(folder: Path) -> Project:
    return Project(
        root=CHECKOUT,
        lake=folder / "lake",
        landing=folder / "landing",
        dagster_home=folder / "dagster",
        keys=folder / "keys",
    )


@pytest.fixture(scope="session")
def published_world(
    world: World, tmp_path_factory: pytest.TempPathFactory, pipeline: Pipeline
) -> Path:
    folder = tmp_path_factory.mktemp("published")
    project = project_in(folder)
    for drop in ("flights", "outcomes"):
        (project.landing / drop).mkdir(parents=True)
        for day in LANDED:
            shutil.copy2(world.landing / drop / f"{day}.parquet", project.landing / drop)
    for name in ("weather.parquet", "planes.parquet"):
        shutil.copy2(world.landing / name, project.landing)
    shutil.copytree(world.lake, project.lake)
    shutil.copytree(world.keys, project.keys)
    project.dagster_home.mkdir()
    shutil.copy2(CHECKOUT / "deploy" / "local" / "dagster.yaml", project.dagster_home)
    with pytest.MonkeyPatch.context() as monkeypatch:
        point_to(project, monkeypatch)
        result = Operator(project, pipeline.spec).batchinf("run", pipeline.name, PUBLISHED)
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def operator(
    published_world: Path, tmp_path: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> Operator:
    shutil.copytree(published_world, tmp_path, dirs_exist_ok=True)
    project = project_in(tmp_path)
    point_to(project, monkeypatch)
    return Operator(project, pipeline.spec)


@pytest.fixture
def own_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the pipeline's folder, which the commands then read instead of the real one."""
    defs = tmp_path / "defs"
    shutil.copytree(DEFS_FOLDER / "flight_delays", defs / "flight_delays")
    for commands in (models, windows):
        monkeypatch.setattr(commands, "load_pipeline", partial(load_pipeline, defs=defs))
    return defs / "flight_delays"
