"""Landed files: read whole and once, named in every refusal."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import (
    InvalidSpec,
    LandedFileMissing,
    LandedFileUnreadable,
    LandingFault,
    StorageUnavailable,
)
from batchinf_assets.snapshots import landing as room
from batchinf_assets.snapshots.landing import LandedFile, Landing
from batchinf_assets.snapshots.recent_rows import RecentRows
from batchinf_assets.spec.contract import ColumnSpec, LimitsSpec
from batchinf_assets.windows import Window, WindowSpec
from batchinf_assets_tests.s3_server import ENVIRON, place_at

WINDOW = WindowSpec(start=date(2013, 1, 1)).window("2013-07-01")
PATTERN = "flights/{window}.parquet"
ROWS = pa.table({"id": pa.array(range(500), pa.int64()), "text": ["some text"] * 500})
COLUMNS = {"id": ColumnSpec(type="int64"), "text": ColumnSpec(type="string")}


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    (tmp_path / "in box" / "flights").mkdir(parents=True)
    return Landing(tmp_path / "in box", "data/landing")


def drop(landing: Landing, rows: pa.Table = ROWS) -> Path:
    path = landing.path(PATTERN, WINDOW)
    pq.write_table(rows, path, write_page_checksum=True)
    return path


def read(
    landing: Landing,
    pattern: str = PATTERN,
    window: Window | None = WINDOW,
    limits: LimitsSpec | None = None,
) -> LandedFile:
    return landing.read(pattern, window, limits=limits or LimitsSpec(), columns=COLUMNS)


def test_a_file_is_read_with_its_path_digest_and_size(landing: Landing) -> None:
    content = drop(landing).read_bytes()
    found = read(landing)
    assert found.rows.equals(ROWS)
    assert found.record.path == "flights/2013-07-01.parquet"
    assert found.record.sha256 == hashlib.sha256(content).hexdigest()
    assert found.record.bytes == len(content)


def test_a_file_that_no_window_names_is_read_too(landing: Landing) -> None:
    pq.write_table(ROWS, landing.folder / "planes.parquet")
    assert read(landing, "planes.parquet", None).record.path == "planes.parquet"


def test_metadata_of_the_writer_is_left_behind(landing: Landing) -> None:
    drop(landing, ROWS.replace_schema_metadata({"pandas": "{}"}))
    assert read(landing).rows.schema.metadata is None


def test_a_file_that_is_overwritten_while_it_is_read_is_refused_or_whole(landing: Landing) -> None:
    path = landing.path(PATTERN, WINDOW)
    versions = [many_rows(path.with_name(name), value) for name, value in (("a", 1.0), ("b", 2.0))]
    path.write_bytes(versions[0].read_bytes())
    whole = {hashlib.sha256(version.read_bytes()).hexdigest() for version in versions}
    changed = "data/landing/flights/2013-07-01.parquet was changed while it was read."
    taken, refused = list[str](), list[str]()
    command = [sys.executable, "-c", OVERWRITER, path, *versions]
    with subprocess.Popen(command) as writer:
        try:
            until = time.monotonic() + 60
            while time.monotonic() < until and refused.count(changed) < 5:
                try:
                    taken.append(read(landing).record.sha256)
                except LandedFileUnreadable as refusal:
                    refused.append(refusal.message)
        finally:
            writer.kill()
    assert set(taken) <= whole
    assert refused.count(changed) == 5  # others met a writer that rested half-way: a damaged file


OVERWRITER = """
import sys
from pathlib import Path
path, *versions = map(Path, sys.argv[1:])
contents = [version.read_bytes() for version in versions]
while True:
    for content in contents:
        with path.open("r+b") as file:
            for start in range(0, len(content), 65536):
                file.seek(start)
                file.write(content[start : start + 65536])
"""
"""Writes two versions of equal size over each other, again and again, in place."""


def many_rows(path: Path, value: float) -> Path:
    """Write 8 MB, as many for every value."""
    rows = pa.table({"value": np.full(10**6, value)})
    pq.write_table(
        rows,
        path,
        use_dictionary=False,
        compression="none",
        write_page_checksum=True,
        data_page_size=2**30,
        max_rows_per_page=10**6,
    )
    return path


def test_a_missing_file_is_named_with_its_window(landing: Landing) -> None:
    with pytest.raises(LandedFileMissing) as refusal:
        read(landing)
    assert refusal.value.message == (
        "data/landing/flights/2013-07-01.parquet of window 2013-07-01 has not landed."
    )
    with pytest.raises(LandedFileMissing, match=r"^data/landing/planes\.parquet has not landed"):
        read(landing, "planes.parquet", None)


def test_a_landing_folder_that_is_not_there_is_told_from_a_file_that_has_not_landed(
    tmp_path: Path,
) -> None:
    nowhere = Landing(tmp_path / "not mounted", "data/landing")
    with pytest.raises(LandedFileMissing) as refusal:
        read(nowhere)
    assert refusal.value.message == (
        "The landing folder data/landing is not there, so neither is "
        "data/landing/flights/2013-07-01.parquet of window 2013-07-01."
    )
    assert "BATCHINF_LANDING" in refusal.value.next_step


def test_a_landing_bucket_that_does_not_exist_is_named(
    s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    nowhere = place_at(s3_server, "nobody-made-this-bucket")
    with pytest.raises(StorageUnavailable, match=r"bucket of s3://nobody-made-this-bucket/"):
        read(Landing(nowhere, str(nowhere)))


def test_a_file_that_cannot_be_looked_at_has_not_been_missed(landing: Landing) -> None:
    path = landing.path(PATTERN, WINDOW)
    path.symlink_to(path)  # Linux answers "Too many levels of symbolic links"
    with pytest.raises(LandedFileUnreadable, match=r"cannot be read \(Too many levels"):
        read(landing)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is empty"), (b"PAR1", "no whole Parquet file"), (b"a,b\n1,2\n" * 50, "no whole Parq")],
)
def test_a_file_that_is_no_parquet_is_refused(
    landing: Landing, content: bytes, reason: str
) -> None:
    landing.path(PATTERN, WINDOW).write_bytes(content)
    with pytest.raises(LandedFileUnreadable) as refusal:
        read(landing)
    assert refusal.value.message.startswith("data/landing/flights/2013-07-01.parquet ")
    assert reason in refusal.value.message
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_that_is_still_being_written_is_refused(landing: Landing, share: float) -> None:
    path = drop(landing)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(LandedFileUnreadable, match="no whole Parquet file"):
        read(landing)


def test_a_flipped_bit_is_noticed_where_upstream_writes_checksums(landing: Landing) -> None:
    path = drop(landing)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(LandedFileUnreadable):
        read(landing)


def test_a_folder_in_the_place_of_the_file_is_refused(landing: Landing) -> None:
    landing.path(PATTERN, WINDOW).mkdir()
    with pytest.raises(LandedFileUnreadable, match=r"flights/2013-07-01\.parquet"):
        read(landing)


def test_a_file_above_the_declared_size_is_refused_unread(landing: Landing) -> None:
    path = drop(landing)
    path.write_bytes(b"no Parquet at all" * 1000)
    with pytest.raises(
        LandedFileUnreadable, match="has 17000 bytes, the limit is 16999"
    ) as refusal:
        read(landing, limits=LimitsSpec(file_bytes=16_999))
    assert refusal.value.reason is LandingFault.TOO_LARGE
    assert "source.limits" in refusal.value.next_step


def test_limits_that_were_lowered_count_for_a_file_that_was_read_before(landing: Landing) -> None:
    drop(landing)
    assert read(landing).rows.num_rows == 500
    with pytest.raises(LandedFileUnreadable) as refusal:
        read(landing, limits=LimitsSpec(rows=499))
    assert refusal.value.reason is LandingFault.TOO_MANY_ROWS


def test_a_text_file_is_read_with_the_types_of_whoever_declares_it(landing: Landing) -> None:
    (landing.folder / "codes.csv").write_text("id,text\n007,008\n")
    assert read(landing, "codes.csv", None).rows.to_pylist() == [{"id": 7, "text": "008"}]
    texts = {name: ColumnSpec(type="string") for name in COLUMNS}
    found = landing.read("codes.csv", limits=LimitsSpec(), columns=texts)
    assert found.rows.to_pylist() == [{"id": "007", "text": "008"}]


def test_a_file_whose_name_tells_no_format_is_a_wrong_declaration(landing: Landing) -> None:
    with pytest.raises(InvalidSpec, match=r"'?codes\.xlsx'? has no ending") as refusal:
        read(landing, "codes.xlsx", None)
    assert ".csv, .csv.gz, .jsonl" in refusal.value.next_step


def test_a_changed_file_is_read_again(landing: Landing) -> None:
    drop(landing)
    first = read(landing)
    drop(landing, ROWS.slice(1))
    second = read(landing)
    assert (first.rows.num_rows, second.rows.num_rows) == (500, 499)
    assert first.record.sha256 != second.record.sha256


def test_a_file_of_the_same_size_put_in_place_is_read_again(landing: Landing) -> None:
    path = landing.path(PATTERN, WINDOW)
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(ROWS.slice(0, 3), path, **plain)
    assert read(landing).rows["id"].to_pylist() == [0, 1, 2]
    aside = path.with_suffix(".new")
    pq.write_table(ROWS.slice(1, 3), aside, **plain)
    before = path.stat()
    os.utime(aside, ns=(before.st_atime_ns, before.st_mtime_ns))
    aside.replace(path)
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert read(landing).rows["id"].to_pylist() == [1, 2, 3]


def test_a_file_that_vanished_is_missing_though_it_was_read_before(landing: Landing) -> None:
    path = drop(landing)
    read(landing)
    path.unlink()
    with pytest.raises(LandedFileMissing):
        read(landing)


def test_of_a_backfill_only_the_last_rows_stay_in_memory(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent = RecentRows(2 * ROWS.get_total_buffer_size())
    monkeypatch.setattr(room, "_recent", recent)
    pq.write_table(ROWS.slice(0, 10), landing.folder / "planes.parquet")
    planes = read(landing, "planes.parquet", None).rows
    for window in WindowSpec(start=date(2013, 1, 1)).between("2013-07-01", "2013-07-20"):
        pq.write_table(ROWS, landing.path(PATTERN, window))
        read(landing, PATTERN, window)
        assert read(landing, "planes.parquet", None).rows is planes
    assert recent.bytes <= 2 * ROWS.get_total_buffer_size()
