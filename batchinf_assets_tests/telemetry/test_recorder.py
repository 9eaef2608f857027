"""The recorder: scoring neither waits for the ledger nor fails with it, and nothing gets lost."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.telemetry.attempt import AttemptRecord
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.telemetry.recorder import Recorder, Spool

if TYPE_CHECKING:
    from batchinf_assets_tests.telemetry.conftest import MakeRecord

PATIENCE_SECONDS = 20.0


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def attempts(ledger: Ledger) -> Sequence[int]:
    return ledger.read().column("attempt").to_pylist()


def break_ledger(ledger: Ledger) -> None:
    ledger.place.parent.mkdir(exist_ok=True)
    ledger.place.write_text("in the way")


def test_what_was_recorded_is_in_the_ledger_after_a_flush(
    ledger: Ledger, spool: Path, attempted: MakeRecord
) -> None:
    recorder = Recorder(ledger, spool=spool)
    for number in range(20):
        recorder.record(attempted(number))
    assert recorder.flush(PATIENCE_SECONDS) == 0
    assert attempts(ledger) == list(range(20))
    assert not spool.exists()


def test_leaving_the_block_writes_what_waits(
    ledger: Ledger, spool: Path, attempted: MakeRecord
) -> None:
    with Recorder(ledger, spool=spool) as recorder:
        recorder.record(attempted(1))
    assert attempts(ledger) == [1]


def test_no_thread_stays_behind(ledger: Ledger, spool: Path, attempted: MakeRecord) -> None:
    with Recorder(ledger, spool=spool) as recorder:
        recorder.record(attempted(1))
    writers = [each for each in threading.enumerate() if each.name == "batchinf-ledger"]
    for writer in writers:
        writer.join(PATIENCE_SECONDS)
    assert not any(writer.is_alive() for writer in writers)
    recorder.record(attempted(2))
    assert recorder.close() == 0
    assert attempts(ledger) == [1, 2]


def test_an_unwritable_ledger_loses_nothing_once_it_is_repaired(
    ledger: Ledger, spool: Path, attempted: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    break_ledger(ledger)
    with Recorder(ledger, spool=spool) as recorder:
        recorder.record(attempted(1))
        assert recorder.flush(PATIENCE_SECONDS) == 1
        recorder.record(attempted(2, reason="é", stage_seconds={"published": 0.1}))
    assert recorder.close() == 2
    assert len(list(spool.glob("*.json"))) == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "1 records wait" in caplog.text
    assert "0 are lost" in caplog.text

    ledger.place.unlink()
    with Recorder(ledger, spool=spool) as later:
        later.record(attempted(3))
    assert attempts(ledger) == [1, 2, 3]
    assert ledger.latest("flight_delays")["2026-10-31"] == attempted(3)
    assert list(spool.iterdir()) == []
    assert (recorder.flush(PATIENCE_SECONDS), recorder.lost) == (0, 0)


def test_a_flush_alone_writes_what_an_earlier_run_spooled(
    ledger: Ledger, spool: Path, attempted: MakeRecord
) -> None:
    break_ledger(ledger)
    for number in (1, 2):
        with Recorder(ledger, spool=spool) as recorder:
            recorder.record(attempted(number))
    ledger.place.unlink()
    assert Recorder(ledger, spool=spool).flush(PATIENCE_SECONDS) == 0
    assert attempts(ledger) == [1, 2]


def test_a_disk_that_hangs_holds_nobody_up(
    ledger: Ledger, spool: Path, attempted: MakeRecord
) -> None:
    spool.mkdir()
    os.mkfifo(spool / "0.json")  # the writer looks there first, and waits for somebody to write
    recorder = Recorder(ledger, spool=spool, capacity=3)
    for number in range(20):
        recorder.record(attempted(number))
    assert recorder.flush(0.01) == 20
    assert recorder.close(0.01) == 20
    kept = [path for path in spool.glob("*.json") if path.is_file()]
    assert 3 <= len(kept) <= 6  # three wait, and the writer took three at most before it hung
    assert recorder.lost == 20 - len(kept)
    (spool / "0.json").open("wb").close()
    assert Recorder(ledger, spool=spool).flush(PATIENCE_SECONDS) == 0
    assert len(attempts(ledger)) == len(kept)
    assert attempts(ledger)[-3:] == [17, 18, 19]


def test_a_record_that_can_be_kept_nowhere_is_counted(
    ledger: Ledger, spool: Path, attempted: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    break_ledger(ledger)
    spool.write_text("in the way")
    with Recorder(ledger, spool=spool) as recorder:
        recorder.record(attempted(1))
    assert (recorder.lost, recorder.close()) == (1, 1)
    assert "1 are lost" in caplog.text


def test_a_damaged_spool_file_stops_nothing(
    ledger: Ledger, spool: Path, attempted: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    spool.mkdir()
    (spool / "0.json").write_text("{}")
    with Recorder(ledger, spool=spool) as recorder:
        recorder.record(attempted(1))
    assert attempts(ledger) == [1]
    assert [file.name for file in spool.iterdir()] == ["0.damaged"]
    assert "0.damaged" in caplog.text


def test_two_recorders_may_share_a_spool(
    ledger: Ledger, spool: Path, attempted: MakeRecord
) -> None:
    break_ledger(ledger)
    with Recorder(ledger, spool=spool) as recorder:
        for number in range(10):
            recorder.record(attempted(number, cpu_seconds=1.0))
    ledger.place.unlink()
    both = [Recorder(ledger, spool=spool) for _ in range(2)]
    threads = [threading.Thread(target=each.flush, args=[PATIENCE_SECONDS]) for each in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert attempts(ledger) == list(range(10))
    assert set(ledger.read().column("cpu_seconds").to_pylist()) == {1.0}


class Unforeseen(Exception):
    """An error that nobody foresaw."""


@pytest.fixture
def unforeseen_allowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let threads end with that error, and with no other; there must be one that does."""
    found: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda ended: found.append(ended.exc_type))
    yield
    for thread in threading.enumerate():
        if thread.name == "batchinf-ledger":
            thread.join(PATIENCE_SECONDS)
    assert set(found) == {Unforeseen}


class FailingLedger(Ledger):
    """A ledger whose first appends fail as nobody foresaw."""

    def __init__(self, lake: Path, failures: int) -> None:
        super().__init__(lake)
        self.failures = failures
        self.may_fail = threading.Event()

    def append(self, records: Sequence[AttemptRecord]) -> None:
        if self.failures > 0:
            self.failures -= 1
            self.may_fail.wait(PATIENCE_SECONDS)
            raise Unforeseen
        super().append(records)


@pytest.mark.usefixtures("unforeseen_allowed")
def test_an_error_that_nobody_foresaw_loses_nothing_and_the_next_batch_is_written(
    tmp_path: Path, spool: Path, attempted: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = FailingLedger(tmp_path / "lake", failures=1)
    recorder = Recorder(ledger, spool=spool)
    recorder.record(attempted(1))
    recorder.record(attempted(2))  # waits while the first one's write fails, or fails with it
    ledger.may_fail.set()
    recorder.flush(PATIENCE_SECONDS)
    assert recorder.close(PATIENCE_SECONDS) == 0
    assert attempts(ledger) == [1, 2]
    assert recorder.lost == 0
    assert "nobody foresaw" in caplog.text


@pytest.mark.usefixtures("unforeseen_allowed")
def test_what_waits_while_the_writer_dies_is_written_by_another(
    tmp_path: Path, spool: Path, attempted: MakeRecord
) -> None:
    ledger = FailingLedger(tmp_path / "lake", failures=1)
    recorder = Recorder(ledger, spool=spool)
    recorder.record(attempted(1))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while ledger.failures and time.monotonic() < deadline:
        time.sleep(0.001)  # until the writer has taken the first record
    flushed = threading.Thread(target=recorder.flush, args=[PATIENCE_SECONDS])
    recorder.record(attempted(2))
    flushed.start()
    ledger.may_fail.set()
    flushed.join(PATIENCE_SECONDS)
    assert not flushed.is_alive()
    recorder.flush(PATIENCE_SECONDS)
    assert attempts(ledger) == [1, 2]


@pytest.mark.usefixtures("unforeseen_allowed")
def test_a_batch_that_neither_ledger_nor_spool_takes_is_counted_whatever_happens(
    tmp_path: Path, spool: Path, attempted: MakeRecord
) -> None:
    ledger = FailingLedger(tmp_path / "lake", failures=10)
    ledger.may_fail.set()
    spool.write_text("in the way")
    recorder = Recorder(ledger, spool=spool)
    recorder.record(attempted(1))
    assert recorder.flush(PATIENCE_SECONDS) == 1
    assert (recorder.lost, recorder.close(PATIENCE_SECONDS)) == (1, 1)


def test_undecodable_text_waits_on_the_local_disk_too(
    ledger: Ledger, spool: Path, attempted: MakeRecord
) -> None:
    break_ledger(ledger)
    with Recorder(ledger, spool=spool) as recorder:
        recorder.record(attempted(1, worker="h\udcffst:1"))
        assert recorder.flush(PATIENCE_SECONDS) == 1
    assert recorder.lost == 0
    ledger.place.unlink()
    assert Recorder(ledger, spool=spool).flush(PATIENCE_SECONDS) == 0
    assert ledger.read().column("worker").to_pylist() == [r"h\udcffst:1"]


def test_a_waiting_record_that_no_table_holds_is_set_aside(
    ledger: Ledger, spool: Path, attempted: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    path = Spool(spool).keep(attempted(1, rows=7))
    path.write_text(path.read_text().replace('"rows":7', f'"rows":{2**63}'))
    with Recorder(ledger, spool=spool) as recorder:
        recorder.record(attempted(2))
    assert attempts(ledger) == [2]
    assert [file.suffix for file in spool.iterdir()] == [".damaged"]
    assert "set aside" in caplog.text


def test_equal_records_share_a_spool_file(
    ledger: Ledger, spool: Path, attempted: MakeRecord
) -> None:
    break_ledger(ledger)
    record: AttemptRecord = attempted(1)
    with Recorder(ledger, spool=spool) as recorder:
        recorder.record(record)
        recorder.record(record)
    assert len(list(spool.glob("*.json"))) == 1
