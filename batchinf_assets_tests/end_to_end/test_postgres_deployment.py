"""`deploy/postgres` as it stands: its settings, and its services started as systemd would."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from dagster._core.storage.tags import PARTITION_NAME_TAG

from batchinf_assets.orchestration.keys import WINDOWED
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.registry.registry import Registry
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.postgres_server import (
    NEEDS_POSTGRES,
    PASSWORD,
    connect,
    postgres_programs,
    postgres_server,
)
from batchinf_assets_tests.resilience.deployed import PATIENCE_SECONDS, Deployment, deployed

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

DEPLOY = CHECKOUT / "deploy" / "postgres"
MODULE = "batchinf_assets_tests.resilience.fast_definitions"
PIPELINE = "flight_delays"
LANDS = "2013-07-08"
SENSORS = (f"{PIPELINE}_landing", f"{PIPELINE}_unfinished")
QUEUED, BY_HAND = "2013-07-04", "2013-07-05"

pytestmark = pytest.mark.skipif(
    postgres_programs() is None and os.environ.get("CI") != "true", reason=NEEDS_POSTGRES
)


@pytest.fixture
def shared(
    project: Project,
    environ: dict[str, str],  # noqa: ARG001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Deployment]:
    """The shipped settings over a server of its own; a code server, and no daemon yet."""
    with postgres_server() as address:
        for name, value in {**address, "BATCHINF_LOGS": str(tmp_path / "logs")}.items():
            monkeypatch.setenv(name, value)
        home, settings = project.dagster_home, DEPLOY / "dagster.yaml"
        with deployed(home, MODULE, settings=settings) as made:
            yield made


def home_of_another_user(tmp_path: Path) -> Path:
    home = tmp_path / "another" / "dagster"
    home.mkdir(parents=True)
    (home / "dagster.yaml").symlink_to(DEPLOY / "dagster.yaml")
    return home


def test_two_users_runs_at_once_are_queued_run_and_recorded_in_postgresql(
    shared: Deployment, project: Project, pipeline: Pipeline, tmp_path: Path
) -> None:
    graph = [f"{PIPELINE}/{name}" for name in WINDOWED]
    through_the_ui = shared.launch(*graph, **{PARTITION_NAME_TAG: QUEUED})
    assert shared.status(through_the_ui) == "QUEUED"
    by_hand = subprocess.Popen(
        [Path(sys.executable).with_name("batchinf"), "run", PIPELINE, BY_HAND],
        cwd=CHECKOUT,
        env={**os.environ, "DAGSTER_HOME": str(home_of_another_user(tmp_path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    shared.start_daemon()
    printed, _ = by_hand.communicate(timeout=PATIENCE_SECONDS)
    assert by_hand.returncode == 0, printed
    shared.wait_until("the queued run succeeds", lambda: shared.status(through_the_ui) == "SUCCESS")
    registry = Registry.at(project, {})
    for key in (QUEUED, BY_HAND):
        window = pipeline.spec.window.window(key)
        assert verify_window(project, registry, pipeline.spec, window).problems == ()
    assert recorded_windows() == {QUEUED: len(WINDOWED), BY_HAND: len(WINDOWED)}
    assert len(shared.runs()) == 2
    homes = (shared.home, tmp_path / "another")
    assert [file for home in homes for file in home.rglob("*.db")] == []
    assert PASSWORD not in shared.printed() + printed


def test_what_lands_is_published_by_a_sensor_whose_ticks_are_in_postgresql(
    shared: Deployment, project: Project, world: World
) -> None:
    for sensor in SENSORS:
        shared.dagster("sensor", "start", sensor, "-w", str(shared.workspace))
    shared.start_daemon()
    shared.wait_until("both sensors tick", lambda: set(ticks("SKIPPED")) == {*SENSORS})
    name = f"{LANDS}.parquet"
    beside = project.landing / "flights" / f".{name}.part"
    shutil.copyfile(world.landing / "flights" / name, beside)
    beside.replace(beside.with_name(name))
    shared.wait_until("a run", lambda: shared.runs() != [])
    shared.wait_until("it is over", lambda: all(run.is_finished for run in shared.runs()))
    seen = ticks("SKIPPED")
    shared.wait_until(
        "both tick again", lambda: all(ticks("SKIPPED")[each] > seen[each] for each in SENSORS)
    )
    assert [run.status.value for run in shared.runs()] == ["SUCCESS"]
    assert recorded_windows() == {LANDS: len(WINDOWED) - 1}  # its outcomes have not landed
    assert ticks("SUCCESS") == {SENSORS[0]: 1}
    assert ticks("FAILURE") == {}


def recorded_windows() -> dict[str, int]:
    """Ask the database itself: how many assets of a window were materialized."""
    return rows(
        "SELECT partition, count(DISTINCT asset_key) FROM event_logs"
        " WHERE dagster_event_type = 'ASSET_MATERIALIZATION' GROUP BY partition"
    )


def ticks(status: str) -> dict[str, int]:
    """Ask the database itself: how many ticks of each sensor ended like this."""
    counted = rows(
        "SELECT tick_body::json ->> 'job_name', count(*) FROM job_ticks"
        " WHERE status = %s GROUP BY 1",
        status,
    )
    return {name: count for name, count in counted.items() if name is not None}


def rows(query: str, *values: str) -> dict[str, int]:
    connection = connect(os.environ)
    with connection, connection.cursor() as cursor:
        cursor.execute(query, values)
        found = dict(cursor.fetchall())
    connection.close()
    return found


def commands_of_services() -> dict[str, list[str]]:
    found = {}
    for unit in sorted(DEPLOY.glob("*.service")):
        (line,) = [x for x in unit.read_text().splitlines() if x.startswith("ExecStart=")]
        found[unit.stem] = shlex.split(line.removeprefix("ExecStart="))
    return found


def test_the_services_start_programs_of_the_environment_with_options_that_they_have() -> None:
    installed = Path(sys.executable).parent
    for name, command in commands_of_services().items():
        program = installed / Path(command[0]).name
        told = subprocess.run(
            [program, *[word for word in command[1:3] if not word.startswith("-")], "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        options = [word for word in command if word.startswith("--")]
        assert [option for option in options if option not in told.stdout] == [], name
        assert all((CHECKOUT / word).exists() for word in command if word.endswith(".yaml"))


def test_the_workspace_is_where_the_code_server_listens() -> None:
    (entry,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    server, command = entry["grpc_server"], commands_of_services()["batchinf-code"]
    options = dict(itertools.pairwise(command))
    assert options["--host"] == server["host"] == "127.0.0.1"
    assert options["--port"] == str(server["port"])
    local = yaml.safe_load((CHECKOUT / "workspace.yaml").read_text())["load_from"][0]
    assert options["--module-name"] == local["python_module"]["module_name"]
    assert server["location_name"] == local["python_module"]["location_name"]


def test_the_environment_names_every_variable_that_the_settings_read() -> None:
    lines = (DEPLOY / "environment.example").read_text().splitlines()
    named = {line.partition("=")[0] for line in lines if not line.startswith("#")}
    read = set(variables_in(yaml.safe_load((DEPLOY / "dagster.yaml").read_text())))
    assert read
    assert read <= named


def variables_in(settings: object) -> Iterator[str]:
    if isinstance(settings, dict):
        if set(settings) == {"env"}:
            yield settings["env"]
        for each in settings.values():
            yield from variables_in(each)
    elif isinstance(settings, list):
        for each in settings:
            yield from variables_in(each)
