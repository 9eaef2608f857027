"""The screen agrees with pandera on random tables of every type, and on cases easily missed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.contracts.columns import conform
from batchinf_assets.contracts.screen import holds, suspects, unclear_rows
from batchinf_assets.contracts.validate import check_values, pandera_verdict
from batchinf_assets.contracts.value_rules import value_sets
from batchinf_assets.lake.schema import ARROW_TYPES
from batchinf_assets.spec.contract import ColumnSpec, ColumnType

TYPES: tuple[ColumnType, ...] = get_args(ColumnType)
NAN, INF = float("nan"), float("inf")
BELOW_HALF, ABOVE_HALF = float(np.nextafter(0.5, 0)), float(np.nextafter(0.5, 1))

VALUES: dict[ColumnType, list[object]] = {
    "string": ["a", "b", "", "é", "a "],
    "bool": [True, False],
    "int32": [-(2**31), -1, 0, 1, 2**31 - 1],
    "int64": [-(2**63), -(2**53) - 1, 0, 2**53, 2**53 + 1, 2**63 - 1],
    "float32": [0.1, 0.5, -0.0, 1.0, 3.0e38],
    "float64": [0.1, BELOW_HALF, 0.5, ABOVE_HALF, -0.0, 1.0, 1e300],
    "timestamp": [-(2**63), -1, 0, 2**62],
    "date": [-(2**31), 0, 2**31 - 1],
}
ODD_FLOATS = [NAN, INF, -INF]
BOUNDS: dict[ColumnType, list[float]] = {
    "int32": [-(2.0**31), -0.5, 0.0, 0.5, 2.0**31 - 1, 1e30],
    "int64": [-(2.0**63), -(2.0**53), 0.0, 0.5, 2.0**53, 2.0**63, 1e300],
    "float32": [-1e300, 0.0, 0.1, 0.5, 1.0, 1e300],
    "float64": [-1e300, 0.0, 0.1, BELOW_HALF, 0.5, ABOVE_HALF, 1.0, 1e300],
}


def random_column(chance: random.Random, declared: ColumnType) -> ColumnSpec:
    low, high = sorted(chance.choices(BOUNDS.get(declared, [0.0]), k=2))
    bounded, text = declared in BOUNDS, declared == "string"
    return ColumnSpec(
        type=declared,
        nullable=chance.random() < 0.5,
        min=low if bounded and chance.random() < 0.6 else None,
        max=high if bounded and chance.random() < 0.6 else None,
        allowed=tuple(chance.sample(["a", "b", "", "é", "z"], chance.randint(0, 5)))
        if text and chance.random() < 0.4
        else None,
        pattern=chance.choice(["[a-z]?", ".", "a.*", "a|b", ""])
        if text and chance.random() < 0.3
        else None,
        max_length=1 if text and chance.random() < 0.3 else None,
        known_in="reference.x" if chance.random() < 0.3 else None,
        unique=chance.random() < 0.2,
    )


def random_known(chance: random.Random, declared: ColumnType) -> pa.Array:
    values = VALUES[declared]
    pool = chance.sample(values, chance.randint(0, len(values)))
    plain = {"timestamp": pa.int64(), "date": pa.int32()}.get(declared, ARROW_TYPES[declared])
    return pa.array([*pool, None], plain).cast(ARROW_TYPES[declared])


def random_values(chance: random.Random, declared: ColumnType, rows: int) -> pa.ChunkedArray:
    """Up to `rows` values out of few kinds, so that about half the columns keep their rules."""
    pool = chance.sample(VALUES[declared], chance.randint(1, min(3, len(VALUES[declared]))))
    if declared in ("float32", "float64") and chance.random() < 0.3:
        pool = [*pool, chance.choice(ODD_FLOATS)]
    if chance.random() < 0.5:
        pool = [*pool, None]
    plain = {"timestamp": pa.int64(), "date": pa.int32()}.get(declared, ARROW_TYPES[declared])
    values = pa.array(chance.choices(pool, k=rows), plain).cast(ARROW_TYPES[declared])
    if declared == "string" and chance.random() < 0.4:
        values = values.dictionary_encode()
    cuts = sorted(chance.choices(range(rows + 1), k=chance.randint(0, 2)))
    ends = [0, *cuts, rows]
    chunks = [values.slice(a, b - a) for a, b in pairwise(ends)]
    return pa.chunked_array(chunks, values.type)


def agree(
    table: pa.Table, columns: dict[str, ColumnSpec], known: Mapping[str, pa.Array] | None = None
) -> bool:
    """Require one verdict of both, by column and by row, and return it."""
    sets = value_sets(table, columns, known or {})
    found = pandera_verdict(table, columns, sets)
    doubtful = suspects(table, columns, sets)
    assert set(doubtful) == {each.column for each in found}, (columns, table.to_pydict(), found)
    rows = sorted({row for each in found for row in each.rows.tolist()})
    assert unclear_rows(table, doubtful, sets).tolist() == rows, (columns, table.to_pydict(), found)
    return not found


@pytest.mark.parametrize("declared", TYPES)
def test_the_screen_says_what_pandera_says_of_random_columns(declared: ColumnType):
    chance = random.Random(f"screen {declared}")
    verdicts: Counter[bool] = Counter()
    for _ in range(80):
        column = random_column(chance, declared)
        values = random_values(chance, declared, chance.randint(0, 6))
        known = {"x": random_known(chance, declared)}
        verdicts[agree(pa.table({"x": values}), {"x": column}, known)] += 1
    assert min(verdicts[True], verdicts[False]) >= 10, verdicts


def test_the_screen_says_what_pandera_says_of_whole_tables():
    chance = random.Random("tables")
    verdicts: Counter[bool] = Counter()
    for _ in range(80):
        rows = chance.randint(0, 3)
        names = dict(zip("abc", chance.choices(TYPES, k=3), strict=True))
        table = pa.table({n: random_values(chance, kind, rows) for n, kind in names.items()})
        columns = {n: random_column(chance, kind) for n, kind in names.items()}
        known = {n: random_known(chance, kind) for n, kind in names.items()}
        verdicts[agree(table, columns, known)] += 1
    assert min(verdicts[True], verdicts[False]) >= 10, verdicts


@pytest.mark.parametrize("nullable", [True, False])
@pytest.mark.parametrize("declared", TYPES)
def test_no_rows_hold_in_every_type(declared: ColumnType, nullable: bool):
    column = ColumnSpec(type=declared, nullable=nullable)
    no_chunks = pa.table({"x": pa.chunked_array([], ARROW_TYPES[declared])})
    assert agree(no_chunks, {"x": column})


@pytest.mark.parametrize("declared", ["float32", "float64"])
def test_nothing_but_nan_holds_only_where_it_may_be_missing(declared: ColumnType):
    table = pa.table({"x": pa.array([NAN, NAN], ARROW_TYPES[declared])})
    bounds = {"min": 0, "max": 1}
    assert agree(table, {"x": ColumnSpec(type=declared, nullable=True, **bounds)})
    assert not agree(table, {"x": ColumnSpec(type=declared, **bounds)})


def test_one_nan_among_numbers_is_seen():
    for values in ([NAN, 0.5], [0.5, NAN], [0.5, NAN, 0.7]):
        assert not agree(pa.table({"x": values}), {"x": ColumnSpec(type="float64")})


def test_an_infinity_beside_nan_is_seen():
    for odd in (INF, -INF):
        table = pa.table({"x": [NAN, odd, 0.5]})
        assert not agree(table, {"x": ColumnSpec(type="float64", nullable=True)})


def test_what_lies_under_a_null_is_no_value():
    hidden = pa.Array.from_buffers(
        pa.float64(), 2, [pa.py_buffer(b"\x02"), pa.py_buffer(np.array([INF, 0.5]).tobytes())]
    )
    assert hidden.to_pylist() == [None, 0.5]
    assert agree(pa.table({"x": hidden}), {"x": ColumnSpec(type="float64", nullable=True, max=1)})


def test_dictionary_entries_that_no_row_uses_are_not_judged():
    column = ColumnSpec(type="string", allowed=("a",))
    unused = pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array(["a", "not allowed"]))
    assert agree(pa.table({"x": unused}), {"x": column})
    used = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", "not allowed"]))
    assert not agree(pa.table({"x": used}), {"x": column})


def test_a_dictionary_may_differ_from_chunk_to_chunk():
    chunks = [pa.array(texts).dictionary_encode() for texts in (["a", "b"], ["b"], ["c", "a"])]
    table = pa.table({"x": pa.chunked_array(chunks)})
    assert agree(table, {"x": ColumnSpec(type="string", allowed=("a", "b", "c"))})
    assert not agree(table, {"x": ColumnSpec(type="string", allowed=("a", "b"))})


def test_a_null_among_the_dictionary_entries_is_a_null():
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None]))
    assert not holds(pa.table({"x": column}), {"x": ColumnSpec(type="string")})
    assert holds(pa.table({"x": column}), {"x": ColumnSpec(type="string", nullable=True)})


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"y": [0.5]}),
        pa.Table.from_arrays([pa.array([0.5]), pa.array([0.5])], names=["x", "x"]),
        pa.table({"x": ["text"]}),
        pa.table({"x": pa.array([0.5], pa.float32())}),
        pa.table({"x": pa.nulls(0)}),
    ],
    ids=["missing", "twice", "text", "narrow", "null type"],
)
def test_a_column_that_is_not_as_declared_never_holds(table: pa.Table):
    assert not holds(table, {"x": ColumnSpec(type="float64", nullable=True)})


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int8(), pa.int64())])
def test_a_string_column_of_another_layout_is_left_to_pandera(kind: pa.DataType):
    assert not holds(pa.table({"x": pa.array([], kind)}), {"x": ColumnSpec(type="string")})


def broken_at(rows: Sequence[int]) -> pa.Table:
    values = np.zeros(200_000)
    values[list(rows)] = 2.0
    return pa.table({"id": np.arange(200_000), "x": values})


@pytest.mark.parametrize("rows", [[], [0], [199_999], [131_072, 7]])
def test_one_row_in_many_is_found_and_named(rows: list[int]):
    columns = {"id": ColumnSpec(type="int64"), "x": ColumnSpec(type="float64", max=1)}
    table = conform(broken_at(rows), columns)
    result = check_values(table, columns, key=["id"], asset="features")
    assert holds(table, columns) == result.passed == (not rows)
    named = [sample for violation in result.violations for sample in violation.samples]
    assert named == [f"id={row}" for row in sorted(rows)]
