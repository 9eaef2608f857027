"""A folder of files per window, read as one: corrections come as more files."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import LandedFileMissing, LandedFileUnreadable, LandingFault
from batchinf_assets.snapshots.landed_digests import LandedDigests
from batchinf_assets.snapshots.landing import Landing
from batchinf_assets.snapshots.listing import landed_files
from batchinf_assets.snapshots.parts import (
    identity_of,
    landed_at,
    landed_sha256,
    newest_rows,
    parts_of,
    source_record,
)
from batchinf_assets.spec.contract import ColumnSpec, LimitsSpec
from batchinf_assets.windows import WindowSpec

DAYS = WindowSpec(start=date(2013, 1, 1))
WINDOW = DAYS.window("2013-07-01")
PATTERN = "flights/{window}/*.parquet"
COLUMNS = {"id": ColumnSpec(type="int64"), "x": ColumnSpec(type="string", nullable=True)}


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path, "data/landing")


def drop(landing: Landing, name: str, ids: list[int | None], x: str) -> Path:
    path = landing.folder / "flights" / WINDOW.key / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = pa.table({"id": pa.array(ids, pa.int64()), "x": [x] * len(ids)})
    pq.write_table(rows, path)
    return path


def place(landing: Landing) -> Path:
    return landing.path(PATTERN, WINDOW)


def read(landing: Landing) -> list[pa.Table]:
    found = landing.read_parts(PATTERN, WINDOW, limits=LimitsSpec(), columns=COLUMNS)
    return [part.rows for part in found]


def merged(landing: Landing) -> set[tuple[int | None, str]]:
    rows = newest_rows(read(landing), ["id"])
    assert rows.schema == read(landing)[0].schema
    return {(row["id"], row["x"]) for row in rows.to_pylist()}


def test_rows_of_a_later_file_replace_those_with_their_key_and_add_the_others(
    landing: Landing,
) -> None:
    drop(landing, "1.parquet", [1, 2, 3], "first")
    drop(landing, "2.parquet", [2, 4], "second")
    drop(landing, "3.parquet", [4], "third")
    assert merged(landing) == {(1, "first"), (2, "second"), (3, "first"), (4, "third")}


def test_repeated_keys_of_one_file_all_stay_for_the_contract_to_refuse(landing: Landing) -> None:
    drop(landing, "1.parquet", [1, 1], "first")
    drop(landing, "2.parquet", [2, 2], "second")
    assert newest_rows(read(landing), ["id"]).num_rows == 4


def test_rows_without_a_key_replace_nothing(landing: Landing) -> None:
    drop(landing, "1.parquet", [None, 1], "first")
    drop(landing, "2.parquet", [None], "second")
    assert merged(landing) == {(None, "first"), (1, "first"), (None, "second")}


def test_a_single_file_is_handed_on_as_it_is() -> None:
    rows = pa.table({"id": [2, 1]})
    assert newest_rows([rows], ["id"]) is rows


def test_hidden_files_and_other_endings_are_left_alone(landing: Landing) -> None:
    one = drop(landing, "1.parquet", [1], "first")
    drop(landing, ".2.parquet", [2], "unfinished")
    (one.parent / "notes.txt").write_text("x")
    (one.parent / "old.parquet").mkdir()
    assert parts_of(place(landing)) == (one,)


def test_no_file_in_the_folder_has_not_landed(landing: Landing) -> None:
    name = r"data/landing/flights/2013-07-01/\*\.parquet of window 2013-07-01 has not landed"
    with pytest.raises(LandedFileMissing, match=name):
        read(landing)


def test_a_damaged_file_is_named_by_itself(landing: Landing) -> None:
    drop(landing, "1.parquet", [1], "first")
    drop(landing, "2.parquet", [1], "second").write_bytes(b"")
    with pytest.raises(LandedFileUnreadable, match=r"2013-07-01/2\.parquet is empty") as refusal:
        read(landing)
    assert refusal.value.reason is LandingFault.EMPTY


def test_every_change_of_the_folder_is_another_revision(landing: Landing) -> None:
    path, digests = place(landing), list[str]()
    identities = list[tuple[int, int]]()

    def note() -> None:
        found = landing.read_parts(PATTERN, WINDOW, limits=LimitsSpec(), columns=COLUMNS)
        name = path.relative_to(landing.folder).as_posix()
        record = source_record(name, [part.record for part in found])
        assert record.sha256 == landed_sha256(path) == LandedDigests(landing.folder).sha256(name)
        assert record.path == "flights/2013-07-01/*.parquet"
        assert record.bytes == identity_of(path)[1]
        digests.append(record.sha256)
        identities.append(identity_of(path))

    first = drop(landing, "1.parquet", [1], "first")
    note()
    second = drop(landing, "2.parquet", [1], "second")
    note()
    second.rename(second.with_name("3.parquet"))
    note()
    first.unlink()
    note()
    assert len({*digests}) == 4
    assert len({*identities}) >= 3
    assert landed_at(path).timestamp() == pytest.approx(parts_of(path)[0].stat().st_ctime)


def test_a_folder_whose_files_are_gone_has_no_time_of_landing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        landed_at(tmp_path / "*.parquet")


def test_windows_with_a_folder_are_found_once(landing: Landing) -> None:
    drop(landing, "1.parquet", [1], "first")
    drop(landing, "2.parquet", [1], "second")
    (landing.folder / "flights" / "no window").mkdir()
    (landing.folder / "flights" / "no window" / "1.parquet").write_bytes(b"")
    (landing.folder / "flights" / "2013-07-02").mkdir()
    assert landed_files(landing.folder, PATTERN, DAYS) == {"2013-07-01": place(landing)}
    assert LandedDigests(landing.folder).sha256("flights/2013-07-02/*.parquet") is None
