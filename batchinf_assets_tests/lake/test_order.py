"""Key order: the same as Arrow's sort, wherever a table is cut, and as plain values too."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import TypeAdapter

from batchinf_assets.lake.digest import sort_by
from batchinf_assets.lake.order import (
    KeyOrder,
    KeySpan,
    first_key,
    is_strictly_ascending,
    last_key,
    same_keys_in_order,
    spans_ascend,
)

US = pa.timestamp("us", tz="UTC")

# Ascending; é and the emoji are longer in UTF-8 and UTF-16, where the order differs.
ASCENDING: dict[str, pa.Array] = {
    "strings": pa.array(["", "\0", "A", "AA", "a", "é", "\uff5e", "😀"]),
    "wide strings": pa.array(["", "A", "é", "😀"], pa.large_string()),
    "string views": pa.array(["", "A", "a string of some length", "é"], pa.string_view()),
    "int32": pa.array([-(2**31), -1, 0, 2**31 - 1], pa.int32()),
    "int64": pa.array([-(2**63), -1, 2**53, 2**53 + 1, 2**63 - 1]),
    "timestamps": pa.array([-(2**62), -1, 0, 1, 2**62]).cast(US),
    "dates": pa.array([-(2**31), 0, 2**31 - 1], pa.int32()).cast(pa.date32()),
    "booleans": pa.array([False, True]),
    "float32": pa.array([float("-inf"), -1.5, 0.0, 0.1, float("inf")], pa.float32()),
    "float64": pa.array([float("-inf"), -1.5, -0.0, 5e-324, 0.1, float("inf")]),
}


@pytest.mark.parametrize("name", ASCENDING)
def test_each_type_ascends_only_one_way(name: str):
    values = ASCENDING[name]
    back = pa.concat_arrays([values[row : row + 1] for row in reversed(range(len(values)))])
    assert is_strictly_ascending(pa.table({"k": values}))
    assert not is_strictly_ascending(pa.table({"k": back}))
    assert not is_strictly_ascending(pa.table({"k": pa.concat_arrays([values, values[-1:]])}))
    assert is_strictly_ascending(pa.table({"k": values[:1]}))


@pytest.mark.parametrize("name", [name for name in ASCENDING if "string" in name])
def test_dictionaries_ascend_like_the_strings_they_stand_for(name: str):
    plain = ASCENDING[name].cast(pa.large_string())
    places = pa.array(range(len(plain) - 1, -1, -1))
    encoded = pa.DictionaryArray.from_arrays(places, plain.take(places))
    assert is_strictly_ascending(pa.table({"k": encoded}))
    assert not is_strictly_ascending(pa.table({"k": encoded.take(places)}))


@pytest.mark.parametrize("odd", [None, float("nan")])
def test_keys_with_null_or_nan_are_in_no_order(odd: float | None):
    for values in ([odd], [0.5, odd], [odd, 0.5]):
        assert not is_strictly_ascending(pa.table({"k": pa.array(values, pa.float64())}))
        beside = pa.table({"i": range(len(values)), "k": pa.array(values, pa.float64())})
        assert not is_strictly_ascending(beside)


def test_negative_zero_is_no_smaller_key_than_zero():
    assert not is_strictly_ascending(pa.table({"k": [-0.0, 0.0]}))


def test_no_rows_ascend():
    assert is_strictly_ascending(pa.table({"k": pa.array([], pa.string())}))
    assert is_strictly_ascending(pa.table({"k": pa.chunked_array([], pa.int64())}))


def random_keys(chance: random.Random) -> pa.Table:
    """Up to three key columns of few values, mostly sorted, sometimes with a repeated row."""
    makers: list[Callable[[int], pa.Array]] = [
        lambda n: pa.array(chance.choices(["", "a", "A", "é", "😀"], k=n)),
        lambda n: pa.array(chance.choices(["x", "y"], k=n)).dictionary_encode(),
        lambda n: pa.array(chance.choices([-1, 0, 1, 2**40], k=n)),
        lambda n: pa.array(chance.choices([0, 1, 10**15], k=n)).cast(US),
        lambda n: pa.array(chance.choices([True, False], k=n)),
        lambda n: pa.array(chance.choices([-1.0, 0.5, float("inf")], k=n)),
        lambda n: pa.array(chance.choices([0, 366], k=n), pa.int32()).cast(pa.date32()),
    ]
    rows = chance.randint(0, 8)
    columns = {f"k{i}": chance.choice(makers)(rows) for i in range(chance.randint(1, 3))}
    plain = pa.table(columns).cast(
        pa.schema(
            [(n, c.type.value_type if is_dictionary(c) else c.type) for n, c in columns.items()]
        )
    )
    if chance.random() < 0.7:
        plain = plain.sort_by([(name, "ascending") for name in plain.column_names])
    if chance.random() < 0.6:
        plain = plain.group_by(plain.column_names, use_threads=False).aggregate([])
    return cut_anywhere(chance, plain)


def is_dictionary(column: pa.Array) -> bool:
    return pa.types.is_dictionary(column.type)


def cut_anywhere(chance: random.Random, table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 0), *random_cuts(chance, table)])


def random_cuts(chance: random.Random, table: pa.Table) -> list[pa.Table]:
    ends = sorted(chance.choices(range(table.num_rows + 1), k=chance.randint(0, 3)))
    pairs = zip([0, *ends], [*ends, table.num_rows], strict=True)
    return [table.slice(start, end - start) for start, end in pairs]


def by_arrows_sort(keys: pa.Table) -> bool:
    order = [(name, "ascending") for name in keys.column_names]
    distinct = keys.group_by(keys.column_names).aggregate([]).num_rows == keys.num_rows
    in_order = pc.sort_indices(keys, sort_keys=order).to_pylist() == list(range(keys.num_rows))
    return distinct and in_order


def test_the_order_is_that_of_arrows_sort_for_random_composite_keys():
    chance = random.Random(4)
    verdicts: Counter[bool] = Counter()
    for _ in range(400):
        keys = random_keys(chance)
        expected = by_arrows_sort(keys)
        assert is_strictly_ascending(keys) == expected, keys.to_pylist()
        encoded = pa.table(
            {
                n: c.dictionary_encode() if pa.types.is_string(c.type) else c
                for n, c in zip(keys.column_names, keys.columns, strict=True)
            }
        )
        assert is_strictly_ascending(encoded) == expected
        verdicts[expected] += 1
    assert min(verdicts.values()) >= 100, verdicts


def test_plain_keys_compare_as_arrow_sorts():
    chance = random.Random(5)
    for _ in range(200):
        keys = random_keys(chance)
        rows = [keys.slice(row, 1) for row in range(keys.num_rows)]
        finite = [r for r in rows if float("inf") not in r.to_pylist()[0].values()]
        ordered = sort_by(pa.concat_tables([keys.slice(0, 0), *finite]), keys.column_names)
        plain = [first_key(ordered.slice(row, 1)) for row in range(ordered.num_rows)]
        assert plain == sorted(plain)


@pytest.mark.parametrize("broken", [131_071, 131_072, 199_999])
def test_a_step_back_is_found_wherever_blocks_end(broken: int):
    numbers = list(range(200_000))
    keys = pa.table({"a": pa.array(numbers), "b": pa.array([0] * 200_000)})
    assert is_strictly_ascending(keys)
    numbers[broken] = numbers[broken - 1]
    assert not is_strictly_ascending(keys.set_column(0, "a", pa.array(numbers)))
    assert not is_strictly_ascending(keys.select(["b"]))


def test_a_stream_ascends_only_if_its_tables_do_across_their_ends():
    order = KeyOrder()
    for numbers in ([1, 2], [], [3], [5, 9]):
        order.add(pa.table({"k": pa.array(numbers, pa.int64())}))
    assert (order.holds, order.rows) == (True, 5)
    order.add(pa.table({"k": [9, 10]}))
    order.add(pa.table({"k": [11]}))
    assert (order.holds, order.rows) == (False, 8)


def test_keys_are_written_as_plain_values():
    keys = pa.table(
        {
            "at": pa.array([datetime(1970, 1, 1, 0, 0, 1, 250, tzinfo=UTC)], US),
            "day": pa.array([date(1970, 1, 3)]),
            "carrier": pa.array(["é"]).dictionary_encode(),
            "flight": pa.array([7], pa.int32()),
            "late": [True],
            "share": pa.array([0.1], pa.float32()),
        }
    )
    (share,) = pa.array([0.1], pa.float32()).to_pylist()
    assert first_key(keys) == last_key(keys) == (1_000_250, 2, "é", 7, True, share)


def test_a_span_has_the_first_and_the_last_key():
    keys = pa.table({"c": ["AA", "AA", "UA"], "n": [1, 2, 1]})
    assert KeySpan.of(keys) == KeySpan(first=("AA", 1), last=("UA", 1), rows=3)
    assert KeySpan.of(keys.slice(0, 0)) == KeySpan(first=(), last=(), rows=0)


@pytest.mark.parametrize("name", [name for name in ASCENDING if "float" not in name])
def test_spans_come_back_exactly_from_json(name: str):
    span = KeySpan.of(pa.table({"k": ASCENDING[name], "f": [0.1] * len(ASCENDING[name])}))
    stored = TypeAdapter(KeySpan)
    back = stored.validate_json(stored.dump_json(span))
    assert back == span
    assert [type(value) for value in back.first] == [type(value) for value in span.first]
    assert json.loads(json.dumps(span.last)) == list(span.last)


@pytest.mark.parametrize("odd", [None, float("nan"), float("inf")])
def test_a_key_that_json_cannot_say_is_refused(odd: float | None):
    with pytest.raises(ValueError, match="no value of a key"):
        first_key(pa.table({"k": pa.array([odd, 0.5], pa.float64())}))


def test_no_rows_have_no_key():
    empty = pa.table({"k": pa.array([], pa.int64())})
    for of in (first_key, last_key):
        with pytest.raises(IndexError, match="no rows"):
            of(empty)


def span(first: int, last: int) -> KeySpan:
    return KeySpan(first=(first,), last=(last,), rows=last - first + 1)


NO_ROWS = KeySpan(first=(), last=(), rows=0)


def test_a_span_follows_only_what_ends_before_it():
    assert span(3, 4).follows(span(1, 2))
    assert not span(2, 4).follows(span(1, 2))
    assert not span(1, 2).follows(span(3, 4))
    assert span(1, 2).follows(NO_ROWS)
    assert NO_ROWS.follows(span(1, 2))


def test_spans_ascend_across_empty_ones():
    assert spans_ascend([])
    assert spans_ascend([span(1, 2), NO_ROWS, span(3, 3), span(7, 9)])
    assert not spans_ascend([span(1, 2), NO_ROWS, span(2, 3)])


def streams(*tables: pa.Table) -> Iterator[pa.Table]:
    return iter(tables)


def test_equal_rows_are_equal_however_they_are_cut():
    chance = random.Random(6)
    for _ in range(200):
        keys = random_keys(chance)
        again = streams(*random_cuts(chance, keys))
        assert same_keys_in_order(streams(*random_cuts(chance, keys)), again)


def test_any_changed_lost_or_added_row_makes_a_difference():
    chance = random.Random(7)
    for _ in range(200):
        keys = random_keys(chance).combine_chunks()
        rows = list(range(keys.num_rows))
        rows.insert(chance.randint(0, len(rows)), 0)
        longer = keys.take(pa.array(rows)) if keys.num_rows else pa.table({"k0": [1]})
        swapped = keys.take(pa.array(rows[:0:-1], pa.int64()))
        for other in [longer, *([swapped] if swapped.to_pylist() != keys.to_pylist() else [])]:
            cut = streams(*random_cuts(chance, other))
            assert not same_keys_in_order(streams(*random_cuts(chance, keys)), cut)


def test_a_stream_that_ends_early_is_not_equal():
    keys = pa.table({"k": [1, 2, 3]})
    assert not same_keys_in_order(streams(keys), streams(keys.slice(0, 2)))
    assert not same_keys_in_order(streams(keys.slice(0, 2)), streams(keys))
    assert not same_keys_in_order(streams(), streams(keys))
    assert same_keys_in_order(streams(), streams(keys.slice(0, 0)))


def test_layouts_of_strings_do_not_matter_and_other_types_do():
    texts = pa.table({"k": ["a", "b", "a", None]})
    for layout in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        assert same_keys_in_order(streams(texts), streams(texts.cast(pa.schema([("k", layout)]))))
    numbers = pa.table({"k": [1, 2]})
    narrow = numbers.cast(pa.schema([("k", pa.int32())]))
    assert not same_keys_in_order(streams(numbers), streams(narrow))
    assert not same_keys_in_order(streams(numbers), streams(numbers.rename_columns(["other"])))


def test_floats_are_equal_bit_by_bit():
    nan = pa.table({"k": [float("nan"), None, 0.0]})
    assert same_keys_in_order(streams(nan), streams(nan))
    zeros = pa.table({"k": [0.0]}), pa.table({"k": [-0.0]})
    assert not same_keys_in_order(streams(zeros[0]), streams(zeros[1]))


def test_no_more_than_a_table_of_each_stream_is_read_ahead():
    read: list[str] = []

    def reading(side: str, numbers: list[list[int]]) -> Iterator[pa.Table]:
        for part in numbers:
            read.append(side)
            yield pa.table({"k": part})

    unequal = same_keys_in_order(
        reading("in", [[1, 2], [3], [4]]), reading("out", [[1], [9], [3], [4]])
    )
    assert not unequal
    assert read == ["in", "out", "out"]
