"""A lake that goes away while a command looks at it: what is missing then is not known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from batchinf_assets.project import Project
from batchinf_assets.publishing.backfill import stale
from batchinf_assets.publishing.proof import replay, verify
from batchinf_assets.publishing.status import statuses

Run = Callable[..., Result]
Told = Callable[..., str]

FIRST, NEXT = "2013-07-01", "2013-07-02"


@pytest.fixture
def published(fine: Told, project: Project) -> Path:
    """The lake, where two windows are published."""
    fine("backfill", "run", "flight_delays", "--from", FIRST, "--to", NEXT)
    return Path(str(project.lake))


@contextmanager
def lost_during(
    lake: Path, module: object, name: str, *, mount_point: bool, calls: int = 1
) -> Generator[None]:
    """Take the lake away before the n-th call of a function; an empty folder stays if told so."""
    called, real, aside = 0, getattr(module, name), lake.with_name("aside")

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal called
        called += 1
        if called == calls:
            lake.rename(aside)
            if mount_point:
                lake.mkdir()
        return real(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, call)
        yield
    shutil.rmtree(lake, ignore_errors=True)
    aside.rename(lake)


@pytest.mark.parametrize("mount_point", [True, False], ids=["unmounted", "moved away"])
def test_what_a_lost_lake_does_not_hold_is_not_known(
    published: Path, batchinf: Run, refused: Told, *, mount_point: bool
) -> None:
    gone = f"The folder {published / 'flight_delays'} is gone"
    with lost_during(published, verify, "verify_window", mount_point=mount_point, calls=2):
        said = batchinf("verify", "flight_delays", "--all", "--take-back", "--json")
    first, second = json.loads(said.stdout)
    assert (said.exit_code, first["holds"]) == (1, True)
    assert (second["known"], second["holds"]) == (False, False)
    assert second["problems"][0].startswith(f"It is not known whether it holds: {gone}")
    with lost_during(published, replay, "replay_window", mount_point=mount_point, calls=2):
        assert f"{NEXT}: {gone}" in refused("replay", "flight_delays", "--all")
    for module, name, command in (
        (statuses, "pipeline_status", ("status", "flight_delays")),
        (statuses, "pipeline_status", ("status", "flight_delays", FIRST)),
        (stale, "plan_backfill", ("backfill", "plan", "flight_delays")),
    ):
        with lost_during(published, module, name, mount_point=mount_point):
            assert gone in refused(*command)


def test_a_table_that_the_ledger_knows_of_and_that_is_gone_is_named(
    published: Path, refused: Told, batchinf: Run
) -> None:
    table = published / "flight_delays" / "predictions"
    shutil.rmtree(table)
    gone = f"The table {table} is gone, though the ledger says that 2 windows were published in it."
    assert gone in refused("status", "flight_delays")
    assert gone in refused("backfill", "plan", "flight_delays")
    assert gone in refused("verify", "flight_delays", "--all")
    (found,) = json.loads(batchinf("verify", "flight_delays", FIRST, "--json").stdout)
    assert gone in found["problems"][0]
    assert not found["known"]
    assert batchinf("run", "flight_delays", FIRST).exit_code == 0
    assert batchinf("verify", "flight_delays", FIRST).exit_code == 0


@pytest.mark.parametrize("command", [("maintain", "--dry-run"), ("tickets",)], ids=" ".join)
def test_a_lake_that_is_not_there_is_named_where_there_is_nothing_to_do(
    batchinf: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("BATCHINF_LAKE", str(tmp_path / "lakke"))
    said = batchinf(command[0], "flight_delays", *command[1:])
    assert said.stderr == (
        f"batchinf: The lake {tmp_path / 'lakke'} is not there: nothing was looked at.\n"
    )


def test_a_plan_says_that_files_land_nowhere(
    batchinf: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHINF_LANDING", str(tmp_path / "unmounted"))
    said = batchinf("backfill", "plan", "flight_delays")
    assert said.exit_code == 0
    assert f"The landing folder {tmp_path / 'unmounted'} is not there: which" in said.stderr
