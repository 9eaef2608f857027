"""Row groups: read one at a time against their checksums, written so that a file is whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.lake.row_groups import RowGroups, write_row_groups

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
