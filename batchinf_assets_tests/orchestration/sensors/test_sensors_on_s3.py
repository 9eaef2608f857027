"""The landing sensor over ten thousand objects on S3: what a tick asks for, and what it keeps."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_KEY_TAG
from dagster._core.test_utils import create_run_for_test

from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.sensors.landed import landing_sensor
from batchinf_assets.snapshots.watch import EFFORT, look_at_landing
from batchinf_assets_tests.orchestration.sensors.stocked_s3 import BUCKET, stocked_server
from batchinf_assets_tests.resilience.fault_proxy import FaultProxy, fault_proxy
from batchinf_assets_tests.s3_server import ENVIRON, place_at
from batchinf_assets_tests.spec.test_pipeline import toy

HOURS = toy(window={"every": "hour", "start": "2013-01-01"})
MANY, PAGE = 10_000, 1_000
LARGEST_CURSOR = 100_000
TICKS = 4
START = datetime(2013, 1, 1, tzinfo=UTC)


def key(hour: int) -> str:
    return f"{START + timedelta(hours=hour):%Y-%m-%d-%H:00}"


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultProxy]:
    landed = (f"landing/in/{key(hour)}.parquet" for hour in range(MANY))
    with stocked_server(landed) as url, fault_proxy(url) as proxy:
        yield proxy


@dataclass
class Sensor:
    """The sensor, its cursor and the seconds of its ticks."""

    instance: dg.DagsterInstance
    proxy: FaultProxy
    cursor: str | None = None
    seconds: list[float] = field(default_factory=list)

    def tick(self) -> list[dg.RunRequest]:
        self.proxy.inject()
        began = time.perf_counter()
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"workplace": Workplace()}
        ) as context:
            found = landing_sensor(HOURS)(context)
        self.seconds.append(time.perf_counter() - began)
        assert isinstance(found, dg.SensorResult)
        self.cursor = found.cursor
        return list(found.run_requests or [])

    def launch(self, request: dg.RunRequest) -> None:
        """Leave a run as the daemon does that submits one."""
        tags = {PARTITION_NAME_TAG: request.partition_key or "", RUN_KEY_TAG: request.run_key or ""}
        create_run_for_test(
            self.instance, job_name="toy", tags=tags, status=dg.DagsterRunStatus.STARTED
        )

    def asked(self) -> Counter[str]:
        """Return how often the last tick listed a page, and read an object."""
        landing = [seen for seen in self.proxy.seen() if f"/{BUCKET}" in seen.path]
        return Counter("list" if "list-type=2" in seen.path else seen.method for seen in landing)


@pytest.fixture
def sensor(tmp_path: Path, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sensor]:
    """Over the landing place on S3, with a lake of its own where nothing ran yet."""
    environ = {**ENVIRON, "AWS_ENDPOINT_URL": proxy.url, "AWS_REGION": "us-east-1"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BATCHINF_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("BATCHINF_LANDING", f"s3://{BUCKET}/landing")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Sensor(instance, proxy)


def told(sensor: Sensor, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        shown = ", ".join(f"{each:.1f}" for each in sensor.seconds)
        cursor = len(sensor.cursor or "")
        print(f"\n{what} of {MANY} objects: ticks of {shown} s; the cursor has {cursor} bytes")


def test_of_ten_thousand_objects_that_lay_there_a_tick_lists_pages_and_reads_for_so_long(
    sensor: Sensor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(look_at_landing.__kwdefaults__, "read_seconds", 0.5)
    pages = MANY // PAGE
    assert sensor.tick() == []
    asked = sensor.asked()
    assert asked["list"] == pages
    assert 0 < asked["GET"] < MANY
    place = place_at(sensor.proxy.url, BUCKET, "landing") / "in" / f"{key(MANY)}.parquet"
    place.write_bytes(b"rows")
    (request,) = sensor.tick()
    assert request.partition_key == key(MANY)
    assert sensor.asked()["list"] == pages + 1
    sensor.launch(request)
    assert sensor.tick() == []
    sensor.cursor = None
    assert sensor.tick() == []
    assert len(sensor.cursor or "") < LARGEST_CURSOR
    place.unlink()
    told(sensor, "A stock", capsys)


def test_ten_thousand_objects_that_land_at_once_are_asked_for_a_few_each_tick_and_none_twice(
    sensor: Sensor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as before:
        before.setenv("BATCHINF_LANDING", f"s3://{BUCKET}/empty")
        assert sensor.tick() == []
    names: list[str | None] = []
    for _ in range(TICKS):
        requests = sensor.tick()
        asked = sensor.asked()
        assert asked["list"] == MANY // PAGE
        assert asked["GET"] <= EFFORT.arrivals
        assert len(sensor.cursor or "") < LARGEST_CURSOR
        for request in requests:
            sensor.launch(request)
        names += [request.run_key for request in requests]
    assert len(set(names)) == len(names) == TICKS * EFFORT.arrivals
    told(sensor, "A backlog", capsys)
