"""Rows put side by side by key, against dictionaries that need no order and no codes."""

from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchinf_assets.lake.digest import content_digest, sort_by
from batchinf_assets.lake.matching import match_rows, rows_within, same_rows, side_by_side
from batchinf_assets.lake.order import KeySpan

NOON = datetime(2013, 7, 4, 12, tzinfo=UTC)
KEY = ("at", "carrier", "number")
KEYS = st.tuples(st.integers(0, 5), st.sampled_from(["", "UA", "Ü", "B6", "ab"]), st.integers(0, 3))
KEY_SETS = st.sets(KEYS, max_size=30)
SPECIAL = [0.0, -0.0, math.nan, struct.unpack("d", b"\1\0\0\0\0\0\xf8\x7f")[0], math.inf, 5e-324]
VALUES = st.none() | st.sampled_from(SPECIAL) | st.floats()


def keyed(keys: set[tuple[int, str, int]]) -> pa.Table:
    at, carrier, number = zip(*keys, strict=True) if keys else ((), (), ())
    table = pa.table(
        {
            "at": pa.array([NOON + timedelta(minutes=m) for m in at], pa.timestamp("us", "UTC")),
            "carrier": pa.array(carrier, pa.string()),
            "number": pa.array(number, pa.int32()),
        }
    )
    return sort_by(table, KEY)


def key_list(table: pa.Table) -> list[tuple[object, ...]]:
    return list(zip(*(table.column(name).to_pylist() for name in KEY), strict=True))


@settings(deadline=None)
@given(before=KEY_SETS, after=KEY_SETS)
def test_every_key_that_both_have_is_found_once(
    before: set[tuple[int, str, int]], after: set[tuple[int, str, int]]
) -> None:
    left, right = keyed(before), keyed(after)
    old, new = match_rows(left, right, KEY)
    places = {key: place for place, key in enumerate(key_list(left))}
    expected = [(places[key], place) for place, key in enumerate(key_list(right)) if key in places]
    assert list(zip(old.tolist(), new.tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([-(2**63), 2**63 - 1], [2**63 - 1], [(1, 0)]),
        ([True], [False, True], [(0, 1)]),
        ([0.5, 1.5], [1.5], [(1, 0)]),
        ([date(1, 1, 1), date(9999, 12, 31)], [date(9999, 12, 31)], [(1, 0)]),
    ],
)
def test_keys_of_every_type_match(
    before: list[object], after: list[object], expected: list[tuple[int, int]]
) -> None:
    old, new = match_rows(pa.table({"key": before}), pa.table({"key": after}), ["key"])
    assert list(zip(old.tolist(), new.tolist(), strict=True)) == expected


def test_keys_whose_numbers_together_do_not_fit_match() -> None:
    """Three columns that each use more than half of an integer's bits."""
    wide = [0, 2**40]
    rows = [(a, b, c) for a in wide for b in wide for c in wide]
    names = ("a", "b", "c")
    before = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    old, new = match_rows(before, before.slice(3), names)
    assert old.tolist() == [3, 4, 5, 6, 7]
    assert new.tolist() == [0, 1, 2, 3, 4]


@settings(deadline=None)
@given(old=VALUES, new=VALUES)
def test_values_are_equal_exactly_where_their_digests_are(
    old: float | None, new: float | None
) -> None:
    tables = [
        pa.table({"key": [1], "value": pa.array([value], pa.float64())}) for value in (old, new)
    ]
    digests = {content_digest(table, ["key"]) for table in tables}
    assert same_rows(*tables, ["key", "value"]).tolist() == [len(digests) == 1]


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (["a", None, "b", None], ["a", None, None, "b"], pa.string()),
        ([1, None, 2, None], [1, None, None, 0], pa.int32()),
        ([0.0, None, 0.0, None], [0.0, None, None, 0.0], pa.float32()),
        ([False, None, False, None], [False, None, None, False], pa.bool_()),
    ],
)
def test_null_equals_null_and_no_value(
    old: list[object], new: list[object], kind: pa.DataType
) -> None:
    before, after = (pa.table({"value": pa.array(each, kind)}) for each in (old, new))
    assert same_rows(before, after, ["value"]).tolist() == [True, True, False, False]


def test_dictionaries_and_chunks_make_no_difference() -> None:
    plain = pa.table({"value": pa.array(["a", "b", "a"])})
    encoded = pa.table({"value": pa.chunked_array([["a"], ["b", "a"]]).dictionary_encode()})
    assert same_rows(plain, encoded, ["value"]).all()


@settings(deadline=None)
@given(
    before=KEY_SETS,
    after=KEY_SETS,
    cuts=st.lists(st.integers(1, 7), min_size=1, max_size=5),
)
def test_streams_are_cut_at_the_same_keys_and_lose_nothing(
    before: set[tuple[int, str, int]], after: set[tuple[int, str, int]], cuts: list[int]
) -> None:
    left, right = keyed(before), keyed(after)
    blocks = list(side_by_side(iter(pieces(left, cuts)), iter(pieces(right, cuts[::-1])), KEY))
    for side, whole in (("before", left), ("after", right)):
        parts = [getattr(block, side) for block in blocks]
        assert [key for part in parts for key in key_list(part)] == key_list(whole)
    shared = sum(len(match_rows(block.before, block.after, KEY)[0]) for block in blocks)
    assert shared == len(before & after)


def pieces(table: pa.Table, cuts: list[int]) -> list[pa.Table]:
    found, start = [], 0
    while start < table.num_rows:
        size = cuts[len(found) % len(cuts)]
        found.append(table.slice(start, size))
        start += size
    return found


@settings(deadline=None)
@given(rows=KEY_SETS, chosen=KEY_SETS.filter(bool))
def test_a_span_holds_the_rows_between_its_keys(
    rows: set[tuple[int, str, int]], chosen: set[tuple[int, str, int]]
) -> None:
    table = keyed(rows)
    start, end = rows_within(table, KeySpan.of(keyed(chosen)), KEY)
    inside = [key for key in key_list(table) if limits(chosen)[0] <= key <= limits(chosen)[1]]
    assert key_list(table.slice(start, end - start)) == inside
    assert np.all(np.arange(start, end) < table.num_rows)


def limits(chosen: set[tuple[int, str, int]]) -> tuple[tuple[object, ...], tuple[object, ...]]:
    ordered = key_list(keyed(chosen))
    return ordered[0], ordered[-1]
