"""A process is killed while it takes a window back: a tick of the sensor finishes it, once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow.parquet as pq
import pytest
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from deltalake import DeltaTable

from batchinf_assets.attempts import recorder_of
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.orchestration.unfinished.sensor import unfinished_sensor
from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import announcements
from batchinf_assets.publishing.rollback.plan import RollbackRequest
from batchinf_assets.publishing.rollback.roll_back import attempt_rollback
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.predictions import predictions_table, published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets_tests.conftest import project_in
from batchinf_assets_tests.orchestration.rollback.test_withdrawal import PUBLISHED, job_of
from batchinf_assets_tests.resilience.killed_rollback import (
    DAY,
    POINTS,
    demanding,
    killed_rollback,
)

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World


def point_at(project: Project, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("BATCHINF_LAKE", str(project.lake))
    patch.setenv("BATCHINF_LANDING", str(project.landing))
    patch.setenv("DAGSTER_HOME", str(project.dagster_home))
    patch.setenv("BATCHINF_KEYS", str(project.keys))


def below(root: Path, like: Project) -> Project:
    return Project(
        root=like.root,
        lake=root / "lake",
        landing=root / "landing",
        dagster_home=root / "dagster",
        keys=root / "keys",
    )


@pytest.fixture(scope="module")
def prepared(world: World, pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose window was published, corrected and published again."""
    project = project_in(tmp_path_factory.mktemp("prepared"), world)
    window = pipeline.spec.window.window(DAY)
    landed = project.landing / "flights" / f"{DAY}.parquet"
    with pytest.MonkeyPatch.context() as patch:
        point_at(project, patch)
        with dg.DagsterInstance.get() as instance:
            job = job_of(pipeline, "flight_delays")
            for _ in range(2):
                assert run_job(job, instance, [window], lambda *_said: None).succeeded
                pq.write_table(pq.read_table(landed).slice(2), landed)
    return project


class Scene:
    """The window, the sensor, and what readers, consumers and Dagster know of it."""

    def __init__(self, project: Project, instance: dg.DagsterInstance, spec: PipelineSpec) -> None:
        self.project, self.instance, self.spec = project, instance, spec
        self.window = spec.window.window(DAY)
        self.bad = self.visible()
        (self.old,) = {each["batchinf.revision"] for each in self.commits()} - {self.bad}

    def visible(self) -> str | None:
        return published_revision(self.project, self.spec, self.window)

    def commits(self) -> list[dict[str, str]]:
        history = DeltaTable(str(predictions_table(self.project, self.spec).folder)).history()
        shown = [each for each in history if each.get("batchinf.window") == DAY]
        return [each for each in shown if "batchinf.revision" in each or "batchinf.event" in each]

    def rollbacks(self) -> int:
        return sum("batchinf.event" in each for each in self.commits())

    def told(self) -> list[str]:
        return [each.event for each in announcements(self.project, self.spec, self.window)]

    def shown_by_dagster(self) -> str | None:
        of_day = dg.AssetRecordsFilter(asset_key=PUBLISHED, asset_partitions=[DAY])
        (newest,) = self.instance.fetch_materializations(of_day, limit=1).records
        assert newest.asset_materialization is not None
        return (newest.asset_materialization.tags or {}).get(DATA_VERSION_TAG)

    def observations(self) -> int:
        of_day = dg.AssetRecordsFilter(asset_key=PUBLISHED, asset_partitions=[DAY])
        return len(self.instance.fetch_observations(of_day, limit=9).records)

    def withdrawn_runs(self) -> int:
        failed = dg.RunsFilter(
            job_name="flight_delays_withdrawn", statuses=[dg.DagsterRunStatus.FAILURE]
        )
        return self.instance.get_runs_count(failed)

    def codes(self) -> list[str | None]:
        recorder_of(self.project).flush(60)
        rows = Ledger(self.project.lake).read("flight_delays", DAY).to_pylist()
        return [row["reason_code"] for row in rows if row["state"] == "rolled_back"]

    def tick(self) -> None:
        sensor = unfinished_sensor(self.spec)
        with dg.build_sensor_context(
            instance=self.instance, resources={"workplace": Workplace()}
        ) as context:
            sensor(context)


@pytest.fixture
def copied(prepared: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    root = Path(str(prepared.lake)).parent
    shutil.copytree(root, tmp_path / "copy")
    project = below(tmp_path / "copy", prepared)
    point_at(project, monkeypatch)
    return project


@pytest.fixture
def scene(copied: Project, pipeline: Pipeline) -> Iterator[Scene]:
    with dg.DagsterInstance.get() as instance:
        yield Scene(copied, instance, demanding(pipeline, withdraw=False).spec)


@pytest.mark.parametrize("point", POINTS)
def test_wherever_it_was_killed_the_next_tick_leaves_one_rollback_that_all_know_of(
    scene: Scene, point: str
) -> None:
    killed_rollback(point, withdraw=False)
    assert scene.rollbacks() == (0 if point == "before the commit" else 1)
    for _ in range(2):
        scene.tick()
        assert scene.visible() == scene.old
        assert (scene.rollbacks(), scene.told()) == (1, ["rolled_back"])
        assert scene.codes() == ["rolled_back/performance"]
        assert (scene.shown_by_dagster(), scene.observations()) == (scene.old, 1)


def test_a_withdrawal_that_dagster_was_not_told_of_turns_the_window_red_once(
    scene: Scene, pipeline: Pipeline
) -> None:
    window, registry = scene.window, Registry.at(scene.project, {})
    asked = RollbackRequest(
        by="automatic rollback", reason="Bad", at=datetime.now(UTC), seen=scene.bad
    )
    back = attempt_rollback(scene.project, registry, scene.spec, window, asked, run_id="tests")
    assert back.state == "rolled_back"
    scene.spec = demanding(pipeline, withdraw=True).spec
    killed_rollback("before Dagster is told", withdraw=True)
    assert (scene.visible(), scene.withdrawn_runs()) == (None, 0)
    for _ in range(2):
        scene.tick()
        assert scene.withdrawn_runs() == 1
        assert sorted(scene.told()) == ["rolled_back", "withdrawn"]


def test_who_lives_is_left_to_tell_dagster_by_itself(scene: Scene) -> None:
    registry = Registry.at(scene.project, {})
    asked = RollbackRequest(by="ann", reason="Bad", at=datetime.now(UTC), seen=scene.bad)
    attempt_rollback(scene.project, registry, scene.spec, scene.window, asked, run_id="tests")
    scene.tick()  # this process lives, and was at it a moment ago
    assert (scene.visible(), scene.observations()) == (scene.old, 0)
