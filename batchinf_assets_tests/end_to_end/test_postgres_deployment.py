"""`deploy/postgres` as it stands: its settings, and its services started as systemd would."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dagster._core.storage.tags import PARTITION_NAME_TAG

from batchinf_assets.orchestration.keys import WINDOWED
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.publishing.verify import verify_window
from batchinf_assets.registry.registry import Registry
from batchinf_assets.spec import Pipeline
from batchinf_assets_tests.postgres_server import (
    NEEDS_POSTGRES,
    PASSWORD,
    connect,
    postgres_programs,
    postgres_server,
)
from batchinf_assets_tests.resilience.deployed import PATIENCE_SECONDS, Deployment, deployed

DEPLOY = CHECKOUT / "deploy" / "postgres"
PIPELINE = "flight_delays"
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
        with deployed(home, "batchinf_assets.definitions", settings=settings) as made:
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


def recorded_windows() -> dict[str, int]:
    """Ask the database itself: how many assets of a window were materialized."""
    connection = connect(os.environ)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT partition, count(DISTINCT asset_key) FROM event_logs"
            " WHERE dagster_event_type = 'ASSET_MATERIALIZATION' GROUP BY partition"
        )
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
