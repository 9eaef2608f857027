"""A team's own MLflow server: a real one, in an environment of its own, on loopback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.errors import ModelUnavailable
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.promotion.promote import Decision, promote
from batchinf_assets.registry.artifact import draft_artifact
from batchinf_assets.registry.keys import load_signing_key
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import open_version
from batchinf_assets.spec.load import Pipeline

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

MLFLOW = CHECKOUT / ".venv-mlflow" / "bin" / "mlflow"
DAY = "2013-07-01"
STARTED_WITHIN = 120.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server that keeps everything below a temporary folder."""
    if not MLFLOW.exists() and not os.environ.get("CI"):
        pytest.skip("needs an MLflow server: `make .venv-mlflow/installed`")
    folder = tmp_path_factory.mktemp("mlflow server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [MLFLOW, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    artifacts = ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, *stores, *artifacts],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 9)
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
    raise AssertionError(f"the server did not answer: {log.read_text()}")


@pytest.fixture
def elsewhere(project: Project, tmp_path: Path) -> Project:
    """The project with an empty lake: what is registered is on the server alone."""
    return Project(
        root=CHECKOUT,
        lake=tmp_path / "another lake",
        landing=project.landing,
        dagster_home=project.dagster_home,
        keys=tmp_path / "other keys",
    )


def test_register_promote_and_score_against_a_real_server(
    server: str, world: World, project: Project, elsewhere: Project, pipeline: Pipeline
) -> None:
    now = datetime.now(UTC)
    shutil.copytree(world.keys, elsewhere.keys)
    (elsewhere.keys / "promotions-seen.json").unlink()
    local, remote = (
        Registry.at(project, {}),
        Registry.at(elsewhere, {"MLFLOW_TRACKING_URI": server}),
    )
    with pytest.raises(ModelUnavailable, match="no model 'flight_delays' with alias 'champion'"):
        remote.resolve("flight_delays", "champion")

    champion = open_version(local, local.resolve("flight_delays", "champion"), now)
    contents = {name: champion.contents[name] for name in champion.card.files}
    key = load_signing_key(elsewhere.keys, {})
    registered = remote.register(
        draft_artifact(champion.card, contents), key, now=now, expires_at=now + timedelta(days=1)
    )
    assert registered.aliases == ("challenger",)
    decision = Decision(alias="champion", reason="On a server", by="tests", at=now)
    promote(elsewhere, remote, [pipeline], key, registered, decision)
    assert remote.versions("flight_delays")[0].aliases == ("challenger", "champion")

    done = _batchinf(elsewhere, server, "run", "flight_delays", DAY)
    assert done.returncode == 0, done.stderr
    manifest = json.loads(_batchinf(elsewhere, server, "manifest", "flight_delays", DAY).stdout)
    assert manifest["model"]["version"] == registered.version
    assert manifest["model"]["digest"] == registered.digest
    assert _batchinf(elsewhere, server, "verify", "flight_delays", DAY).returncode == 0
    assert not (elsewhere.lake / "_registry").exists()


def test_a_server_that_is_gone_is_one_clear_line(server: str, elsewhere: Project) -> None:
    nobody = server.rpartition(":")[0] + ":9"
    done = _batchinf(elsewhere, nobody, "model", "list", "flight_delays", retries="0")
    assert done.returncode == 1
    assert done.stderr.startswith("batchinf: The model registry http://127.0.0.1:9 failed:")
    assert done.stderr.count("\n") == 1


def _batchinf(
    project: Project, server: str, *arguments: str, retries: str = "2"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("batchinf"), *arguments],
        env={
            **os.environ,
            "BATCHINF_LAKE": str(project.lake),
            "BATCHINF_LANDING": str(project.landing),
            "BATCHINF_KEYS": str(project.keys),
            "DAGSTER_HOME": str(project.dagster_home),
            "MLFLOW_TRACKING_URI": server,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": retries,
        },
        capture_output=True,
        text=True,
        check=False,
    )
