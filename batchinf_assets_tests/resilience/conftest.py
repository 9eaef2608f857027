"""A day of flights in eight shards, published once; tests get copies of its lake."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.publishing.proof.verify import Verification
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window
from batchinf_assets_tests.resilience.window_run import (
    DAY,
    fingerprint,
    outputs,
    project_at,
    run_window,
    verified,
    visible_rows,
)

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

SHARD_ROWS = 100


@dataclass(frozen=True)
class Desk:
    """One window that is published, and who runs it again."""

    project: Project
    pipeline: Pipeline

    @property
    def window(self) -> Window:
        return self.pipeline.spec.window.window(DAY)

    @property
    def folder(self) -> Path:
        assert isinstance(self.project.lake, Path)
        return self.project.lake / self.pipeline.name

    def run(self, run_id: str) -> Manifest:
        return run_window(self.project, self.pipeline, self.window, run_id)

    def verify(self) -> Verification:
        return verified(self.project, self.pipeline, self.window)

    def outputs(self) -> list[str]:
        return outputs(self.project, self.pipeline, self.window)

    @property
    def published(self) -> str:
        revision = published_revision(self.project, self.pipeline.spec, self.window)
        assert revision is not None
        return revision

    def unpublish(self) -> None:
        """Take the table's log and the manifests away, as if the run had died after scoring."""
        for name in ("predictions/_delta_log", "_manifests"):
            shutil.rmtree(self.folder / name)

    def seen(self) -> str:
        """Return the fingerprint of what readers see."""
        return fingerprint(visible_rows(self.project, self.pipeline))


@pytest.fixture(scope="session")
def eight_shards(pipeline: Pipeline) -> Pipeline:
    spec = pipeline.spec.model_copy(update={"shard_rows": SHARD_ROWS})
    return replace(pipeline, spec=spec)


@pytest.fixture(scope="session")
def ran_once(
    world: World, eight_shards: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    root = tmp_path_factory.mktemp("ran once")
    for part in ("lake", "keys"):
        shutil.copytree(world.lake.parent / part, root / part)
    for name in ("weather.parquet", "planes.parquet", f"flights/{DAY}.parquet"):
        (root / "landing" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(world.landing / name, root / "landing" / name)
    Desk(project_at(root, root / "landing"), eight_shards).run("first")
    return root


@pytest.fixture
def desk(ran_once: Path, eight_shards: Pipeline, tmp_path: Path) -> Desk:
    shutil.copytree(ran_once, tmp_path / "copy")
    return Desk(project_at(tmp_path / "copy", tmp_path / "copy" / "landing"), eight_shards)
