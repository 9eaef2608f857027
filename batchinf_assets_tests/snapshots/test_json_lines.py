"""What JSON Lines say of columns: fields that are not there, not declared, or null everywhere."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from batchinf_assets.errors import LandedFileUnreadable, LandingFault
from batchinf_assets.snapshots import text_blocks
from batchinf_assets.snapshots.file_limits import FileLimits
from batchinf_assets.snapshots.formats import decode, format_of
from batchinf_assets.spec.contract import ColumnSpec, LimitsSpec

COLUMNS = {
    "id": ColumnSpec(type="int64"),
    "text": ColumnSpec(type="string", nullable=True),
    "at": ColumnSpec(type="timestamp", nullable=True),
    "share": ColumnSpec(type="float64", nullable=True),
}


def read(*lines: object, columns: dict[str, ColumnSpec] = COLUMNS) -> pa.Table:
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    content = b"".join(text + b"\n" for text in texts)
    limits = FileLimits(name="a.jsonl", file_bytes=len(content), declared=LimitsSpec())
    return decode(content, format_of("a.jsonl"), columns, limits)


def test_columns_come_as_declared_whatever_the_order_of_the_fields() -> None:
    rows = read({"share": 1, "text": "a", "id": 7}, {"id": 8, "at": "2013-07-01T00:00:00Z"})
    assert rows.column_names == ["id", "text", "at", "share"]
    assert rows["id"].to_pylist() == [7, 8]
    assert rows["share"].to_pylist() == [1.0, None]


def test_a_field_that_no_line_names_is_no_column_and_one_of_nulls_is() -> None:
    rows = read({"id": 1}, {"id": 2, "text": None}, {"id": 3, "n": ['"at"', {"at": 1}]})
    assert rows.column_names == ["id", "text"]
    assert rows["text"].to_pylist() == [None] * 3


def test_a_field_of_a_later_block_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 64)
    many = [{"id": n} for n in range(100)]
    rows = read(*many, {"id": 100, "at": "2013-07-01T00:00:00Z", "text": None})
    assert rows.column_names == ["id", "text", "at"]
    assert rows["at"].null_count == 100
    assert rows["id"].to_pylist() == list(range(101))


def test_a_field_that_is_not_declared_is_a_column_of_nulls_whatever_it_holds() -> None:
    rows = read({"id": 1, "new": {"a": [1]}}, {"id": 2, "new": "text"}, {"id": 3, "new": 1})
    assert rows.column_names == ["id", "new"]
    assert rows.schema.field("new").type == pa.null()


def test_large_integers_are_exact() -> None:
    assert read({"id": 2**53 + 1})["id"].to_pylist() == [2**53 + 1]


def test_digits_in_quotes_stay_text() -> None:
    assert read({"id": 1, "text": "007"})["text"].to_pylist() == ["007"]


def test_blank_lines_count_as_lines_and_not_as_rows() -> None:
    assert read(b"", {"id": 1}, b"  ", {"id": 2}, b"\r").num_rows == 2
    with pytest.raises(LandedFileUnreadable, match="in line 4, column at"):
        read(b"", {"id": 1}, b"", {"id": 2, "at": "noon"})


def test_nulls_inside_of_a_field_are_no_null_rows() -> None:
    rows = read({"id": 1, "new": [{}, None]}, b'{"id": 2, "new": [{}\tnull]}'.replace(b"\t", b","))
    assert rows["id"].to_pylist() == [1, 2]


def test_short_lines_that_stand_for_wide_rows_are_refused_before_they_take_memory() -> None:
    wide = {f"c{index}": ColumnSpec(type="float64", nullable=True) for index in range(500)}
    with pytest.raises(LandedFileUnreadable) as refusal:
        read(b"{}\n" * 500_000, columns=wide)
    assert refusal.value.reason is LandingFault.EXPANDS_TOO_FAR
