"""`rollback`: what readers see before and after, told before it is done and when it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from batchinf_assets.project import Project
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
