"""The command itself: its help, its version, and how a failure is told."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import sqlalchemy.exc
from click.testing import Result

from batchinf_assets import __version__
from batchinf_assets.cli import main
from batchinf_assets.errors import UnknownWindow
from batchinf_assets.project import CHECKOUT

Run = Callable[..., Result]
Told = Callable[..., str]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("command", [*commands(main)], ids=" ".join)
def test_every_command_explains_itself(fine: Told, command: tuple[str, ...]) -> None:
    told = fine(*command, "--help")
    assert told.startswith("Usage: ")
    assert told == fine(*command, "-h")


def test_version_is_that_of_the_package(fine: Told) -> None:
    assert fine("--version") == f"batchinf, version {__version__}\n"


def test_debug_lets_the_failure_through(batchinf: Run) -> None:
    result = batchinf("--debug", "run", "flight_delays", "nope")
    assert isinstance(result.exception, UnknownWindow)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("status", "nope"), 2, "unknown_pipeline"),
        (("verify", "flight_delays"), 2, "usage_error"),
        (("run", "flight_delays", "2012-01-01"), 2, "unknown_window"),
        (("manifest", "flight_delays", "2013-07-01"), 1, "window_missing"),
        (("contract", "infer", "no-such-file.csv"), 1, "landed_file_missing"),
    ],
)
def test_a_failure_is_one_document_where_json_is_asked_for(
    batchinf: Run, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    said = batchinf(*arguments, "--json")
    document = json.loads(said.stdout)
    assert said.exit_code == code
    assert document["reason_code"] == reason
    assert said.stderr == f"batchinf: {document['error']}\n"
    assert batchinf(*arguments).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("status",), "Missing argument 'PIPELINE'. See `main status -h`."),
        (("status", "flight_delays", "--nope"), "No such option '--nope'. See `main status -h`."),
        (("backfill", "plan", "flight_delays", "--fro", "x"), "No such option '--fro'."),
        (("golden", "draw"), "Missing argument 'PIPELINE'. See `main golden draw -h`."),
        (("nope",), "No such command 'nope'. See `main -h`."),
        (("--nope", "status"), "No such option '--nope'. See `main -h`."),
    ],
)
def test_wrong_arguments_are_one_document_too_where_json_is_asked_for(
    batchinf: Run, arguments: tuple[str, ...], problem: str
) -> None:
    said = batchinf(*arguments, "--json")
    document = json.loads(said.stdout)
    assert said.exit_code == 2
    assert document["reason_code"] == "usage_error"
    assert document["error"].startswith(problem)
    assert said.stderr.startswith("Usage: ")
    assert batchinf(*arguments).stdout == ""


@pytest.mark.parametrize("mistaken", ["absent", "empty", "file"])
def test_a_dagster_home_without_settings_is_refused_with_its_variable_and_not_made(
    refused: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistaken: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    home = tmp_path / mistaken
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    for command in (("status", "flight_delays"), ("run", "flight_delays", "2013-07-01")):
        line = refused(*command, code=2)
        assert f"Dagster's home {home} is no folder with a dagster.yaml" in line
        assert "Set DAGSTER_HOME" in line
        assert f"cp deploy/local/dagster.yaml {home}" in line
    assert list((tmp_path / "empty").iterdir()) == []
    assert not (tmp_path / "absent").exists()


def test_debug_shows_the_traceback_in_a_real_process() -> None:
    command = [Path(sys.executable).with_name("batchinf"), "--debug", "run", "flight_delays", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback ")
    assert "UnknownWindow: 'x' is not a window." in done.stderr


POSTGRES = {
    "DAGSTER_PG_HOST": "127.0.0.1",
    "DAGSTER_PG_PORT": "9",  # nobody listens
    "DAGSTER_PG_DB": "dagster",
    "DAGSTER_PG_USER": "dagster",
    "DAGSTER_PG_PASSWORD": "CANARY",
    "BATCHINF_LOGS": "/nowhere",
}


def status_over_postgres(home: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    home.mkdir()
    (home / "dagster.yaml").symlink_to(CHECKOUT / "deploy" / "postgres" / "dagster.yaml")
    return subprocess.run(
        [sys.executable, "-m", "batchinf_assets.cli", "status", "flight_delays"],
        env={**os.environ, **environ, "DAGSTER_HOME": str(home), "BATCHINF_LAKE": str(home)},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_database_of_dagster_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    ended = status_over_postgres(tmp_path / "home", **POSTGRES)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "batchinf: Dagster's storage failed: connection to server at" in ended.stderr
    assert "CANARY" not in ended.stderr


def test_a_variable_that_a_dagster_yaml_needs_is_named(tmp_path: Path) -> None:
    environ = {name: value for name, value in POSTGRES.items() if name != "DAGSTER_PG_HOST"}
    ended = status_over_postgres(tmp_path / "home", **environ)
    assert ended.returncode == 2
    assert "DAGSTER_PG_HOST" in ended.stderr


def test_a_database_of_dagster_without_room_is_one_sentence(
    refused: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        cause = sqlite3.OperationalError("database or disk is full")
        raise sqlalchemy.exc.OperationalError(None, None, cause)

    monkeypatch.setattr("dagster.DagsterInstance.get", full)
    told = refused("status", "flight_delays")
    assert told.startswith("batchinf: Dagster's storage failed: database or disk is full. ")
