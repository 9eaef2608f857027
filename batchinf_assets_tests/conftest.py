"""One real world for all tests: landed flights, and a model trained on the declared quarter."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import skops.io
from dagster._core.storage.defs_state.base import set_defs_state_storage
from hypothesis import settings

from batchinf_assets.features.labels import LABEL
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.promotion.promote import Decision, promote
from batchinf_assets.registry.estimator import load_estimator
from batchinf_assets.registry.keyring import init_keys
from batchinf_assets.registry.keys import SigningKey, load_signing_key
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import open_version
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.training.dataset import labelled_rows
from batchinf_assets.training.register import register_model, train_and_register
from batchinf_demo.landing import land

# The same examples on every machine and run; nothing is remembered in the checkout.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")

OPEN_FILES = 4_096


def pytest_configure() -> None:
    """Allow as many open files as a process may have here: MLflow keeps each registry's open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, OPEN_FILES)), hard))


FIRST_DAY, LAST_DAY = date(2013, 6, 1), date(2013, 7, 7)
LANDED_SINCE = datetime(2013, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """What the session made once; tests get copies.

    Attributes:
        landing: Every day of 2013.
        lake: Nothing but the registry with the champion.
        keys: The keyring, and the key that signed it.
    """

    landing: Path
    lake: Path
    keys: Path

    @property
    def project(self) -> Project:
        return self.with_lake(self.lake)

    @property
    def registry(self) -> Registry:
        return Registry.at(self.project, {})

    def with_lake(self, lake: Path) -> Project:
        """Another lake beside the same landed files and keys; for tests that move no alias."""
        return Project(
            root=CHECKOUT,
            lake=lake,
            landing=self.landing,
            dagster_home=lake.parent / "dagster",
            keys=self.keys,
        )


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    return load_pipeline("flight_delays")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, pipeline: Pipeline) -> World:
    root = tmp_path_factory.mktemp("the world")
    made = World(landing=root / "landing", lake=root / "lake", keys=root / "keys")
    land(made.landing)
    now = datetime.now(UTC)
    # Trusted since 2013, because tests also score and publish at the time of their windows.
    key = init_keys(made.keys, not_before=LANDED_SINCE, not_after=now + timedelta(days=2))
    trained = train_and_register(
        made.project, made.registry, pipeline, key, lambda _done, _all: None, now=now
    )
    decision = Decision(alias="champion", reason="The first model", by="tests", at=now)
    promote(made.project, made.registry, [pipeline], key, trained.version, decision)
    return made


@pytest.fixture(scope="session")
def rivals(world: World, pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The world with two more versions that nobody promoted: 2 is about as good, 3 learned noise.

    Version 2 is the champion without its last thirty trees: no row's score stays the same, and its
    quality hardly changes.
    """
    root = tmp_path_factory.mktemp("rivals")
    made = World(landing=world.landing, lake=root / "lake", keys=root / "keys")
    shutil.copytree(world.lake, made.lake)
    shutil.copytree(world.keys, made.keys)
    now, registry = datetime.now(UTC), made.registry
    windows = pipeline.spec.window.between("2013-06-25", "2013-06-26")
    labelled = labelled_rows(made.project, pipeline, windows, lambda _done, _all: None)
    champion = open_version(registry, registry.version("flight_delays", "1"), now)
    shorter = load_estimator(champion.contents["model.skops"], "The champion")
    boost = shorter.named_steps["boost"]
    boost._predictors = boost._predictors[:-30]
    labels = labelled.rows.column(LABEL).to_pandas().to_numpy()
    frame = model_frame(labelled.rows, pipeline.spec.features.columns)
    noise = load_estimator(champion.contents["model.skops"], "The champion")
    noise.set_params(boost__max_iter=5).fit(frame, np.random.default_rng(0).permutation(labels))
    key = load_signing_key(made.keys, {})
    for model in (shorter, noise):
        data = skops.io.dumps(model)
        register_model(made.project, registry, pipeline, key, data, windows, labelled, now=now)
    return made


@pytest.fixture
def project(world: World, tmp_path: Path) -> Project:
    """A project of its own: 37 landed days up to 2013-07-07, the champion, an empty lake."""
    return project_in(tmp_path, world)


@pytest.fixture
def contested(rivals: World, tmp_path: Path) -> Project:
    """A project like `project` whose registry has the rivals too."""
    return project_in(tmp_path, rivals)


def project_in(folder: Path, world: World) -> Project:
    landing = folder / "landing"
    for drop in ("flights", "outcomes"):
        (landing / drop).mkdir(parents=True)
        for source in sorted((world.landing / drop).glob("*.parquet")):
            if str(FIRST_DAY) <= source.stem <= str(LAST_DAY):
                shutil.copy2(source, landing / drop)
    for name in ("weather.parquet", "planes.parquet"):
        shutil.copy2(world.landing / name, landing)
    shutil.copytree(world.lake, folder / "lake")
    shutil.copytree(world.keys, folder / "keys")
    home = folder / "dagster"
    home.mkdir()
    shutil.copy2(CHECKOUT / "deploy" / "local" / "dagster.yaml", home)
    return Project(
        root=CHECKOUT,
        lake=folder / "lake",
        landing=landing,
        dagster_home=home,
        keys=folder / "keys",
    )


@pytest.fixture
def registry(project: Project) -> Registry:
    return Registry.at(project, {})


@pytest.fixture
def signing_key(project: Project) -> SigningKey:
    return load_signing_key(project.keys, {})


@pytest.fixture
def environ(project: Project, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Point the process, and what it starts, at the test's project."""
    monkeypatch.setenv("BATCHINF_LAKE", str(project.lake))
    monkeypatch.setenv("BATCHINF_LANDING", str(project.landing))
    monkeypatch.setenv("DAGSTER_HOME", str(project.dagster_home))
    monkeypatch.setenv("BATCHINF_KEYS", str(project.keys))
    return dict(os.environ)


@pytest.fixture(autouse=True)
def no_instance_of_another_test() -> Iterator[None]:
    """Dagster asks the instance entered last for the state of definitions, even one that is gone.

    What entered it may be closed only when the collector finds it, in whichever test that is.
    """
    with set_defs_state_storage(None):
        yield


@pytest.fixture
def instance(environ: dict[str, str]) -> Iterator[dg.DagsterInstance]:  # noqa: ARG001
    with dg.DagsterInstance.get() as instance:
        yield instance
