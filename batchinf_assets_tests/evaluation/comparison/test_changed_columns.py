"""Columns that changed between rows of one key, by hand-computed counts."""

from __future__ import annotations

import math

import pyarrow as pa

from batchinf_assets.evaluation.comparison.changed_columns import ColumnTally

A = pa.table(
    {
        "k": [1, 2, 3, 4],
        "x": [1.0, None, math.nan, 4.0],
        "y": ["a", "b", None, "d"],
        "z": [1, 2, 3, 4],
    }
)
B = pa.table(
    {
        "k": [1, 2, 3, 4],
        "x": [1.0, 2.0, math.nan, None],
        "y": pa.array(["a", "c", "c", "d"]).dictionary_encode(),
        "z": [1, 2, 3, 4],
    }
)
GROUPS = {"view": ("x", "y"), "other": ("z",)}


def counted(a: pa.Table, b: pa.Table, cut: int) -> ColumnTally:
    tally = ColumnTally.of(a.schema, b.schema, GROUPS, besides={"k"})
    tally.add(a.slice(0, cut), b.slice(0, cut))
    tally.add(a.slice(cut), b.slice(cut))
    return tally


def test_each_column_and_each_group_is_counted_wherever_the_stream_is_cut() -> None:
    for cut in range(5):
        found = counted(A, B, cut).found()
        counts = {c.column: (c.rows, c.share, c.missing_a, c.missing_b) for c in found.columns}
        assert counts == {"x": (2, 0.5, 1, 1), "y": (2, 0.5, 1, 0)}
        assert (found.rows, found.changed) == (4, 3)
        assert found.by_group == {"view": 3, "other": 0}


def test_the_column_with_most_changed_rows_comes_first() -> None:
    other = B.set_column(3, "z", pa.array([9, 9, 9, 4]))
    assert [change.column for change in counted(A, other, 2).found().columns] == ["z", "x", "y"]


def test_columns_that_only_one_side_has_are_named_and_not_counted() -> None:
    a = A.append_column("gone", pa.array([1, 2, 3, 4]))
    b = B.set_column(3, "z", pa.array(["1", "2", "3", "4"]))
    found = counted(a, b, 2).found()
    assert (found.only_a, found.only_b) == (("z", "gone"), ("z",))
    assert {change.column for change in found.columns} == {"x", "y"}
    assert found.by_group == {"view": 3, "other": 0}


def test_the_flags_say_which_rows_changed() -> None:
    flags = ColumnTally.of(A.schema, B.schema, {}, besides={"k"}).add(A, B)
    assert {name: rows.tolist() for name, rows in flags.items()} == {
        "x": [False, True, False, True],
        "y": [False, True, True, False],
        "z": [False] * 4,
    }
