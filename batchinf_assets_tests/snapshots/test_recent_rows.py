"""Rows that were read last are kept within their bytes, and what is read again stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.errors import LandedFileUnreadable, LandingFault
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.snapshots.recent_rows import RecentRows

KILOBYTE = 1_000


class Shelf:
    """Files of a given size, which count how often they are read."""

    def __init__(self, largest_total: int) -> None:
        self.kept = RecentRows(largest_total)
        self.read: list[str] = []

    def get(self, name: str, size: int = KILOBYTE, version: int = 1) -> pa.Table:
        def read() -> tuple[FileRecord, pa.Table]:
            self.read.append(name)
            rows = pa.table({"value": pa.array(np.full(size, version, np.int8))})
            return FileRecord(path=name, sha256="0" * 64, bytes=size), rows

        return self.kept.get(Path(name), (version,), read).rows


@pytest.fixture
def shelf() -> Shelf:
    return Shelf(10 * KILOBYTE)


def test_what_was_read_last_is_not_read_again(shelf: Shelf) -> None:
    assert shelf.get("a") is shelf.get("a")
    assert shelf.read == ["a"]


def test_another_file_of_the_same_name_is_read_and_takes_its_place(shelf: Shelf) -> None:
    shelf.get("a")
    assert shelf.get("a", version=2)["value"][0].as_py() == 2
    assert shelf.read == ["a", "a"]
    assert shelf.kept.bytes == KILOBYTE


def test_a_backfill_keeps_no_more_than_the_limit_and_reads_references_once(shelf: Shelf) -> None:
    held: list[int] = []
    for day in range(100):
        shelf.get(f"source of day {day}", 4 * KILOBYTE)
        shelf.get("planes", 2 * KILOBYTE)
        shelf.get("weather", 3 * KILOBYTE)
        held.append(shelf.kept.bytes)
    assert max(held) <= 10 * KILOBYTE
    assert (shelf.read.count("planes"), shelf.read.count("weather")) == (1, 1)


def test_a_file_that_would_drive_out_the_others_is_given_and_not_kept(shelf: Shelf) -> None:
    shelf.get("planes", 5 * KILOBYTE)
    for _ in range(2):
        assert shelf.get("huge", 5 * KILOBYTE + 1).num_rows == 5 * KILOBYTE + 1
    shelf.get("planes", 5 * KILOBYTE)
    assert shelf.read == ["planes", "huge", "huge"]


def test_a_refused_file_is_asked_for_again(shelf: Shelf) -> None:
    def refuse() -> tuple[FileRecord, pa.Table]:
        raise LandedFileUnreadable(
            "a is empty.", reason=LandingFault.EMPTY, next_step="Drop it again."
        )

    for _ in range(2):
        with pytest.raises(LandedFileUnreadable):
            shelf.kept.get(Path("a"), (1,), refuse)
    assert shelf.get("a").num_rows == KILOBYTE


def test_threads_that_read_the_same_files_do_not_lose_count(shelf: Shelf) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: shelf.get(f"file {n % 15}", version=n % 3), range(3_000)))
    for name in range(30):
        shelf.get(f"another {name}")
    assert shelf.kept.bytes == 10 * KILOBYTE
