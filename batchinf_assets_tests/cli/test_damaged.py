"""`verify` on what is damaged: it names the command; asked to, it takes back as the policy says."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import dagster as dg
import pytest
import yaml
from click.testing import Result
from sqlalchemy.exc import OperationalError

from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.rollback.roll_back import untold_rollback
from batchinf_assets.orchestration.unfinished.rollbacks import GRACE, finish_rollbacks
from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import announcements
from batchinf_assets.publishing.proof import verify
from batchinf_assets.publishing.rollback import remedies
from batchinf_assets.publishing.tickets.tickets import read_tickets
from batchinf_assets.registry.registry import Registry
from batchinf_assets.spec import load as spec_module
from batchinf_assets.spec.load import DEFS_FOLDER, Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window
from batchinf_assets_tests.cli.test_rollback import DAY, revisions
from batchinf_assets_tests.nobody import as_nobody, give_to_nobody, show_to_nobody

Run = Callable[..., Result]
Told = Callable[..., str]

NEXT = "2013-07-02"

__all__ = ["revisions"]


@pytest.fixture
def acting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Declare that what does not verify is taken back."""
    folder = tmp_path / "defs" / "flight_delays"

    def declare() -> None:
        folder.mkdir(parents=True)
        for path in (DEFS_FOLDER / "flight_delays").iterdir():
            if path.is_file():
                (folder / path.name).write_bytes(path.read_bytes())
        document = yaml.safe_load((folder / "defs.yaml").read_text())
        document["attributes"]["rollback"] = {"automatic": ["verification"], "withdraw": True}
        (folder / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        monkeypatch.setattr(spec_module.load_pipeline, "__defaults__", (folder.parent,))

    return declare


def files(project: Project, below: str) -> list[Path]:
    return sorted(Path(str(project.lake)).glob(f"flight_delays/predictions/{below}/*.parquet"))


def damage(project: Project, revision: str) -> None:
    (path,) = files(project, f"*/{revision}")
    path.write_bytes(path.read_bytes()[:-8] + b"rubbish!")


@pytest.fixture
def days(fine: Told, acting: Callable[[], None]) -> dict[str, str]:
    """Two published days of a policy that takes back, by the revision that readers see."""
    fine("backfill", "run", "flight_delays", "--from", DAY, "--to", NEXT)
    acting()
    return seen(fine)


def seen(fine: Told) -> dict[str, str]:
    windows = json.loads(fine("status", "flight_delays", "--json"))
    return {each["window"]: each["revision"] for each in windows if each["window"] in (DAY, NEXT)}


def test_what_verify_finds_damaged_is_taken_back_once_and_then_withdrawn(
    revisions: tuple[str, str],
    acting: Callable[[], None],
    batchinf: Run,
    fine: Told,
    project: Project,
    pipeline: Pipeline,
    instance: dg.DagsterInstance,
) -> None:
    old, bad = revisions
    spec, window = pipeline.spec, pipeline.spec.window.window(DAY)
    damage(project, bad)
    only_named = batchinf("verify", "flight_delays", DAY)
    assert only_named.exit_code == 1
    assert only_named.stderr.splitlines()[-1] == (
        f"batchinf: {DAY}: Take it back: `batchinf rollback flight_delays {DAY} --from {bad} "
        "--reason TEXT`."
    )
    assert json.loads(fine("manifest", "flight_delays", DAY))["revision"] == bad
    assert not [kept for kept in read_tickets(project, spec) if kept.ticket.check == "verification"]

    acting()
    not_asked = batchinf("verify", "flight_delays", "--all")
    assert not_asked.exit_code == 1
    assert f"Take it back: `batchinf verify flight_delays {DAY} --take-back`" in not_asked.stderr
    assert json.loads(fine("manifest", "flight_delays", DAY))["revision"] == bad
    done = batchinf("verify", "flight_delays", "--all", "--take-back")
    assert done.exit_code == 1
    assert f"Rolled back by itself: readers see revision {old} now." in done.stderr
    assert fine("verify", "flight_delays", DAY) == "1 of 1 windows verify.\n"
    attempt = Ledger(project.lake).latest("flight_delays")[DAY]
    assert (attempt.state, attempt.reason_code) == ("rolled_back", "rolled_back/verification")
    key = dg.AssetKey(["flight_delays", "published"])
    (told,) = instance.fetch_materializations(key, limit=1).records
    assert told.asset_materialization is not None
    assert (told.asset_materialization.tags or {})["dagster/data_version"] == old
    (ticket,) = [k for k in read_tickets(project, spec) if k.ticket.check == "verification"]
    assert ticket.windows == (DAY,)
    assert len(announcements(project, spec, window)) == 1

    damage(project, old)
    told_of = batchinf("verify", "flight_delays", DAY, "--take-back", "--json")
    (found,) = json.loads(told_of.stdout)
    assert (found["holds"], found["rollback"]["state"]) == (False, "withdrawn")
    assert (found["rollback"]["before"]["revision"], found["rollback"]["after"]) == (old, None)
    failed = dg.RunsFilter(job_name="flight_delays_withdrawn")
    assert instance.get_runs_count(failed) == 1
    assert "had it withdrawn" in batchinf("verify", "flight_delays", DAY).stderr
    assert [each.event for each in announcements(project, spec, window)] == [
        "rolled_back",
        "withdrawn",
    ]


def test_where_many_windows_are_damaged_at_once_none_is_taken_back(
    days: dict[str, str],
    batchinf: Run,
    fine: Told,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for revision in days.values():
        damage(project, revision)
    monkeypatch.setattr(remedies, "MOST_AT_ONCE", 1)
    stopped = batchinf("verify", "flight_delays", "--all", "--take-back")
    assert stopped.exit_code == 1
    assert "Nothing was taken back, as 2 windows are damaged at once" in stopped.stderr
    assert "`batchinf verify flight_delays WINDOW --take-back`" in stopped.stderr
    assert seen(fine) == days
    named = batchinf("verify", "flight_delays", NEXT, "--take-back")
    assert f"{NEXT}: Withdrawn by itself: readers see nothing now." in named.stderr
    assert seen(fine) == {DAY: days[DAY], NEXT: None}


def test_who_may_not_write_is_told_what_was_found_first(
    days: dict[str, str], batchinf: Run, fine: Told, project: Project
) -> None:
    damage(project, days[DAY])
    show_to_nobody(Path(str(project.lake)).parent)
    show_to_nobody(project.keys)
    with as_nobody():
        told = batchinf("verify", "flight_delays", "--all", "--take-back")
    assert told.exit_code == 1
    found, kept = (line for line in told.stderr.splitlines() if line.startswith("batchinf: "))
    assert found.startswith(f"batchinf: {DAY}: Rows must be in file window={DAY}/")
    assert kept.startswith(f"batchinf: {DAY}: It was not taken back: [Errno 13] Permission denied")
    assert told.stdout.endswith("1 of 2 windows verify.\n")
    assert seen(fine) == days


def test_what_was_taken_back_and_dagster_could_not_be_told_of_is_told_by_the_sensor(
    revisions: tuple[str, str],
    acting: Callable[[], None],
    batchinf: Run,
    project: Project,
    pipeline: Pipeline,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, bad = revisions
    acting()
    damage(project, bad)

    def is_locked(*_given: object) -> NoReturn:
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked"))

    with monkeypatch.context() as patch:
        patch.setattr(dg.DagsterInstance, "report_runless_asset_event", is_locked)
        told = batchinf("verify", "flight_delays", DAY, "--take-back")
        again = batchinf("verify", "flight_delays", DAY, "--take-back")
    assert (told.exit_code, again.exit_code) == (1, 0), told.output
    assert told.stderr.splitlines()[-1] == (
        f"batchinf: {DAY}: Rolled back by itself: readers see revision {old} now. Not everybody "
        "was told: Dagster's database could not be written: OperationalError. Make room, or mend "
        "what DAGSTER_HOME names. The sensor `flight_delays_unfinished` does that then."
    )
    window = pipeline.spec.window.window(DAY)
    untold = untold_rollback(instance, project, pipeline.spec, window)
    assert untold is not None
    workplace, log = Workplace(), logging.getLogger("test")
    finish_rollbacks(instance, workplace, pipeline.spec, datetime.now(UTC) + 2 * GRACE, log)
    assert untold_rollback(instance, project, pipeline.spec, window) is None


def test_a_window_that_cannot_be_read_is_not_known_and_hides_no_other(
    days: dict[str, str], batchinf: Run, fine: Told, project: Project
) -> None:
    damage(project, days[NEXT])
    give_to_nobody(Path(str(project.lake)).parent)
    give_to_nobody(project.keys)
    (path,) = files(project, f"*/{days[DAY]}")
    path.parent.chmod(0)
    with as_nobody():
        told = batchinf("verify", "flight_delays", "--all", "--json")
        named = batchinf("verify", "flight_delays", DAY, "--take-back")
    unread, found = json.loads(told.stdout)
    assert (told.exit_code, named.exit_code) == (1, 1)
    assert (unread["window"], unread["holds"], unread["known"]) == (DAY, False, False)
    assert "not known whether it holds: [Errno 13] Permission denied" in unread["problems"][0]
    assert (found["window"], found["holds"], found["known"]) == (NEXT, False, True)
    assert "not known whether it holds" in named.stderr
    path.parent.chmod(0o755)
    assert seen(fine) == days


@pytest.mark.parametrize("words", [("--all",), ("--all", "--take-back")])
def test_a_lake_that_dies_half_way_leaves_the_rest_unknown_and_what_was_found_told(
    days: dict[str, str],
    batchinf: Run,
    fine: Told,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    damage(project, days[DAY])
    lake = Path(str(project.lake))
    give_to_nobody(lake.parent)
    give_to_nobody(project.keys)
    look = verify.verify_window

    def dying(given: Project, registry: Registry, spec: PipelineSpec, window: Window, **how: Any):
        if window.key == NEXT:
            lake.chmod(0)
        return look(given, registry, spec, window, **how)

    monkeypatch.setattr(verify, "verify_window", dying)
    with as_nobody():
        told = batchinf("verify", "flight_delays", *words)
    lake.chmod(0o755)
    assert told.exit_code == 1
    for said in (
        f"batchinf: {DAY}: Rows must be in file window={DAY}/",
        f"batchinf: {NEXT}: It is not known whether it holds: [Errno 13] Permission denied",
        f"batchinf: {DAY}: Whether it is damaged is not known: [Errno 13] Permission denied",
    ):
        assert said in told.stderr
    assert told.stdout.endswith("0 of 2 windows verify.\n")
    assert seen(fine) == days


@pytest.mark.parametrize("harm", ["missing", "of others"])
def test_a_keyring_that_knows_none_of_the_keys_takes_nothing_back(
    days: dict[str, str], batchinf: Run, fine: Told, project: Project, harm: str
) -> None:
    ring = project.keys / "keyring.json"
    before = ring.read_bytes()
    ring.unlink()
    if harm == "of others":
        (project.keys / "signing-key.pem").unlink()
        fine("keys", "init")
    told = batchinf("verify", "flight_delays", "--all", "--take-back")
    assert told.exit_code == 1
    assert told.stdout.endswith("0 of 2 windows verify.\n")
    assert "by itself" not in told.stderr
    ring.write_bytes(before)
    assert seen(fine) == days


def test_what_was_superseded_is_not_taken_back(refused: Told) -> None:
    line = refused("verify", "flight_delays", DAY, "--revision", "0" * 16, "--take-back", code=2)
    assert "--take-back is about what readers see" in line
