"""Conditions and sensors of one pipeline, all on under a real daemon: one run for a landing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dagster._core.scheduler.instigation import InstigatorStatus

from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets_tests.resilience.declarative_definitions import CONDITIONS
from batchinf_assets_tests.resilience.deployed import Deployment, deployed

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

MODULE = "batchinf_assets_tests.resilience.declarative_definitions"
LANDING = "flight_delays_landing"
NEW, OLD = "2013-07-08", "2013-06-05"
QUIET_TICKS = 3

pytestmark = pytest.mark.usefixtures("environ")


def land(source: Path, target: Path) -> None:
    beside = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, beside)
    beside.replace(target)


def ticks(made: Deployment, sensor: str) -> int:
    """Count a sensor's ticks that ended."""
    (state,) = [x for x in made.instance.all_instigator_state() if x.instigator_name == sensor]
    found = made.instance.get_ticks(state.instigator_origin_id, state.selector_id)
    return sum(not tick.is_failure and tick.end_timestamp is not None for tick in found)


def looked(made: Deployment, times: int) -> None:
    """Wait until sensor and conditions have both looked so many times more."""
    for name in (LANDING, CONDITIONS):
        before = ticks(made, name)
        made.wait_until(f"{name} ticks", lambda: ticks(made, name) >= before + times)  # noqa: B023


def test_with_all_that_the_pipeline_has_switched_on_a_landing_is_one_run(
    project: Project, world: World, pipeline: Pipeline
) -> None:
    folder, spec = project.landing / "flights", pipeline.spec
    (folder / f"{OLD}.parquet").unlink()
    with deployed(project.dagster_home, MODULE) as made:
        made.dagster("sensor", "start", "--start-all", "-w", str(made.workspace))
        made.start_daemon()
        made.wait_until("sensors run", lambda: {LANDING, CONDITIONS} <= running(made))
        looked(made, 1)
        for day in (NEW, OLD):
            land(world.landing / "flights" / f"{day}.parquet", folder / f"{day}.parquet")

        def published() -> bool:
            found = [published_revision(project, spec, spec.window.window(d)) for d in (NEW, OLD)]
            return None not in found and all(run.is_finished for run in made.runs())

        made.wait_until("both windows are published", published)
        looked(made, QUIET_TICKS)
        assert [run.status.value for run in made.runs()] == ["SUCCESS"] * 2
        for day in (NEW, OLD):
            attempts = Ledger(project.lake).read("flight_delays", day).to_pylist()
            assert [attempt["state"] for attempt in attempts] == ["published"], day


def running(made: Deployment) -> set[str]:
    on = (InstigatorStatus.RUNNING, InstigatorStatus.DECLARED_IN_CODE)
    return {x.instigator_name for x in made.instance.all_instigator_state() if x.status in on}
