"""What CSV cells mean: nothing is guessed, and blocks leave no trace in the rows."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pytest

from batchinf_assets.errors import LandedFileUnreadable
from batchinf_assets.snapshots import text_blocks
from batchinf_assets.snapshots.file_limits import FileLimits
from batchinf_assets.snapshots.formats import decode, format_of
from batchinf_assets.spec.contract import ColumnSpec, LimitsSpec

COLUMNS = {
    "id": ColumnSpec(type="int64"),
    "text": ColumnSpec(type="string", nullable=True),
    "at": ColumnSpec(type="timestamp", nullable=True),
}


def read(content: bytes, name: str = "a.csv") -> pa.Table:
    limits = FileLimits(name=name, file_bytes=len(content), declared=LimitsSpec())
    return decode(content, format_of(name), COLUMNS, limits)


def test_an_empty_cell_is_null_and_an_empty_quotation_is_an_empty_text() -> None:
    assert read(b'id,text,at\n1,,\n2,"",\n')["text"].to_pylist() == [None, ""]


@pytest.mark.parametrize("text", ["NA", "null", "nan", "N/A", "007", " 7 ", "1e3", "true"])
def test_words_that_others_take_for_null_or_numbers_stay_texts(text: str) -> None:
    assert read(f"id,text,at\n1,{text},\n".encode())["text"].to_pylist() == [text]


def test_a_quotation_holds_separators_line_ends_and_quotes() -> None:
    rows = read(b'id,text,at\n1,"a, ""b""\r\nc",\r\n2,"d",')
    assert rows["text"].to_pylist() == ['a, "b"\r\nc', "d"]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_an_empty_cell_at_the_end_is_null_however_the_file_ends(end: str) -> None:
    assert read(f'id,at,text\n1,,"d"\n2,"2013-07-01T00:00:00Z",{end}'.encode())[
        "text"
    ].to_pylist() == ["d", None]


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    assert read(b"\xef\xbb\xbfid,text,at\n1,a,\n").column_names == ["id", "text", "at"]


def test_columns_keep_the_order_of_the_file_and_those_not_declared_are_texts() -> None:
    rows = read(b"at,new,id\n,007,1\n")
    assert rows.column_names == ["at", "new", "id"]
    assert rows["new"].to_pylist() == ["007"]


def test_a_header_alone_is_a_table_without_rows_and_with_types() -> None:
    rows = read(b"id,text,at\n")
    assert rows.num_rows == 0
    assert rows.schema.types == [pa.int64(), pa.string(), pa.timestamp("us", tz="UTC")]


def test_times_of_any_offset_are_the_same_instants() -> None:
    rows = read(b"id,text,at\n1,,2013-07-01T02:00:00+02:00\n2,,2013-07-01 00:00:00Z\n")
    first, second = rows["at"].to_pylist()
    assert first == second


def test_times_without_a_zone_stay_so_for_the_contract_to_refuse() -> None:
    assert read(b"id,text,at\n1,,2013-07-01T00:00:00\n")["at"].type == pa.timestamp("us")


def test_rows_do_not_depend_on_how_the_file_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f'{n},"{n}\n""{n}"",é",' for n in range(200)]
    lines[150] = "150,x,2013-07-01T00:00:00Z"
    content = "\n".join(["id,text,at", *lines]).encode()
    whole = read(content)
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 64)
    cut = read(content)
    assert cut.equals(whole)
    assert cut["id"].num_chunks > 50
    assert cut["id"].to_pylist() == list(range(200))


@pytest.mark.parametrize("wrong", [0, 1, 77, 199])
def test_a_line_is_counted_right_in_every_block(
    monkeypatch: pytest.MonkeyPatch, wrong: int
) -> None:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 64)
    lines = [f'{n},"a\nb",' for n in range(200)]
    lines[wrong] = "x,,"
    with pytest.raises(LandedFileUnreadable, match=f"in line {2 * wrong + 2}, column id"):
        read("\n".join(["id,text,at", *lines]).encode())


def test_an_archive_of_several_members_is_read_to_its_end() -> None:
    content = gzip.compress(b"id,text,at\n1,a,\n") + gzip.compress(b"2,b,\n")
    assert read(content, "a.csv.gz")["id"].to_pylist() == [1, 2]
