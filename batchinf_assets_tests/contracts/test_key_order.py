"""Two streams of keys: judged side by side where they agree, named row by row where they do not."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pyarrow as pa
import pytest

from batchinf_assets.checks import CheckResult
from batchinf_assets.contracts.key_order import KeyStream, check_key_streams
from batchinf_assets.contracts.validate import check_same_keys, check_unique_key

KEY = ["carrier", "flight"]
ROWS = pa.table(
    {
        "carrier": ["AA", "AA", "DL", "UA", "UA", "UA"],
        "flight": pa.array([1, 2, 1, 1, 2, 3], pa.int32()),
        "score": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    }
)


def stream(*tables: pa.Table) -> KeyStream:
    return lambda: iter(tables)


def judged(expected: KeyStream, found: KeyStream) -> tuple[CheckResult, CheckResult]:
    return check_key_streams(expected, found, key=KEY, asset="predictions")


def by_whole_tables(expected: pa.Table, found: pa.Table) -> tuple[CheckResult, CheckResult]:
    return (
        check_unique_key(found, key=KEY, asset="predictions"),
        check_same_keys(expected, found, key=KEY, asset="predictions"),
    )


def rules(results: tuple[CheckResult, CheckResult]) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(v.rule, v.count, v.samples) for result in results for v in result.violations]


def test_equal_streams_pass_with_the_counts_of_the_whole_tables():
    results = judged(
        stream(ROWS.slice(0, 4), ROWS.slice(4)), stream(ROWS.slice(0, 1), ROWS.slice(1))
    )
    assert results == by_whole_tables(ROWS, ROWS)
    assert all(result.passed for result in results)


def test_equal_streams_are_read_once():
    starts: list[str] = []

    def reading(side: str) -> Iterator[pa.Table]:
        starts.append(side)
        yield from (ROWS.slice(row, 1) for row in range(6))

    judged(lambda: reading("in"), lambda: reading("out"))
    assert sorted(starts) == ["in", "out"]


def test_no_tables_and_no_rows_are_the_same():
    passed = judged(stream(), stream(ROWS.slice(0, 0)))
    assert passed == by_whole_tables(ROWS.slice(0, 0), ROWS.slice(0, 0))
    assert all(result.passed for result in passed)


def test_a_side_without_any_table_lost_every_row():
    assert [rule[:2] for rule in rules(judged(stream(ROWS), stream()))] == [("all kept", 6)]
    assert [rule[:2] for rule in rules(judged(stream(), stream(ROWS)))] == [
        ("among those given", 6)
    ]


def test_a_row_lost_between_two_tables_is_named():
    results = judged(stream(ROWS), stream(ROWS.slice(0, 2), ROWS.slice(3)))
    assert rules(results) == [("all kept", 1, ("carrier=DL, flight=1",))]


def test_a_row_repeated_at_a_cut_is_named_by_both_checks():
    results = judged(stream(ROWS), stream(ROWS.slice(0, 3), ROWS.slice(2)))
    sample = ("carrier=DL, flight=1",)
    assert rules(results) == [("unique in their key", 2, sample), ("kept only once", 1, sample)]


def test_a_key_that_both_sides_repeat_is_not_unique():
    twice = stream(ROWS.slice(0, 1), ROWS)
    results = judged(twice, twice)
    assert rules(results) == [("unique in their key", 2, ("carrier=AA, flight=1",))]


def test_rows_in_another_order_still_pass():
    back = ROWS.take([5, 4, 3, 2, 1, 0])
    assert judged(stream(ROWS), stream(back)) == by_whole_tables(ROWS, back)
    assert all(result.passed for result in judged(stream(back), stream(back)))


def test_null_keys_are_judged_as_by_the_whole_tables():
    nulls = pa.table({"carrier": ["AA", None, None], "flight": pa.array([1, 1, 1], pa.int32())})
    results = judged(stream(nulls), stream(nulls))
    assert results == by_whole_tables(nulls, nulls)
    assert [result.passed for result in results] == [False, True]


def test_dictionaries_that_differ_from_file_to_file_are_the_strings_they_stand_for():
    encoded = ROWS.set_column(0, "carrier", ROWS["carrier"].dictionary_encode())
    first, rest = encoded.slice(0, 2), ROWS.slice(2)
    rest = rest.set_column(0, "carrier", rest["carrier"].combine_chunks().dictionary_encode())
    assert judged(stream(ROWS), stream(first, rest)) == by_whole_tables(ROWS, ROWS)
    lost = judged(stream(ROWS), stream(first, rest.slice(1)))
    assert rules(lost) == [("all kept", 1, ("carrier=DL, flight=1",))]


def test_columns_beside_the_key_and_their_order_do_not_matter():
    other = ROWS.select(["flight", "carrier"])
    assert all(result.passed for result in judged(stream(ROWS), stream(other)))


@pytest.mark.parametrize("seed", range(60))
def test_random_damage_gets_the_verdict_of_the_whole_tables(seed: int):
    chance = random.Random(seed)
    keys = sorted({(chance.choice("AÉZ"), chance.randint(1, 9)) for _ in range(20)})
    damaged = list(keys)
    for _ in range(chance.randint(0, 2)):
        row = chance.randrange(len(damaged))
        match chance.randint(0, 3):
            case 0:
                damaged.pop(row)
            case 1:
                damaged.insert(row, damaged[row])
            case 2:
                damaged[row] = ("new", row)
            case _:
                damaged.append(damaged.pop(row))
    expected, found = (
        pa.table({"carrier": [c for c, _ in side], "flight": [n for _, n in side]})
        for side in (keys, damaged)
    )
    assert judged(cut(chance, expected), cut(chance, found)) == by_whole_tables(expected, found)


def cut(chance: random.Random, table: pa.Table) -> KeyStream:
    ends = sorted(chance.choices(range(table.num_rows + 1), k=4))
    pairs = zip([0, *ends], [*ends, table.num_rows], strict=True)
    return stream(*[table.slice(start, end - start) for start, end in pairs])
