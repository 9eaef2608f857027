"""A store that fails: lost answers, 409, 503, stalled bodies, refused access (rows 8, 9, 10)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyarrow as pa
import pytest

from batchinf_assets.errors import (
    BatchinfError,
    LostRace,
    StorageRefused,
    StorageUnavailable,
)
from batchinf_assets.lake.files import DataFile, read_parquet, write_parquet
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_access import S3Limits
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.lake.versioned import Outdated
from batchinf_assets.windows import WindowSpec
from batchinf_assets_tests.resilience.fault_proxy import Fault, FaultProxy, fault_proxy
from batchinf_assets_tests.s3_server import ENVIRON, moto_server, new_bucket, place_at

SCHEMA = pa.schema([("id", pa.int64())])
ROWS = pa.table({"id": pa.array(range(50_000), pa.int64())})
(WINDOW,) = WindowSpec(start=date(2013, 1, 1)).between("2013-01-01", "2013-01-01")
IMPATIENT = S3Limits(
    connect_seconds=1, stall_seconds=0.4, request_seconds=3, retries=2, total_seconds=3
)
LOG_PUT = {"method": "PUT", "path": "_delta_log"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture(scope="module")
def relay(server: str) -> Iterator[FaultProxy]:
    with fault_proxy(server) as proxy:
        yield proxy


@pytest.fixture
def proxy(relay: FaultProxy) -> FaultProxy:
    relay.inject()
    return relay


@pytest.fixture
def lake(server: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> S3Place:
    """A lake of its own in the server, reached through the proxy."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    return place_at(proxy.url, new_bucket(server), limits=IMPATIENT)


@pytest.fixture
def place(lake: S3Place) -> S3Place:
    return lake / "_leases" / "2013-01-01.json"


@pytest.fixture
def table(lake: S3Place) -> WindowTable:
    """A table with one published window, `[0]`."""
    made = WindowTable(lake / "flights" / "predictions", SCHEMA)
    made.commit(WINDOW, [staged(made, 0)], {})
    return made


def staged(table: WindowTable, number: int) -> DataFile:
    rows = pa.table({"id": pa.array([number], pa.int64())})
    return write_parquet(table.folder_of(WINDOW) / f"{number}.parquet", rows, {})


def visible(table: WindowTable, server: str) -> list[int]:
    """What a reader sees who reaches the server without the proxy."""
    assert isinstance(table.folder, S3Place)
    access = replace(table.folder.access, endpoint=server)
    found = WindowTable(replace(table.folder, access=access), SCHEMA).read(WINDOW)
    assert found is not None
    return found["id"].to_pylist()


LOST = [
    Fault(kind="lose_answer", method="PUT", times=1),
    Fault(kind="lose_answer", method="PUT", status=503, times=1),
    Fault(kind="hang", method="PUT", times=1),
]
LOST_NAMES = ["dropped", "503 though done", "never answered"]


@pytest.mark.parametrize("fault", LOST, ids=LOST_NAMES)
def test_a_write_whose_answer_was_lost_is_recognised_as_our_own(
    place: S3Place, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.inject(fault)
    version = place.create(b"first")
    proxy.inject(fault)
    newer = place.replace(b"second", version)
    found = place.read_versioned()
    assert found is not None
    assert (found.content, found.version) == (b"second", newer)


@pytest.mark.parametrize("kind", ["refuse", "lose_answer"])
def test_a_lost_answer_is_not_taken_for_success_where_somebody_else_was_first(
    place: S3Place, proxy: FaultProxy, kind: str
) -> None:
    version = place.create(b"theirs")
    fault = Fault(kind=kind, method="PUT", times=1)  # pyright: ignore[reportArgumentType]
    proxy.inject(fault)
    with pytest.raises(FileExistsError):
        place.create(b"theirs")
    place.replace(b"newer", version)
    proxy.inject(fault)
    with pytest.raises(Outdated):
        place.replace(b"ours", version)
    assert place.read_bytes() == b"newer"


@pytest.mark.parametrize("fault", LOST, ids=LOST_NAMES)
def test_a_commit_whose_answer_was_lost_is_recognised_as_our_own(
    table: WindowTable, proxy: FaultProxy, server: str, fault: Fault
) -> None:
    file = staged(table, 1)
    proxy.inject(replace(fault, **LOG_PUT))
    assert table.commit(WINDOW, [file], {"batchinf.revision": "abc"}) == 2
    assert visible(table, server) == [1]
    assert table.commit_metadata(WINDOW)["batchinf.revision"] == "abc"
    assert (table.version_of(WINDOW), table.token_of(WINDOW)) == (2, 1)


def test_a_commit_whose_answer_was_lost_and_that_lost_says_so(
    table: WindowTable, proxy: FaultProxy, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = WindowTable(table.folder, SCHEMA)
    ours, theirs = staged(table, 1), staged(table, 2)
    look = table._writer._actions

    def look_then_lose(*arguments: Any) -> list[dict[str, Any]]:
        found = look(*arguments)
        rival.commit(WINDOW, [theirs], {})
        proxy.inject(Fault(kind="lose_answer", times=1, **LOG_PUT))
        return found

    monkeypatch.setattr(table._writer, "_actions", look_then_lose)
    with pytest.raises(LostRace):
        table.commit(WINDOW, [ours], {})
    assert visible(table, server) == [2]


@pytest.mark.parametrize("status", [409, 503])
def test_two_refusals_are_survived(
    place: S3Place, table: WindowTable, proxy: FaultProxy, server: str, status: int
) -> None:
    twice = Fault(kind="status", status=status, method="PUT", times=2)
    file = staged(table, 1)
    for act in (
        lambda: place.create(b"first"),
        lambda: place.with_name("other").write_bytes(b"second"),
        lambda: table.commit(WINDOW, [file], {}),
    ):
        proxy.inject(twice)
        act()
        assert [seen.fault for seen in proxy.seen("PUT")] == ["status", "status", None]
    assert (place.read_bytes(), visible(table, server)) == (b"first", [1])


def test_a_read_survives_two_refusals_and_one_stall(lake: S3Place, proxy: FaultProxy) -> None:
    written = write_parquet(lake / "x.parquet", ROWS, {})
    for fault in (
        Fault(kind="status", status=503, method="GET", times=2),
        Fault(kind="stall", method="GET", times=1),
    ):
        proxy.inject(fault)
        assert read_parquet(written.path).equals(ROWS)


FOR_EVER = [
    Fault(kind="status", status=503),
    Fault(kind="status", status=409, method="PUT"),
    Fault(kind="status", status=500),
    Fault(kind="refuse"),
    Fault(kind="hang"),
]


@pytest.mark.parametrize("fault", FOR_EVER, ids=["503", "409", "500", "refused", "hangs"])
def test_a_store_that_fails_for_ever_ends_the_attempt_after_a_bounded_number_of_requests(
    place: S3Place, table: WindowTable, proxy: FaultProxy, server: str, fault: Fault
) -> None:
    file = staged(table, 1)
    for act in (
        lambda: place.create(b"first"),
        lambda: place.write_bytes(b"first"),
        lambda: table.commit(WINDOW, [file], {}),
    ):
        proxy.inject(fault)
        with pytest.raises(StorageUnavailable) as failure:
            act()
        assert_plain(failure.value)
        assert len(proxy.seen("PUT")) <= 16
        assert len(proxy.seen()) <= 64
    proxy.inject()
    assert visible(table, server) == [0]
    assert place.exists() == (fault.kind == "hang")  # which alone lets the store do it


def test_a_log_that_takes_no_commit_changes_nothing(
    table: WindowTable, proxy: FaultProxy, server: str
) -> None:
    file = staged(table, 1)
    for status in (409, 503):
        proxy.inject(Fault(kind="status", status=status, **LOG_PUT))
        with pytest.raises(StorageUnavailable, match="_delta_log"):
            table.commit(WINDOW, [file], {})
        assert visible(table, server) == [0]


def test_a_body_that_stalls_for_ever_ends_the_read(lake: S3Place, proxy: FaultProxy) -> None:
    written = write_parquet(lake / "x.parquet", ROWS, {})
    proxy.inject(Fault(kind="stall", method="GET"))
    for read in (lambda: read_parquet(written.path), lambda: written.path.open("rb").read()):
        with pytest.raises(StorageUnavailable, match="did not answer in time") as failure:
            read()
        assert_plain(failure.value)


def test_other_threads_go_on_while_the_store_stalls(table: WindowTable, proxy: FaultProxy) -> None:
    """The heartbeat of a lease is one of them."""
    file, done, beats = staged(table, 1), Event(), []

    def beat() -> None:
        while not done.wait(0.02):
            beats.append(time.monotonic())

    proxy.inject(Fault(kind="hang", path="_delta_log"))
    heart = Thread(target=beat)
    heart.start()
    with pytest.raises(StorageUnavailable):
        table.commit(WINDOW, [file], {})
    done.set()
    heart.join()
    # It hung for at least `stall_seconds`; a heart that waits with it beats once or twice.
    assert len(beats) >= 5


def test_refused_access_is_not_asked_for_again_and_names_the_place(
    place: S3Place, table: WindowTable, proxy: FaultProxy, server: str, tmp_path: Path
) -> None:
    file = staged(table, 1)
    (tmp_path / "file").write_bytes(b"x")
    writes: list[Callable[[], object]] = [
        lambda: place.create(b"first"),
        lambda: place.write_bytes(b"first"),
        lambda: place.upload(tmp_path / "file"),
        lambda: table.commit(WINDOW, [file], {}),
    ]
    for act in writes:
        proxy.inject(Fault(kind="status", status=403, method="PUT"))
        with pytest.raises(StorageRefused, match="refused access to s3://lake-") as failure:
            act()
        assert_plain(failure.value)
        assert "credentials" in failure.value.next_step
        assert len(proxy.seen("PUT")) == 1
    assert visible(table, server) == [0]


def test_what_may_not_be_read_is_not_taken_for_absent(
    place: S3Place, table: WindowTable, proxy: FaultProxy
) -> None:
    place.create(b"first")
    proxy.inject(Fault(kind="status", status=403))
    reads: list[Callable[[], object]] = [
        place.read_versioned,
        place.exists,
        place.is_dir,
        lambda: list(place.parent.glob("*")),
        lambda: list(place.parent.rglob("*")),
        lambda: table.read(WINDOW),
        lambda: table.commit_metadata(WINDOW),
        lambda: place.unlink(missing_ok=True),
    ]
    for act in reads:
        with pytest.raises(StorageRefused) as failure:
            act()
        assert_plain(failure.value)


def assert_plain(error: BatchinfError) -> None:
    """One line that names the place, and neither request, address, signature nor secret."""
    assert "s3://lake-" in error.message
    for trace in ("\n", "\x1b", "http", "Signature", *ENVIRON.values()):
        assert trace not in str(error)
