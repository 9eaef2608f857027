"""The real commands on a lake in S3: what they publish there is what they publish on a disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from batchinf_assets.attempts import recorder_of
from batchinf_assets.cli import main
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.table_log import open_table
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.scoring.predictions import manifests, predictions_table, published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets_tests.end_to_end.ticking import Ticking
from batchinf_assets_tests.resilience.fault_proxy import FaultProxy, Seen, fault_proxy
from batchinf_assets_tests.s3_server import ENVIRON, moto_server, new_bucket, place_at

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

FIRST, CORRECTED, CONTESTED = "2013-07-01", "2013-07-02", "2013-07-03"
LANDS = "2013-07-04"
LATE_ROWS = 25
PATIENCE_SECONDS = 120.0
RUN = [sys.executable, "-c", "from batchinf_assets.cli import main; main()", "run", "flight_delays"]


@dataclass(frozen=True)
class Machine:
    """A machine that works on a lake in S3; the process's environment is its.

    Attributes:
        project: Its folders; the lake is a place in a bucket.
        late: A landed file of `CORRECTED` with all its rows.
        proxy: What its requests go through.
        asked: Requests by who made them, as `docs/s3.md` names them: action and key.
    """

    project: Project
    pipeline: Pipeline
    late: Path
    proxy: FaultProxy
    asked: dict[str, set[tuple[str, str]]] = field(default_factory=dict)

    @property
    def lake(self) -> S3Place:
        assert isinstance(self.project.lake, S3Place)
        return self.project.lake

    def batchinf(self, *arguments: str) -> str:
        """Run a command that succeeds without complaint, and return what it told."""
        result = CliRunner().invoke(main, arguments)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return result.stdout

    @contextmanager
    def acting(self, who: str) -> Generator[None]:
        """Note what the body asks the store for."""
        self.proxy.inject()
        yield
        recorder_of(self.project).flush(PATIENCE_SECONDS)
        self.asked[who] = {action_of(seen, self.lake) for seen in self.proxy.seen()}

    def published(self, key: str) -> Manifest:
        window, spec = self.pipeline.spec.window.window(key), self.pipeline.spec
        revision = published_revision(self.project, spec, window)
        assert revision is not None
        return manifests(self.project, spec).read(window, revision)

    def objects(self) -> set[str]:
        return {str(place) for place in self.lake.rglob("*")}


@pytest.fixture(scope="module")
def machine(
    world: World,
    published_world: Path,
    pipeline: Pipeline,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Machine]:
    """Two windows, run where the champion was signed anew and promoted on S3."""
    folder = tmp_path_factory.mktemp("machine")
    for part in ("landing", "keys"):
        shutil.copytree(published_world / part, folder / part)
    shutil.copy2(world.lake / "_registry" / "registry.db", folder)
    complete = folder / "landing" / "flights" / f"{CORRECTED}.parquet"
    late = complete.rename(folder / "late.parquet")
    pq.write_table(pq.read_table(late).slice(LATE_ROWS), complete)
    with (
        moto_server() as url,
        fault_proxy(url) as proxy,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        lake = place_at(proxy.url, new_bucket(url), "team/lake")
        environ = {
            **ENVIRON,
            "AWS_ENDPOINT_URL": proxy.url,
            "AWS_REGION": "us-east-1",
            "BATCHINF_CACHE": str(folder / "cache"),
            "BATCHINF_KEYS": str(folder / "keys"),
            "BATCHINF_LAKE": str(lake),
            "BATCHINF_LANDING": str(folder / "landing"),
            "DAGSTER_HOME": str(dagster_home(folder / "dagster")),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'registry.db'}",
        }
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        for path in (world.lake / "_models").rglob("*.*"):
            (lake / path.relative_to(world.lake).as_posix()).upload(path)
        made = Machine(Project.here(os.environ), pipeline, late, proxy)
        with made.acting("registrar"):
            made.batchinf("model", "renew", "flight_delays", "1")
            made.batchinf("model", "promote", "flight_delays", "2", "--reason", "Signed anew")
        with made.acting("scorer"):
            days = ("--from", FIRST, "--to", CORRECTED)
            told = made.batchinf("backfill", "run", "flight_delays", *days)
            made.batchinf("status", "flight_delays")
        assert told.startswith("2 of 2 windows published.")
        yield made
        assert recorder_of(made.project).close() == 0


def dagster_home(folder: Path) -> Path:
    folder.mkdir()
    shutil.copy2(CHECKOUT / "deploy" / "local" / "dagster.yaml", folder)
    return folder


def action_of(seen: Seen, lake: S3Place) -> tuple[str, str]:
    """Return the action that AWS asks a policy for, and the key or prefix from the lake's."""
    url = urlsplit(seen.path)
    query = parse_qs(url.query)
    if "list-type" in query:
        action, key = "s3:ListBucket", query["prefix"][0]
    else:
        verb = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "POST": "Put", "DELETE": "Delete"}
        action = f"s3:{verb[seen.method]}Object"
        key = unquote(url.path).removeprefix(f"/{lake.bucket}/")
    assert key.startswith(f"{lake.key}/"), key
    return action, key.removeprefix(f"{lake.key}/")


def documented_actions() -> dict[tuple[str, str], list[str]]:
    """Return what `docs/s3.md` says: patterns of keys by who and action."""
    document = (CHECKOUT / "docs" / "s3.md").read_text(encoding="utf-8")
    table = document.split("<!-- actions: begin -->")[1].split("<!-- actions: end -->")[0]
    rows = [line.strip("| ").split(" | ") for line in table.strip().splitlines()[2:]]
    return {
        (who, action.strip("`")): keys.replace("PIPELINE", "flight_delays").strip("`").split("` `")
        for who, action, keys in rows
    }


def test_revision_and_files_are_those_of_a_local_lake(
    machine: Machine, published_world: Path
) -> None:
    store = published_world / "lake" / "flight_delays" / "_manifests" / FIRST
    (document,) = store.glob("*.json")
    local = json.loads(document.read_bytes())
    on_s3 = json.loads(machine.batchinf("manifest", "flight_delays", FIRST))
    for name in ("revision", "snapshot", "features", "counts", "outputs", "checks"):
        assert on_s3[name] == local[name]


def test_the_commands_that_look_see_what_is_published_and_change_nothing(machine: Machine) -> None:
    before = machine.objects()
    windows = json.loads(machine.batchinf("status", "flight_delays", "--json"))
    assert [window["state"] for window in windows[:2]] == ["published", "published"]
    verified = json.loads(machine.batchinf("verify", "flight_delays", "--all", "--json"))
    assert all(window["holds"] for window in verified)
    (replayed,) = json.loads(machine.batchinf("replay", "flight_delays", FIRST, "--json"))
    assert (replayed["same_bytes"], replayed["features"]) == (True, "rebuilt")
    assert "removed" in machine.batchinf("maintain", "flight_delays", "--dry-run")
    assert "champion" in machine.batchinf("model", "list")
    assert machine.objects() == before
    assert not (CHECKOUT / "s3:").exists()


def test_late_rows_make_a_new_revision_and_the_old_one_stays(machine: Machine) -> None:
    old, first = machine.published(CORRECTED), machine.published(FIRST)
    landed = machine.project.landing / "flights" / f"{CORRECTED}.parquet"
    shutil.copy2(machine.late, landed)
    machine.batchinf("run", "flight_delays", CORRECTED)
    new = machine.published(CORRECTED)
    assert new.counts.scored == old.counts.scored + LATE_ROWS
    assert new.revision != old.revision
    table = predictions_table(machine.project, machine.pipeline.spec)
    for manifest in (old, new):
        assert all((table.folder / output.path).is_file() for output in manifest.outputs)
    assert machine.published(FIRST) == first
    assert "2 of 2 windows verify." in machine.batchinf("verify", "flight_delays", "--all")


def test_what_lands_on_s3_is_published_there_and_what_takes_its_place_is_another_revision(
    machine: Machine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, name = machine.project.landing, f"flights/{LANDS}.parquet"
    landing = replace(machine.lake, key="upstream/landing")
    for path in folder.rglob("*.parquet"):
        (landing / path.relative_to(str(folder)).as_posix()).upload(path)
    monkeypatch.setenv("BATCHINF_LANDING", str(landing))
    with dg.DagsterInstance.get() as instance:
        sensor = Ticking("flight_delays_landing", instance)
        assert sensor.tick() == []
        (landing / name).upload(world.landing / name)
        (first,) = sensor.tick()
        assert first.partition_key == LANDS
        machine.batchinf("run", "flight_delays", LANDS)
        before = machine.published(LANDS)
        assert sensor.tick() == []

        rows, sink = pq.read_table(world.landing / name), pa.BufferOutputStream()
        pq.write_table(rows.slice(LATE_ROWS), sink)
        (landing / name).write_bytes(sink.getvalue().to_pybytes())
        (second,) = sensor.tick()
        assert (second.partition_key, second.run_key != first.run_key) == (LANDS, True)
        machine.batchinf("run", "flight_delays", LANDS)
        after = machine.published(LANDS)
        assert sensor.tick() == []
    assert before.revision != after.revision
    assert before.counts.rows_in == rows.num_rows == after.counts.rows_in + LATE_ROWS
    assert after.snapshot.source.path == name
    machine.batchinf("verify", "flight_delays", LANDS)
    (replayed,) = json.loads(machine.batchinf("replay", "flight_delays", LANDS, "--json"))
    assert (replayed["same_bytes"], replayed["features"]) == (True, "rebuilt")
    assert not (folder / name).exists()
    (landing / name).unlink()
    shown = json.loads(machine.batchinf("status", "flight_delays", LANDS, "--json"))
    assert (shown["state"], shown["source_gone"]) == ("published", name)


def test_of_two_machines_that_run_one_window_at_once_one_publishes(
    machine: Machine, tmp_path: Path
) -> None:
    runs = [
        subprocess.Popen(
            [*RUN, CONTESTED],
            env=os.environ | {"DAGSTER_HOME": str(dagster_home(tmp_path / name))},
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "another")
    ]
    told = [run.communicate(timeout=PATIENCE_SECONDS) for run in runs]
    attempts = Ledger(machine.lake).read("flight_delays", CONTESTED).to_pylist()
    assert [attempt["state"] for attempt in attempts].count("published") == 1
    # Who comes as the other one is between two assets goes on, and finds nothing left to do.
    assert sorted(run.returncode for run in runs) in ([0, 0], [0, 1])
    for run, (_, complaint) in zip(runs, told, strict=True):
        assert len(complaint.splitlines()) == run.returncode
        assert not complaint or f"window {CONTESTED}" in complaint.lower()
    machine.batchinf("verify", "flight_delays", CONTESTED)


def test_the_documented_actions_are_enough_and_not_too_many(machine: Machine) -> None:
    with machine.acting("auditor"):
        machine.batchinf("verify", "flight_delays", "--all")
        machine.batchinf("replay", "flight_delays", FIRST)
    with machine.acting("reader"):
        folder = predictions_table(machine.project, machine.pipeline.spec).folder
        assert open_table(folder).to_pyarrow_table().num_rows > 0
    with machine.acting("maintainer"):
        machine.batchinf("maintain", "flight_delays", "--keep-days", "0")
    allowed = documented_actions()
    used: set[tuple[str, str, str]] = set()
    for who, asked in machine.asked.items():
        for action, key in asked:
            fitting = {each for each in allowed.get((who, action), []) if fnmatch(key, each)}
            assert fitting, f"{who} may not {action} {key}"
            used |= {(who, action, each) for each in fitting}
    # What a maintainer deletes depends on what is old.
    idle = {(*who, each) for who, keys in allowed.items() for each in keys} - used
    assert {who for who, _, _ in idle} <= {"maintainer"}, idle
