"""`rollback`: what readers see before and after, told before it is done and when it was."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.telemetry.ledger import Ledger

DAY = "2013-07-01"

Run = Callable[..., Result]
Told = Callable[..., str]


@pytest.fixture
def revisions(fine: Told, project: Project) -> tuple[str, str]:
    """DAY is published, and then a correction of it."""
    found: list[str] = []
    path = project.landing / "flights" / f"{DAY}.parquet"
    for _ in range(2):
        fine("run", "flight_delays", DAY)
        found.append(json.loads(fine("manifest", "flight_delays", DAY))["revision"])
        pq.write_table(pq.read_table(path).slice(2), path)
    return found[0], found[1]


def asked(told: Told, *words: str) -> dict[str, Any]:
    return json.loads(told("rollback", "flight_delays", DAY, "--json", "--reason", "Bad", *words))


def test_a_window_is_taken_back_shown_and_not_published_again(
    revisions: tuple[str, str],
    batchinf: Run,
    fine: Told,
    project: Project,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, bad = revisions
    monkeypatch.setenv("BATCHINF_ACTOR", "ann")
    dry = asked(fine, "--dry-run")
    assert (dry["changed"], dry["state"], dry["announcement"]) == (False, "rolled_back", None)
    assert (dry["before"]["revision"], dry["after"]["revision"]) == (bad, old)
    assert dry["after"]["rows"] == dry["before"]["rows"] + 2
    assert json.loads(fine("manifest", "flight_delays", DAY))["revision"] == bad

    late = batchinf("rollback", "flight_delays", DAY, "--reason", "Late", "--from", old)
    assert late.exit_code == 1
    assert f"see revision {bad} by now, not revision {old}" in late.stderr
    said = fine("rollback", "flight_delays", DAY, "--reason", "Wrong weather", "--from", bad)
    assert said.splitlines()[0] == f"Readers of flight_delays {DAY} see revision {bad}."
    assert said.splitlines()[1].startswith(f"Before: revision {bad}, ")
    assert said.splitlines()[2].startswith(f"After:  revision {old}, ")
    assert json.loads(fine("manifest", "flight_delays", DAY))["revision"] == old
    fine("verify", "flight_delays", DAY)
    (window,) = json.loads(fine("status", "flight_delays", "--json"))
    assert (window["state"], window["revision"]) == ("rolled back", old)
    assert "ann had it rolled back" in window["held_back"]
    attempt = Ledger(project.lake).latest("flight_delays")[DAY]
    assert (attempt.state, attempt.reason_code) == ("rolled_back", "rolled_back")
    key = dg.AssetKey(["flight_delays", "published"])
    (told,) = instance.fetch_materializations(key, limit=1).records
    assert told.asset_materialization is not None
    assert (told.asset_materialization.tags or {})["dagster/data_version"] == old
    (record,) = instance.fetch_observations(key, limit=1).records
    assert record.asset_observation is not None
    shown = {name: value.value for name, value in record.asset_observation.metadata.items()}
    assert (shown["revision_before"], shown["revision"]) == (bad, old)
    assert (shown["by"], shown["reason"]) == ("ann", "Wrong weather")

    path = project.landing / "flights" / f"{DAY}.parquet"
    pq.write_table(pq.read_table(project.landing / "flights" / "2013-07-02.parquet"), path)
    refused = batchinf("rollback", "flight_delays", DAY, "--to", bad, "--reason", "Back again")
    assert refused.exit_code == 1
    assert "ann condemned it on" in refused.stderr
    again = asked(fine, "--to", bad, "--reinstate")
    assert (again["state"], again["after"]["revision"]) == ("reinstated", bad)
    gone = asked(fine, "--withdraw")
    assert (gone["state"], gone["after"], gone["announcement"]["to"]) == ("withdrawn", None, None)
    unpublished = batchinf("verify", "flight_delays", DAY)
    assert unpublished.exit_code == 1
    assert "ann had it withdrawn" in unpublished.stderr


def test_status_of_a_window_names_every_revision_that_readers_saw(
    revisions: tuple[str, str], fine: Told
) -> None:
    old, bad = revisions
    assert [(each["revision"], each["standing"]) for each in seen(fine)] == [
        (bad, "visible"),
        (old, "superseded"),
    ]
    fine("rollback", "flight_delays", DAY, "--reason", "Wrong weather", "--to", old)
    assert [(each["revision"], each["standing"]) for each in seen(fine)] == [
        (old, "visible"),
        (bad, "condemned"),
    ]
    assert seen(fine)[1]["said"].endswith("Wrong weather")
    told = fine("status", "flight_delays", DAY)
    assert told.startswith(f"flight_delays {DAY}: rolled back, trailing stale. ")
    assert all(revision in told for revision in revisions)
    assert "flight_delays v1" in told
    assert seen(fine, "2013-07-02") == []
    assert fine("status", "flight_delays", "2013-07-02") == (
        "Readers saw no revision of flight_delays 2013-07-02 yet.\n"
    )


def seen(told: Told, day: str = DAY) -> list[dict[str, Any]]:
    return json.loads(told("status", "flight_delays", day, "--json"))["seen"]


def test_at_a_terminal_a_withdrawal_shows_what_it_does_and_asks_and_a_script_is_not_asked(
    revisions: tuple[str, str], fine: Told, environ: dict[str, str]
) -> None:
    _, bad = revisions
    code, screen = at_a_terminal("no\n", environ, "--withdraw")
    assert (code, "Nothing was changed." in screen) == (1, True)
    assert f"Before: revision {bad}, " in screen
    assert "After:  readers see nothing." in screen
    assert f"Shall flight_delays {DAY} be withdrawn, and consumers be told? [y/N]" in screen
    assert json.loads(fine("manifest", "flight_delays", DAY))["revision"] == bad
    told = fine("rollback", "flight_delays", DAY, "--reason", "Bad", "--withdraw")
    assert f"flight_delays {DAY}: withdrawn. Consumers were told." in told
    assert f"Prove it: `batchinf verify flight_delays {DAY}` finds nothing published" in told


def at_a_terminal(answer: str, environ: dict[str, str], *words: str) -> tuple[int, str]:
    """Run `rollback` with a terminal as its input, and answer what it asks."""
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    command = [sys.executable, "-m", "batchinf_assets.cli", "rollback", "flight_delays", DAY]
    done = subprocess.run(
        [*command, "--reason", "Bad", *words],
        stdin=theirs,
        capture_output=True,
        text=True,
        env=environ,
        cwd=CHECKOUT,
        check=False,
    )
    os.close(theirs)
    os.close(ours)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--to", "../../x"], "'../../x' is no revision"),
        (["--from", "the one before"], "'the one before' is no revision"),
        (["--withdraw", "--to", "0123456789abcdef"], "either withdrawn or goes back"),
    ],
)
def test_a_wrong_use_is_told_and_exits_2(batchinf: Run, words: list[str], sentence: str) -> None:
    result = batchinf("rollback", "flight_delays", DAY, "--reason", "Bad", *words)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_where_nothing_is_published_nothing_is_taken_back(batchinf: Run) -> None:
    result = batchinf("rollback", "flight_delays", DAY, "--reason", "Bad", "--withdraw")
    assert result.exit_code == 1
    assert f"Nothing is published for window {DAY} of flight_delays." in result.stderr
