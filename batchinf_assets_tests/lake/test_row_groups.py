"""Row groups: read one at a time against their checksums, written so that a file is whole."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.lake.layout import ROW_GROUP_ROWS
from batchinf_assets.lake.row_groups import LARGEST_ROW_GROUP, RowGroups, ahead, write_row_groups

ROWS = pa.table(
    {
        "key": pa.array(range(1_000), pa.int64()),
        "name": [f"row {number % 7}" for number in range(1_000)],
        "score": np.random.default_rng(1).random(1_000),
    }
)


def pieces(*sizes: int) -> Iterator[pa.Table]:
    start = 0
    for size in sizes:
        yield ROWS.slice(start, size)
        start += size


def test_each_table_becomes_a_row_group(tmp_path: Path) -> None:
    file = write_row_groups(tmp_path / "a.parquet", ROWS.schema, pieces(400, 0, 350, 250))
    groups = RowGroups(file.path)
    assert (groups.rows, file.rows) == ((400, 350, 250), 1_000)
    assert groups.schema == ROWS.schema
    assert pa.concat_tables(groups.all()).equals(ROWS)
    assert (file.bytes, file.sha256) == (
        Path(str(file.path)).stat().st_size,
        file_sha256(file.path),
    )


def test_chosen_groups_and_columns_are_read_in_the_order_asked_for(tmp_path: Path) -> None:
    file = write_row_groups(tmp_path / "a.parquet", ROWS.schema, pieces(400, 350, 250))
    last, first = RowGroups(file.path).read([2, 0], ["key"])
    assert last.equals(ROWS.select(["key"]).slice(750))
    assert first.equals(ROWS.select(["key"]).slice(0, 400))


def test_chunks_of_a_table_do_not_change_the_bytes(tmp_path: Path) -> None:
    chunked = pa.concat_tables([ROWS.slice(0, 10), ROWS.slice(10, 500), ROWS.slice(510)])
    files = [
        write_row_groups(tmp_path / f"{name}.parquet", ROWS.schema, iter([rows]))
        for name, rows in (("plain", ROWS), ("chunked", chunked))
    ]
    assert files[0].sha256 == files[1].sha256


def test_what_fails_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def breaking() -> Iterator[pa.Table]:
        yield from pieces(400)
        raise KeyError("in the middle")

    with pytest.raises(KeyError, match="in the middle"):
        write_row_groups(tmp_path / "a.parquet", ROWS.schema, breaking())
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_bit_in_any_page_is_found(tmp_path: Path) -> None:
    file = write_row_groups(tmp_path / "a.parquet", ROWS.schema, pieces(1_000))
    path = Path(str(file.path))
    whole = path.read_bytes()
    group = pq.read_metadata(path).row_group(0)
    for column in range(group.num_columns):
        chunk = group.column(column)
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        damaged = bytearray(whole)
        damaged[start + chunk.total_compressed_size - 1] ^= 1
        path.write_bytes(bytes(damaged))
        with pytest.raises(ManifestInvalid, match=r"a\.parquet cannot be read back"):
            list(RowGroups(path).all())


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1", b"no Parquet at all"])
def test_what_is_no_parquet_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(ManifestInvalid, match=r"a\.parquet cannot be read back"):
        _ = RowGroups(path).rows


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestInvalid, match=r"gone\.parquet cannot be read back"):
        list(RowGroups(tmp_path / "gone.parquet").all())


def test_a_file_of_our_other_writer_is_read_in_its_groups(tmp_path: Path) -> None:
    write_parquet(tmp_path / "b.parquet", ROWS, {}, row_group_rows=300, scan=True)
    groups = RowGroups(tmp_path / "b.parquet")
    assert groups.rows == (300, 300, 300, 100)
    assert pa.concat_tables(groups.all()).equals(ROWS)
    assert groups.schema == ROWS.schema


def test_reading_ahead_changes_neither_tables_nor_failures() -> None:
    assert [table.num_rows for table in ahead(pieces(3, 5, 2))] == [3, 5, 2]
    assert list(ahead(iter([]))) == []

    def breaking() -> Iterator[pa.Table]:
        yield from pieces(3)
        raise KeyError("in the middle")

    tables = ahead(breaking())
    assert next(tables).num_rows == 3
    with pytest.raises(KeyError, match="in the middle"):
        next(tables)


def test_reading_ahead_may_be_given_up() -> None:
    tables = ahead(pieces(3, 5, 2))
    assert next(tables).num_rows == 3
    tables.close()


def overwrite_rows(path: Path) -> None:
    """Leave the footer alone as it was, and of the rows nothing that could be decoded."""
    content = bytearray(path.read_bytes())
    footer = int.from_bytes(content[-8:-4], "little") + 8
    content[4:-footer] = b"\xff" * (len(content) - footer - 4)
    path.write_bytes(bytes(content))


def test_a_row_group_as_large_as_ours_may_be_is_read(tmp_path: Path) -> None:
    rows = pa.table({"key": np.zeros(ROW_GROUP_ROWS, np.int8)})
    pq.write_table(rows, tmp_path / "a.parquet", row_group_size=ROW_GROUP_ROWS)
    assert [table.num_rows for table in RowGroups(tmp_path / "a.parquet").all()] == [ROW_GROUP_ROWS]


def test_a_row_group_of_more_rows_than_ours_is_refused_before_it_is_decoded(
    tmp_path: Path,
) -> None:
    path, rows = tmp_path / "a.parquet", ROW_GROUP_ROWS + 1
    pq.write_table(pa.table({"key": np.zeros(rows, np.int8)}), path, row_group_size=rows)
    overwrite_rows(path)
    for read in (lambda: RowGroups(path).rows, lambda: next(RowGroups(path).read([0], ["key"]))):
        with pytest.raises(ManifestInvalid, match=r"a\.parquet has a row group of 131,073 rows"):
            read()


def test_a_small_file_that_unpacks_to_more_than_ours_is_refused_before_it_is_decoded(
    tmp_path: Path,
) -> None:
    path, zeros = tmp_path / "bomb.parquet", pa.array(np.zeros(ROW_GROUP_ROWS))
    columns = {f"zeros {number}": zeros for number in range(1 + LARGEST_ROW_GROUP // zeros.nbytes)}
    pq.write_table(pa.table(columns), path, use_dictionary=False, compression="zstd")
    assert path.stat().st_size < 2**20
    overwrite_rows(path)
    limit = rf"131,072 rows and 1,0\d\d,\d{{3}},\d{{3}} bytes; .* {LARGEST_ROW_GROUP:,} bytes"
    for read in (
        lambda: RowGroups(path).rows,
        lambda: next(RowGroups(path).read([0], ["zeros 0"])),
    ):
        with pytest.raises(ManifestInvalid, match=limit):
            read()


class BrokenDisk(io.RawIOBase):
    """A file whose disk answers so many reads, and fails from then on."""

    def __init__(self, content: bytes, answers: int) -> None:
        self._file, self._answers = io.BytesIO(content), answers

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        self._answers -= 1
        if self._answers < 0:
            raise OSError(errno.EIO, "Input/output error")
        return self._file.read(size)


@dataclass(frozen=True)
class OnBrokenDisk:
    """A place on it; every opening of the file begins to count anew."""

    content: bytes
    answers: int

    def open(self, mode: str, buffering: int) -> BrokenDisk:
        assert (mode, buffering) == ("rb", 0)
        return BrokenDisk(self.content, self.answers)


@pytest.mark.parametrize("answers", [0, 1])
def test_a_disk_that_fails_is_not_taken_for_a_damaged_file(tmp_path: Path, answers: int) -> None:
    """Another try may succeed, and no backup has to be restored."""
    file = write_row_groups(tmp_path / "a.parquet", ROWS.schema, pieces(400, 600))
    place: Any = OnBrokenDisk(Path(str(file.path)).read_bytes(), answers)
    with pytest.raises(OSError, match="Input/output error") as failure:
        list(RowGroups(place).all())
    assert failure.value.errno == errno.EIO


def test_a_path_that_the_system_refuses_is_not_taken_for_a_damaged_file(tmp_path: Path) -> None:
    loop = tmp_path / "loop.parquet"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match=r"loop\.parquet") as failure:
        list(RowGroups(loop).all())
    assert failure.value.errno == errno.ELOOP
