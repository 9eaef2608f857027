"""The ledger in a bucket: the same rows, and a store that refuses loses nothing."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from moto.server import ThreadedMotoServer

from batchinf_assets.errors import StorageUnavailable
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_access import S3Access, S3Limits
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.telemetry.recorder import Recorder

if TYPE_CHECKING:
    from batchinf_assets_tests.telemetry.conftest import MakeRecord

IMPATIENT = S3Limits(connect_seconds=1, stall_seconds=1, request_seconds=2, retries=0)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def lake(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> S3Place:
    """A bucket of its own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    bucket = f"lake-{uuid4().hex}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")).close()
    access = S3Access.from_environ({"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1"})
    return S3Place(bucket=bucket, key="lake", access=replace(access, limits=IMPATIENT))


def test_no_ledger_in_a_bucket_reads_as_no_attempts(lake: S3Place) -> None:
    assert Ledger(lake).read().num_rows == 0


def test_writers_of_one_bucket_all_land(lake: S3Place, attempted: MakeRecord) -> None:
    def append(run: int) -> None:
        for attempt in range(3):
            Ledger(lake).append([attempted(attempt, run_id=f"run-{run}")])

    writers = [threading.Thread(target=append, args=[run]) for run in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert Ledger(lake).read("flight_delays").num_rows == 12
    assert len(list((lake / "_ledger" / "_delta_log").glob("*.json"))) == 13


def test_records_wait_on_the_local_disk_until_the_store_answers(
    lake: S3Place, attempted: MakeRecord, tmp_path: Path
) -> None:
    away = replace(lake, access=replace(lake.access, endpoint="http://127.0.0.1:9"))
    with Recorder(Ledger(away), spool=tmp_path / "spool") as recorder:
        recorder.record(attempted(1))
    assert len(list((tmp_path / "spool").glob("*.json"))) == 1
    with pytest.raises(StorageUnavailable):
        Ledger(away).read()
    with Recorder(Ledger(lake), spool=tmp_path / "spool") as recorder:
        recorder.record(attempted(2))
    assert Ledger(lake).read().column("attempt").to_pylist() == [1, 2]
    assert list((tmp_path / "spool").iterdir()) == []
