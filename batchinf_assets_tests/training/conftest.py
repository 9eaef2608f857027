"""A school: ten landed days, of which a quick copy of the pipeline learns two."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.registry.keyring import init_keys
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.registry import Registry
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.model import TrainingSpec
from batchinf_assets.training.dataset import LabelledRows, training_rows
from batchinf_assets.training.register import RegisteredModel, declared_windows, register_model
from batchinf_assets.windows import Window
from batchinf_demo.landing import land

FIRST, END = date(2013, 6, 28), date(2013, 6, 30)
NOW = datetime(2013, 7, 1, tzinfo=UTC)

# The pipeline's own model with fewer trees: learning is not what is tested here.
QUICK = "max_iter=150", "max_iter=5"

Quick = Callable[..., Pipeline]


@dataclass(frozen=True)
class School:
    """Where models are trained and registered.

    Attributes:
        project: Days from 2013-06-20 to 06-29 have landed.
        pipeline: Learns from the last two of them.
        key: Signs, and is trusted.
        labelled: The rows that it learns from.
    """

    project: Project
    pipeline: Pipeline
    key: SigningKey
    labelled: LabelledRows
    now: datetime = NOW

    @property
    def registry(self) -> Registry:
        return Registry.at(self.project, {})

    @property
    def windows(self) -> list[Window]:
        return list(declared_windows(self.pipeline))

    def register(self, data: bytes) -> RegisteredModel:
        return register_model(
            self.project,
            self.registry,
            self.pipeline,
            self.key,
            data,
            self.windows,
            self.labelled,
            now=self.now,
        )

    def with_lake(self, lake: Path) -> School:
        """The same school, its registry empty."""
        return replace(self, project=replace(self.project, lake=lake))


def quick_copy(
    pipeline: Pipeline, folder: Path, script: str | None = None, **dates: date
) -> Pipeline:
    shutil.copytree(pipeline.folder, folder)
    text = (folder / "train.py").read_text(encoding="utf-8")
    assert QUICK[0] in text
    (folder / "train.py").write_text(script or text.replace(*QUICK), encoding="utf-8")
    training = TrainingSpec(**{"start": FIRST, "end": END, **dates})
    model = pipeline.spec.model.model_copy(update={"training": training})
    return replace(pipeline, folder=folder, spec=pipeline.spec.model_copy(update={"model": model}))


@pytest.fixture
def quick(pipeline: Pipeline, tmp_path: Path) -> Quick:
    """Make a copy of the pipeline that learns from two days, by its own script or another."""

    def make(script: str | None = None, **dates: date) -> Pipeline:
        return quick_copy(pipeline, tmp_path / "copy", script, **dates)

    return make


@pytest.fixture(scope="session")
def school(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> School:
    root = tmp_path_factory.mktemp("a school")
    project = Project(
        root=CHECKOUT,
        lake=root / "lake",
        landing=root / "landing",
        dagster_home=root / "dagster",
        keys=root / "keys",
    )
    land(project.landing, first=date(2013, 6, 20), last=date(2013, 6, 29))
    key = init_keys(project.keys, not_before=NOW, not_after=NOW + timedelta(days=1000))
    copy = quick_copy(pipeline, root / "flight_delays")
    labelled = training_rows(project, copy, declared_windows(copy), lambda *_: None)
    return School(project, copy, key, labelled)
