"""What an expression matches, how long a text is, which values are equal, known and repeated."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from batchinf_assets.contracts.validate import check_values
from batchinf_assets.contracts.value_rules import blocking_alone, value_sets
from batchinf_assets.errors import InvalidSpec
from batchinf_assets.lake.schema import ARROW_TYPES
from batchinf_assets.spec.contract import ColumnSpec, ColumnType

NAN = float("nan")


def broken(values: list[object], column: ColumnSpec, known: pa.Array | None = None):
    """Return rule and positions of what column `x` breaks."""
    rows = pa.table({"n": range(len(values)), "x": pa.array(values, ARROW_TYPES[column.type])})
    given = {} if known is None else {"x": known}
    result = check_values(rows, {"x": column}, key=["n"], asset="snapshot", known=given)
    return {
        v.rule: [int(sample.removeprefix("n=")) for sample in v.samples] for v in result.violations
    }


def test_a_pattern_matches_the_whole_text():
    column = ColumnSpec(type="string", pattern="N[0-9]+|private")
    found = broken(["N12", "N12 ", "xN12", "private", "N12\n", "", "Nprivate"], column)
    assert found == {"matching 'N[0-9]+|private'": [1, 2, 4, 5, 6]}


def test_characters_and_not_bytes_are_matched_and_counted():
    assert broken(["é", "日", "ab"], ColumnSpec(type="string", pattern=".")) == {
        "matching '.'": [2]
    }
    assert broken(["éé", "日本語", "🛫"], ColumnSpec(type="string", max_length=2)) == {
        "at most 2 characters": [1]
    }
    assert broken(["ab"], ColumnSpec(type="string", max_length=1)) == {"at most 1 character": [0]}


def test_nulls_match_and_are_short_where_they_may_be_missing():
    column = ColumnSpec(
        type="string", nullable=True, pattern="[A-Z]+", max_length=2, known_in="t.x", unique=True
    )
    assert broken([None, "AB", None], column, pa.array(["AB"])) == {}


@pytest.mark.parametrize("pattern", ["(?=a)a", r"(a)\1", "a{1001}"])
def test_an_expression_that_re2_refuses_names_the_column(pattern: str):
    with pytest.raises(InvalidSpec, match=r"Column 'x': pattern .* is no RE2 expression"):
        broken([], ColumnSpec(type="string", pattern=pattern))


def test_a_long_pattern_is_cut_in_the_rule():
    (rule,) = broken(["b"], ColumnSpec(type="string", pattern="a" * 200))
    assert rule == f"matching '{'a' * 80}…'"


@pytest.mark.parametrize(
    ("declared", "values", "known", "unknown"),
    [
        ("string", ["a", "b", ""], ["a"], [1, 2]),
        ("bool", [True, False], [True], [1]),
        ("int32", [1, 2], [2, 3], [0]),
        ("int64", [2**53, 2**53 + 1], [2**53], [1]),
        ("float32", [0.1, 0.2], [0.1], [1]),
        ("float64", [-0.0, 0.0, 0.5], [0.0], [2]),
        ("timestamp", [0, 2**62], [2**62], [0]),
        ("date", [date(2013, 1, 1), date(2013, 1, 2)], [date(2013, 1, 2)], [0]),
    ],
)
def test_values_must_be_known_in_every_type(
    declared: ColumnType, values: list[object], known: list[object], unknown: list[int]
):
    kind = ARROW_TYPES[declared]
    found = broken(
        values, ColumnSpec(type=declared, known_in="planes.x"), pa.array([*known, None], kind)
    )
    assert found == {"known in planes.x": unknown}


def test_what_is_known_may_be_encoded_and_in_chunks():
    column = ColumnSpec(type="string", known_in="planes.x")
    known = pa.chunked_array([pa.array(["a"]).dictionary_encode()] * 2)
    assert broken(["a", "b"], column, known) == {"known in planes.x": [1]}
    assert broken(["a"], column, pa.array([], pa.string())) == {"known in planes.x": [0]}


def test_a_reference_that_was_not_given_is_no_pass():
    with pytest.raises(
        InvalidSpec, match=r"Column 'x' says known_in: planes\.x, which is not read"
    ):
        broken(["a"], ColumnSpec(type="string", known_in="planes.x"))


@pytest.mark.parametrize(
    ("declared", "values", "repeated"),
    [
        ("string", ["a", "b", None, "a", None, "A"], [0, 3]),
        ("bool", [True, None, False, True], [0, 3]),
        ("int64", [2**53, 2**53 + 1, 2**53], [0, 2]),
        ("float64", [0.0, NAN, -0.0, NAN, 1.0], [0, 2]),
        ("float32", [1.5, None, 1.5], [0, 2]),
        ("timestamp", [2**62, 0, 2**62], [0, 2]),
        ("date", [date(2013, 1, 1), None, date(2013, 1, 1)], [0, 2]),
    ],
)
def test_every_row_of_a_repeated_value_is_counted_and_nulls_are_not(
    declared: ColumnType, values: list[object], repeated: list[int]
):
    column = ColumnSpec(type=declared, nullable=True, unique=True)
    assert broken(values, column) == {"unique": repeated}


@pytest.mark.parametrize("values", [[], [1], [1, 2, 3], [3, 1, 2], [None, 3, None]])
def test_values_that_never_repeat_are_unique(values: list[object]):
    assert broken(values, ColumnSpec(type="int32", nullable=True, unique=True)) == {}


def test_repeated_values_are_found_in_all_chunks_and_encodings():
    chunks = [pa.array(texts).dictionary_encode() for texts in (["a", "b"], ["c"], ["a"])]
    table = pa.table({"x": pa.chunked_array(chunks)})
    sets = value_sets(table, {"x": ColumnSpec(type="string", unique=True)}, {})
    assert sets.repeated["x"].to_pylist() == ["a"]


def test_parts_of_a_table_are_judged_by_what_blocks_and_needs_no_other_row():
    columns = {
        "x": ColumnSpec(type="int32", max=3, known_in="planes.x", unique=True),
        "y": ColumnSpec(type="int32", max=3, on_break="warn"),
    }
    alone = blocking_alone(columns)
    assert alone["x"] == ColumnSpec(type="int32", max=3)
    rows = pa.table({name: pa.array([3, 3, 4], pa.int32()) for name in columns})
    result = check_values(rows, alone, key=["x"], asset="predictions")
    assert [(v.column, v.rule) for v in result.violations] == [("x", "int32 at most 3")]
