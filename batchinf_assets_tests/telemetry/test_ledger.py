"""The ledger: what is appended is read back once, whoever else appends."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import sys
import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.telemetry.attempt import FIELDS, MAINTENANCE, ROLLBACK
from batchinf_assets.telemetry.ledger import COMMITS_TRIED, LEDGER_SCHEMA, Ledger

if TYPE_CHECKING:
    from batchinf_assets_tests.telemetry.conftest import MakeRecord


def test_no_ledger_reads_as_no_attempts(ledger: Ledger) -> None:
    assert ledger.read().schema == LEDGER_SCHEMA
    assert ledger.read().num_rows == 0
    assert ledger.latest("flight_delays") == {}


def test_a_record_is_read_back_as_it_was(ledger: Ledger, attempted: MakeRecord) -> None:
    full = attempted(
        trace_id="0" * 32,
        revision="abc",
        manifest_sha256="f" * 64,
        reason_code="window_refused",
        reason="Because of 'é' 🙂.",
        stage_seconds={"predictions": 1.25, "published": 0.5},
        rows=2**40,
        bytes_written=1,
        shards_total=3,
        shards_computed=2,
        shards_reused=1,
        cpu_seconds=1.5,
        io_read_bytes=2,
        io_write_bytes=3,
        io_seconds=0.0,
        peak_memory_bytes=4,
        retries=0,
    )
    assert None not in [getattr(full, name) for name in FIELDS]
    ledger.append([full])
    assert ledger.latest("flight_delays") == {"2026-10-31": full}


def test_unknown_figures_are_null_and_not_zero(ledger: Ledger, attempted: MakeRecord) -> None:
    ledger.append([attempted()])
    row = ledger.read().to_pylist()[0]
    assert {row["cpu_seconds"], row["io_seconds"], row["rows"], row["retries"]} == {None}


def test_each_record_lies_in_the_month_of_its_end(ledger: Ledger, attempted: MakeRecord) -> None:
    ledger.append([attempted(1), attempted(2, minute=60 * 24 * 40)])
    assert sorted(folder.name for folder in ledger.place.glob("month=*")) == [
        "month=2026-11",
        "month=2026-12",
    ]
    assert DeltaTable(ledger.place).version() == 1
    assert ledger.read().num_rows == 2


def test_nothing_to_append_makes_no_commit(ledger: Ledger) -> None:
    ledger.append([])
    assert not ledger.place.exists()


def test_a_record_appended_twice_is_read_once(ledger: Ledger, attempted: MakeRecord) -> None:
    record = attempted(cpu_seconds=2.0)
    ledger.append([record])
    ledger.append([record, attempted(2)])
    assert ledger.read().column("attempt").to_pylist() == [1, 2]
    assert ledger.read().column("cpu_seconds").to_pylist() == [2.0, None]


def test_the_parts_of_an_attempt_are_read_as_one(ledger: Ledger, attempted: MakeRecord) -> None:
    ledger.append([attempted(state="scored", stage="predictions", rows=9, revision="abc")])
    ledger.append([attempted(minute=3)])
    rows = ledger.read().to_pylist()
    assert [(row["state"], row["rows"], row["revision"]) for row in rows] == [
        ("published", 9, "abc")
    ]


def test_runs_that_share_a_token_stay_apart(ledger: Ledger, attempted: MakeRecord) -> None:
    ledger.append([attempted(run_id="a"), attempted(run_id="b", minute=5)])
    assert ledger.read().column("run_id").to_pylist() == ["a", "b"]


def test_read_keeps_to_the_pipeline_and_the_window(ledger: Ledger, attempted: MakeRecord) -> None:
    ledger.append([attempted(), attempted(window="2026-11-01"), attempted(pipeline="other")])
    assert ledger.read().num_rows == 3
    assert ledger.read("flight_delays").num_rows == 2
    assert ledger.read("flight_delays", "2026-11-01").num_rows == 1
    assert ledger.read(window="2026-10-31").num_rows == 2
    assert ledger.read("missing").num_rows == 0


def test_the_latest_attempt_has_the_highest_token(ledger: Ledger, attempted: MakeRecord) -> None:
    ledger.append([attempted(2, state="failed"), attempted(1, minute=30)])
    ledger.append([attempted(1, window="2026-11-01:x"), attempted(9, pipeline="other")])
    latest = ledger.latest("flight_delays")
    assert {key: (each.attempt, each.state) for key, each in latest.items()} == {
        "2026-10-31": (2, "failed"),
        "2026-11-01:x": (1, "published"),
    }


@pytest.mark.parametrize("stage", [ROLLBACK, MAINTENANCE])
@pytest.mark.parametrize("state", ["failed", "refused", "lost_race", "killed"])
def test_the_latest_attempt_is_not_one_beside_the_runs_that_came_to_nothing(
    ledger: Ledger, attempted: MakeRecord, stage: str, state: str
) -> None:
    beside = attempted(2, state=state, stage=stage)
    ledger.append([attempted(1), beside, replace(beside, window="2026-11-01")])
    assert ledger.latest("flight_delays") == {"2026-10-31": attempted(1)}
    assert ledger.read()["attempt"].to_pylist() == [1, 2, 2]


def test_a_rollback_that_was_done_is_the_latest_attempt(
    ledger: Ledger, attempted: MakeRecord
) -> None:
    done = attempted(2, state="rolled_back", stage=ROLLBACK)
    ledger.append([attempted(1), done])
    assert ledger.latest("flight_delays") == {"2026-10-31": done}


def test_undecodable_text_keeps_no_record_out(ledger: Ledger, attempted: MakeRecord) -> None:
    ledger.append([attempted(worker="h\udcffst:1")])
    assert ledger.read().column("worker").to_pylist() == [r"h\udcffst:1"]


def test_writers_in_other_processes_all_land(ledger: Ledger, attempted: MakeRecord) -> None:
    # The server that workers are forked from is one for all of this process, and another test's.
    server = multiprocessing.get_context("spawn")
    writers: list[multiprocessing.process.BaseProcess] = []
    for number in range(6):
        batches = [[attempted(attempt, run_id=f"run-{number}")] for attempt in range(5)]
        # `deque(…, 0)` runs through the map: five commits of one row each.
        writers.append(server.Process(target=deque, args=(map(ledger.append, batches), 0)))
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 6
    rows = ledger.read()
    assert rows.num_rows == 30
    assert len(set(rows.column("attempt_id").to_pylist())) == 30
    assert DeltaTable(ledger.place).version() == 30  # made once, then thirty commits


def test_a_writer_that_died_while_making_the_table_is_no_obstacle(
    ledger: Ledger, attempted: MakeRecord
) -> None:
    (ledger.place / "_delta_log").mkdir(parents=True)
    assert ledger.read().num_rows == 0
    ledger.append([attempted()])
    assert ledger.read().num_rows == 1


def test_appending_takes_turns_with_compaction(ledger: Ledger, attempted: MakeRecord) -> None:
    def append() -> None:
        for number in range(10):
            ledger.append([attempted(number)])

    append()
    writer = threading.Thread(target=append)
    writer.start()
    while writer.is_alive():
        with suppress(CommitFailedError):
            DeltaTable(ledger.place).optimize.compact()
    writer.join()
    assert DeltaTable(ledger.place).to_pyarrow_table().num_rows == 20
    assert ledger.read().num_rows == 10


def test_no_temporary_file_stays_behind(ledger: Ledger, attempted: MakeRecord) -> None:
    ledger.append([attempted()])
    ledger.append([attempted(2)])
    files = sorted(path.relative_to(ledger.place).parent.name for path in ledger.place.rglob("*.*"))
    assert files == ["_delta_log"] * 3 + ["month=2026-11"] * 2


def test_the_table_refuses_to_forget(ledger: Ledger, attempted: MakeRecord) -> None:
    ledger.append([attempted()])
    with pytest.raises(CommitFailedError, match="append-only"):
        DeltaTable(ledger.place).delete()


def test_compaction_and_vacuum_change_nothing(ledger: Ledger, attempted: MakeRecord) -> None:
    for number in range(4):
        ledger.append([attempted(number, stage_seconds={"published": float(number)})])
    before, table = ledger.read(), DeltaTable(ledger.place)
    assert table.optimize.compact()["numFilesRemoved"] == 4
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    table.create_checkpoint()
    assert len(list(ledger.place.rglob("*.parquet"))) == 2  # the rows, the checkpoint
    assert ledger.read() == before
    ledger.append([attempted(9)])
    assert ledger.read().num_rows == 5


def test_a_damaged_file_is_an_error_and_not_an_absence(
    ledger: Ledger, attempted: MakeRecord
) -> None:
    ledger.append([attempted()])
    file = next(ledger.place.glob("month=*/*.parquet"))
    file.write_bytes(file.read_bytes()[:-8] + bytes(8))
    with pytest.raises(ManifestInvalid, match="_ledger"):
        ledger.read()


def test_a_damaged_log_is_an_error(ledger: Ledger, attempted: MakeRecord) -> None:
    ledger.append([attempted()])
    (ledger.place / "_delta_log" / f"{0:020d}.json").write_text("{")
    with pytest.raises(ManifestInvalid, match="_ledger"):
        ledger.read()


def test_a_file_in_the_place_of_the_ledger_is_an_error(
    ledger: Ledger, attempted: MakeRecord
) -> None:
    ledger.place.parent.mkdir()
    ledger.place.write_text("not a folder")
    with pytest.raises(ManifestInvalid):
        ledger.read()
    with pytest.raises(OSError, match="_ledger"):
        ledger.append([attempted()])


def test_times_keep_their_microseconds(ledger: Ledger, attempted: MakeRecord) -> None:
    record = attempted()
    record = replace(record, ended_at=record.ended_at + timedelta(microseconds=7))
    ledger.append([record])
    assert ledger.latest("flight_delays")["2026-10-31"] == record


@contextmanager
def listed_folders() -> Generator[list[str]]:
    """Collect the names of the folders that this thread lists."""
    found: list[str] = []
    thread = threading.get_ident()
    watching = [True]

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event in ("os.listdir", "os.scandir") and threading.get_ident() == thread:
            found.append(Path(str(arguments[0])).name)

    sys.addaudithook(hear)  # stays, and is deaf from then on
    try:
        yield found
    finally:
        watching.clear()


def test_only_the_first_append_lists_the_log(ledger: Ledger, attempted: MakeRecord) -> None:
    ledger.append([attempted(0)])
    another = Ledger(ledger.place.parent)
    with listed_folders() as first:
        another.append([attempted(1)])
    assert "_delta_log" in first
    with listed_folders() as later:
        for number in range(2, 5):
            another.append([attempted(number)])
    assert "_delta_log" not in later
    assert ledger.read().num_rows == 5


def test_writers_that_take_turns_list_no_log(ledger: Ledger, attempted: MakeRecord) -> None:
    other = Ledger(ledger.place.parent)
    ledger.append([attempted(0)])
    other.append([attempted(1)])
    with listed_folders() as listed:
        for number in range(2, 8, 2):
            ledger.append([attempted(number)])
            other.append([attempted(number + 1)])
    assert "_delta_log" not in listed
    assert ledger.read().num_rows == 8


def test_after_many_commits_of_others_the_log_is_listed_once(
    ledger: Ledger, attempted: MakeRecord
) -> None:
    ledger.append([attempted(0)])
    other = Ledger(ledger.place.parent)
    for number in range(1, COMMITS_TRIED + 10):
        other.append([attempted(number)])
    with listed_folders() as listed:
        ledger.append([attempted(500)])
    assert listed.count("_delta_log") == 1
    assert ledger.read().num_rows == COMMITS_TRIED + 11


def test_a_ledger_that_was_moved_away_is_begun_anew(ledger: Ledger, attempted: MakeRecord) -> None:
    for number in range(3):
        ledger.append([attempted(number)])
    ledger.place.rename(ledger.place.with_name("moved away"))
    ledger.append([attempted(9)])
    assert ledger.read().column("attempt").to_pylist() == [9]


def test_a_row_that_no_attempt_leaves_is_damage(ledger: Ledger, attempted: MakeRecord) -> None:
    ledger.append([attempted()])
    rows = ledger.read()
    impossible = rows.set_column(
        rows.schema.get_field_index("rows"), "rows", pa.array([-1], pa.int64())
    )
    write_deltalake(ledger.place, impossible, mode="append")
    with pytest.raises(ManifestInvalid, match=r"2026-10-31.*rows must be"):
        ledger.read()
