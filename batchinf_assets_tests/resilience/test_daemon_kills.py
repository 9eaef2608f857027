"""Files land, sensors and backfills start runs, and the daemon dies again and again.

At random points it is the daemon of `dagster dev`, which is started again as users would; at chosen
ones it runs beside a code server, as in a deployment. Nobody clicks; in the end every window is
published, and exactly once.
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_KEY_TAG

from batchinf_assets.orchestration.keys import WINDOWED
from batchinf_assets.project import Project
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.predictions import predictions_table, published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window
from batchinf_assets_tests.resilience.dagster_dev import PARTS, developed
from batchinf_assets_tests.resilience.deployed import Deployment, deployed
from batchinf_assets_tests.resilience.fatal_daemon import FATAL, Point, aim

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

MODULE = "batchinf_assets_tests.resilience.fast_definitions"
PIPELINE = "flight_delays"
LANDING, UNFINISHED = f"{PIPELINE}_landing", f"{PIPELINE}_unfinished"
FIRST_NEW = date(2013, 7, 8)
LATEST_LINE = 40  # of the daemon's output, at which it is killed
LONGEST_LIFE_SECONDS = 12
ALL_SECONDS = 900
POINTS: tuple[Point, ...] = ("before", "after")

ORPHANS_SOON = {"run_monitoring": {"start_timeout_seconds": 60}}
"""A daemon that dies between telling of a launch and launching leaves a run that never starts."""

pytestmark = pytest.mark.usefixtures("environ")


def days(count: int) -> list[str]:
    return [str(FIRST_NEW + timedelta(days=n)) for n in range(count)]


def land(world: World, project: Project, day: str) -> None:
    """Let a day's flights appear whole, as upstream does."""
    target = project.landing / "flights" / f"{day}.parquet"
    beside = target.with_name(f".{target.name}.part")
    shutil.copyfile(world.landing / "flights" / target.name, beside)
    beside.replace(target)


def start_watching(made: Deployment) -> None:
    """Switch the sensors on, and wait until landed files that lie there already are known."""
    for sensor in (LANDING, UNFINISHED):
        made.dagster("sensor", "start", sensor, "-w", str(made.workspace))
    made.start_daemon()
    made.wait_until("the sensor takes stock", lambda: ticked(made))


def ticked(made: Deployment, since: float = 0) -> bool:
    """Whether the landing sensor has looked since a time: a successful tick leaves its own."""
    states = {state.instigator_name: state for state in made.instance.all_instigator_state()}
    data = states[LANDING].instigator_data if LANDING in states else None
    return (getattr(data, "last_tick_success_timestamp", None) or 0) > since


def kill_somewhere(made: Deployment, draw: random.Random) -> int:
    """Kill the daemon of `dagster dev` once it has printed so many lines, and start both again.

    Lines are points of its work, however fast the machine; the clock kills only one that has
    nothing to do. Returns how many runs went on while neither was there.
    """
    begun, last = lines_of(made), draw.randint(1, LATEST_LINE)
    made.wait_until("the daemon works", lambda: lines_of(made) > begun)
    deadline = time.monotonic() + LONGEST_LIFE_SECONDS
    while lines_of(made) < begun + last and time.monotonic() < deadline:
        time.sleep(0.01)
    made.kill_daemon()
    alone = [run.status.value for run in made.runs()].count("STARTED")
    made.start_daemon()
    return alone


def lines_of(made: Deployment) -> int:
    """Count what the daemon printed into the log that it shares with webserver and code server."""
    return (made.home / "daemon.log").read_bytes().count(b" - dagster.daemon")


def wait_until_submitted(made: Deployment) -> None:
    """Wait for what the daemon takes up again, so that what is aimed next hits something else."""

    def submitted() -> bool:
        return "NOT_STARTED" not in {run.status.value for run in made.runs()}

    made.wait_until("runs that were made are submitted", submitted)


def wait_for_the_end(
    made: Deployment, project: Project, pipeline: Pipeline, windows: Sequence[str]
) -> None:
    def ended() -> bool:
        found = [
            published_revision(project, pipeline.spec, window_of(pipeline, w)) for w in windows
        ]
        return None not in found and all(run.is_finished for run in made.runs())

    made.wait_until("every window is published and every run over", ended, ALL_SECONDS)


def window_of(pipeline: Pipeline, key: str) -> Window:
    return pipeline.spec.window.window(key)


def published_once(project: Project, pipeline: Pipeline, windows: Sequence[str]) -> Counter[str]:
    """Hold every window against what landed, and return how its attempts ended, added up."""
    told: Counter[str] = Counter()
    table = predictions_table(project, pipeline.spec)
    assert sorted(table.files()) == sorted(windows)
    for key in windows:
        window = window_of(pipeline, key)
        files = [Path(str(path)) for path in table.files_of(window)]
        assert len({path.parent.name for path in files}) == 1
        landed = pq.read_metadata(project.landing / "flights" / f"{key}.parquet").num_rows
        assert sum(pq.read_metadata(path).num_rows for path in files) == landed
        assert (
            verify_window(project, Registry.at(project, {}), pipeline.spec, window).problems == ()
        )
        states = [row["state"] for row in Ledger(project.lake).read(PIPELINE, key).to_pylist()]
        assert states.count("published") == 1, (key, states)
        told.update(states)
    return told


def asked_once(made: Deployment) -> None:
    """Make sure that no run key was used by two runs."""
    keys = Counter(run.tags.get(RUN_KEY_TAG) for run in made.runs())
    assert {key: count for key, count in keys.items() if count > 1} == {}


@pytest.mark.parametrize(
    ("kills", "windows"), [(3, 3), pytest.param(20, 20, marks=pytest.mark.drill)]
)
def test_windows_that_land_are_published_once_each_however_often_the_daemon_of_dagster_dev_dies(
    kills: int, windows: int, project: Project, world: World, pipeline: Pipeline
) -> None:
    draw, landing, alone = random.Random(kills), days(windows), 0
    with developed(project.dagster_home, MODULE, ORPHANS_SOON) as made:
        start_watching(made)
        assert [len(made.parts(name)) for name in PARTS] == [1, 1, 1]
        for kill in range(kills):
            for day in landing[kill::kills]:
                land(world, project, day)
            alone += kill_somewhere(made, draw)
        wait_for_the_end(made, project, pipeline, landing)
        over = time.time()
        made.wait_until("the last daemon finds nothing to do", lambda: ticked(made, over))
        told = published_once(project, pipeline, landing)
        asked_once(made)
        runs = Counter(run.status.value for run in made.runs())
        again = sum("batchinf/relaunch" in run.tags for run in made.runs())
        print(
            f"{kills} kills, {windows} windows; runs {dict(runs)}; attempts {dict(told)};", end=" "
        )
        print(f"{alone} runs went on while `dagster dev` was away")
        assert runs == Counter(SUCCESS=windows, FAILURE=again)


def test_a_daemon_that_dies_while_a_sensor_submits_a_run_leaves_one_run_of_the_window(
    project: Project, world: World, pipeline: Pipeline
) -> None:
    left = {"before": "NOT_STARTED", "after": "QUEUED"}
    landing = days(len(POINTS))
    with deployed(project.dagster_home, MODULE, FATAL) as made:
        start_watching(made)
        for point, day in zip(POINTS, landing, strict=True):
            aim(made.home, point)
            land(world, project, day)
            made.wait_for_daemon_to_die()
            (run,) = made.runs(**{PARTITION_NAME_TAG: day})
            assert run.status.value == left[point]
            made.start_daemon()
            wait_until_submitted(made)
        wait_for_the_end(made, project, pipeline, landing)
        assert published_once(project, pipeline, landing) == {"published": len(landing)}
        assert len(made.runs()) == len(landing)


def test_a_daemon_that_dies_while_a_backfill_submits_leaves_nothing_out_and_nothing_double(
    project: Project, pipeline: Pipeline
) -> None:
    ranges = {"before": ("2013-07-02", "2013-07-03"), "after": ("2013-07-04", "2013-07-05")}
    graph = [f"{PIPELINE}/{name}" for name in WINDOWED]
    with deployed(project.dagster_home, MODULE, FATAL) as made:
        for point in POINTS:
            made.backfill(*ranges[point], *graph)
            aim(made.home, point)
            made.start_daemon()
            made.wait_for_daemon_to_die()
            left = {run.run_id for run in made.runs()}
            made.start_daemon()
            wait_until_submitted(made)
            assert {run.run_id for run in made.runs()} == left
            made.kill_daemon()
        assert len(left) == len(ranges)
        made.start_daemon()
        windows = [key for pair in ranges.values() for key in pair]
        wait_for_the_end(made, project, pipeline, windows)
        assert published_once(project, pipeline, windows) == {"published": len(windows)}
        assert {run.run_id for run in made.runs()} == left
