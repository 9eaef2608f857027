"""A code server and a daemon as processes of their own, which a test starts, kills and asks.

Like a deployment: the daemon is no parent of the runs, so they go on when it dies.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from warnings import catch_warnings, simplefilter

import dagster as dg
import pytest
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_graphql.cli import execute_query

from batchinf_assets.project import CHECKOUT

LOCATION = "batchinf_assets"
PATIENCE_SECONDS = 180
LOOK_SECONDS = 0.2

SHORT_INTERVALS = {
    "run_coordinator": {"config": {"dequeue_interval_seconds": 1}},
    "run_monitoring": {"poll_interval_seconds": 2},
}
"""Of the daemon, so that tests wait less; merged into the project's own settings."""

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
BACKFILL = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
PARTITION_KEYS = """
query Keys($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { partitionKeys } }
}
"""


@dataclass
class Deployment:
    """One Dagster instance with its code server; the daemon runs while a test wants it to."""

    home: Path
    workspace: Path
    instance: dg.DagsterInstance
    daemon: subprocess.Popen[bytes] | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.home / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=CHECKOUT,
                env={**os.environ, "DAGSTER_HOME": str(self.home)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_daemon(self) -> None:
        self.daemon = self.start(
            "daemon", "-m", "dagster._daemon", "run", "-w", str(self.workspace)
        )

    def kill_daemon(self) -> None:
        assert self.daemon is not None
        self.daemon.kill()
        self.wait_for_daemon_to_die()

    def wait_for_daemon_to_die(self) -> None:
        assert self.daemon is not None
        self.daemon.wait(timeout=PATIENCE_SECONDS)
        self.daemon = None

    def dagster(self, *arguments: str) -> None:
        """Run one of Dagster's own commands to its end."""
        process = self.start("commands", "-m", "dagster", *arguments)
        assert process.wait(timeout=PATIENCE_SECONDS) == 0, self.printed()

    def ask(self, query: str, **variables: object) -> Any:
        """Execute GraphQL as the webserver would, and return its only field."""
        target = WorkspaceFileTarget(paths=[str(self.workspace)])
        with WorkspaceProcessContext(self.instance, target) as context, catch_warnings():
            simplefilter("ignore")  # Dagster uses what it deprecates
            answer = execute_query(context, query, variables)
        assert "errors" not in answer, answer
        (found,) = answer["data"].values()
        return found

    def launch(self, *assets: str, **tags: str) -> str:
        """Materialize assets as the asset graph of the UI does; returns the run's id."""
        told = self.ask(
            LAUNCH,
            params={
                "selector": {
                    "repositoryLocationName": LOCATION,
                    "repositoryName": "__repository__",
                    "pipelineName": "__ASSET_JOB",
                    "assetSelection": [{"path": asset.split("/")} for asset in assets],
                    "assetCheckSelection": [],
                },
                "mode": "default",
                "executionMetadata": {
                    "tags": [{"key": key, "value": value} for key, value in tags.items()]
                },
            },
        )
        assert told["__typename"] == "LaunchRunSuccess", told
        run_id: str = told["run"]["runId"]
        return run_id

    def backfill(self, first: str, last: str, *assets: str) -> str:
        """Launch a backfill of a range as the UI does; returns its id."""
        graph = self.ask(PARTITION_KEYS, key={"path": assets[0].split("/")})
        keys = [key for key in graph["partitionKeys"] if first <= key <= last]
        told = self.ask(
            BACKFILL,
            params={
                "assetSelection": [{"path": asset.split("/")} for asset in assets],
                "partitionNames": keys,
            },
        )
        assert told["__typename"] == "LaunchBackfillSuccess", told
        backfill_id: str = told["backfillId"]
        return backfill_id

    def runs(self, **tags: str) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(tags=tags)))

    def status(self, run_id: str) -> str:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status.value

    def wait_until(
        self, what: str, holds: Callable[[], bool], seconds: float = PATIENCE_SECONDS
    ) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                seen = [(run.run_id[:8], run.status.value, run.tags) for run in self.runs()]
                pytest.fail(f"not within {seconds} s: {what}\n{seen}\n{self.printed()}")
            time.sleep(LOOK_SECONDS)

    def printed(self) -> str:
        return "\n".join(
            f"--- {log.name}\n{log.read_text()[-2500:]}" for log in self.home.glob("*.log")
        )


D = TypeVar("D", bound=Deployment)


@contextmanager
def deployed(
    home: Path,
    module: str,
    *changes: dict[str, Any],
    settings: Path = CHECKOUT / "deploy" / "local" / "dagster.yaml",
) -> Generator[Deployment]:
    """Start the code server of a module; the daemon is started by the test.

    Args:
        home: Dagster's home; its `dagster.yaml` is made of `settings`.
        module: Where the definitions are.
        changes: Merged over the settings, in order.
        settings: One of the project's own.
    """
    port = free_port()
    server = {"host": "127.0.0.1", "port": port, "location_name": LOCATION}
    found = {"grpc_server": server}
    with instance_at(Deployment, home, found, *changes, settings=settings) as made:
        command = ("-m", "dagster", "api", "grpc", "--module-name", module, "--host", "127.0.0.1")
        code_server = made.start("code-server", *command, "--port", str(port))
        made.wait_until("the code server listens", lambda: _listens(code_server, port))
        yield made


@contextmanager
def instance_at(
    kind: type[D],
    home: Path,
    location: dict[str, Any],
    *changes: dict[str, Any],
    settings: Path = CHECKOUT / "deploy" / "local" / "dagster.yaml",
) -> Generator[D]:
    """Write the settings of an instance and its workspace; in the end nothing of it still runs.

    Args:
        kind: Of deployment.
        home: Dagster's home; its `dagster.yaml` is made of `settings`.
        location: The workspace's only entry: where its definitions are loaded from.
        changes: Merged over the settings, in order.
        settings: One of the project's own.
    """
    home.mkdir(parents=True, exist_ok=True)
    whole = yaml.safe_load(settings.read_text())
    for change in (SHORT_INTERVALS, *changes):
        whole = merged(whole, change)
    (home / "dagster.yaml").write_text(yaml.safe_dump(whole))
    workspace = home / "workspace.yaml"
    workspace.write_text(yaml.safe_dump({"load_from": [location]}))
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("DAGSTER_HOME", str(home))
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(home)))
        made = kind(home=home, workspace=workspace, instance=instance)
        stack.callback(_end, made)
        yield made


def merged(settings: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return settings with a change, key by key."""
    nested = {
        key: merged(settings[key], value)
        for key, value in change.items()
        if isinstance(value, dict) and isinstance(settings.get(key), dict)
    }
    return {**settings, **change, **nested}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def processes_of(session: int) -> Sequence[int]:
    """Return the processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, owner = stat.read_text().rpartition(")")[2].split()[:4]
            if int(owner) == session and state != "Z":
                found.append(int(stat.parent.name))
    return found


def _listens(server: subprocess.Popen[bytes], port: int) -> bool:
    assert server.poll() is None, "the code server ended"
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def _end(made: Deployment) -> None:
    for process in made.processes:
        for pid in processes_of(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
