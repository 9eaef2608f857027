"""Files that land on S3: the sensor asks for their windows, and the real commands publish them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from batchinf_assets.cli import main
from batchinf_assets.errors import HeldForApproval
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.manifest.inputs import ApprovalRecord
from batchinf_assets.snapshots.approvals import write_approval
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.snapshots.held import held_correction
from batchinf_assets.spec.contract import LateSpec
from batchinf_assets_tests.end_to_end.conftest import PUBLISHED
from batchinf_assets_tests.end_to_end.ticking import Ticking
from batchinf_assets_tests.s3_server import ENVIRON, moto_server, new_bucket, place_at

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World
    from batchinf_assets_tests.end_to_end.conftest import Operator

NEW = "2013-07-04"


@dataclass(frozen=True)
class Upstream:
    """What lands on S3, and where it comes from."""

    landing: S3Place
    world: Path

    def land(self, name: str) -> S3Place:
        (self.landing / name).upload(self.world / name)
        return self.landing / name

    def correct(self, name: str, rows_dropped: int) -> None:
        rows, sink = pq.read_table(self.world / name), pa.BufferOutputStream()
        pq.write_table(rows.slice(rows_dropped), sink)
        (self.landing / name).write_bytes(sink.getvalue().to_pybytes())


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def upstream(
    operator: Operator, world: World, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> Upstream:
    """All that landed in the operator's folder landed on S3 instead."""
    environ = {**ENVIRON, "AWS_ENDPOINT_URL": s3_url, "AWS_REGION": "us-east-1"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    landing = place_at(s3_url, new_bucket(s3_url), "upstream/landing")
    monkeypatch.setenv("BATCHINF_LANDING", str(landing))
    folder = operator.project.landing
    for path in folder.rglob("*.parquet"):
        (landing / path.relative_to(folder).as_posix()).upload(path)
        path.unlink()
    return Upstream(landing, world.landing)


def batchinf(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def manifest(key: str) -> dict[str, dict[str, object]]:
    return json.loads(batchinf("manifest", "flight_delays", key))


def test_an_object_that_lands_is_one_run_and_one_that_takes_its_place_is_another_revision(
    operator: Operator, upstream: Upstream
) -> None:
    name = f"flights/{NEW}.parquet"
    with dg.DagsterInstance.get() as instance:
        landing = Ticking("flight_delays_landing", instance)
        outcomes = Ticking("flight_delays_outcomes", instance)
        assert landing.tick() == []
        upstream.land(name)
        (first,) = landing.tick()
        assert (first.partition_key, landing.tick()) == (NEW, [])
        batchinf("run", "flight_delays", NEW)
        before = manifest(NEW)
        assert landing.tick() == []

        upstream.correct(name, rows_dropped=5)
        (second,) = landing.tick()
        assert second.partition_key == NEW
        assert second.run_key != first.run_key
        batchinf("run", "flight_delays", NEW)
        after = manifest(NEW)
        assert landing.tick() == []

        outcomes.tick()
        upstream.land(f"outcomes/{NEW}.parquet")
        assert [asked.partition_key for asked in outcomes.tick()] == [NEW]
    assert after["revision"] != before["revision"]
    assert after["counts"]["rows_in"] == before["counts"]["rows_in"] - 5
    assert after["snapshot"]["source"]["path"] == name
    batchinf("verify", "flight_delays", "--all")
    assert not list(operator.project.landing.rglob("*.parquet"))


def test_a_window_made_of_local_files_is_the_same_revision_when_made_of_objects(
    operator: Operator, upstream: Upstream
) -> None:
    before = operator.revision()
    batchinf("run", "flight_delays", PUBLISHED)
    assert operator.revision() == before
    (replayed,) = json.loads(batchinf("replay", "flight_delays", PUBLISHED, "--json"))
    assert (replayed["same_bytes"], replayed["features"]) == (True, "rebuilt")
    planned = json.loads(batchinf("backfill", "plan", "flight_delays", "--json"))
    stale = {window["window"] for window in planned["windows"] if window["why"]}
    assert PUBLISHED not in stale
    assert {"2013-07-02", "2013-07-03"} <= stale
    (upstream.landing / "planes.parquet").unlink()
    (gone,) = json.loads(batchinf("replay", "flight_delays", PUBLISHED, "--json"))
    assert gone["features"] == "frozen"
    assert "Landed file planes.parquet is gone." in gone["notes"]


def test_a_late_object_waits_for_an_approval_of_its_bytes(
    operator: Operator, upstream: Upstream
) -> None:
    project = replace(operator.project, landing=upstream.landing)
    late = LateSpec(accept_for=timedelta(hours=12))
    source = operator.spec.source.model_copy(update={"late": late})
    spec = operator.spec.model_copy(update={"source": source})
    window = spec.window.window(PUBLISHED)
    upstream.correct(f"flights/{PUBLISHED}.parquet", rows_dropped=5)
    with pytest.raises(HeldForApproval):
        freeze_snapshot(project, spec, window)
    held = held_correction(project, spec, window)
    assert held.changes.removed == 5
    approval = ApprovalRecord(by="ann", reason="Sent again", at=datetime.now(UTC))
    write_approval(project, spec, window, held.landed.source.sha256, approval)
    assert freeze_snapshot(project, spec, window).record.approval == approval


def test_the_demo_lands_on_s3_and_writes_what_is_there_already_no_second_time(
    upstream: Upstream,
) -> None:
    day = ("--from", "2013-07-05", "--to", "2013-07-05")
    (upstream.landing / "planes.parquet").unlink()
    first, second = [json.loads(batchinf("demo", "land", *day, "--json")) for _ in range(2)]
    assert (upstream.landing / "flights" / "2013-07-05.parquet").is_file()
    assert (upstream.landing / "planes.parquet").is_file()
    assert first["files_written"] == 3  # flights, outcomes, planes; weather was there
    assert (second["files_written"], second["files_unchanged"]) == (0, 4)
