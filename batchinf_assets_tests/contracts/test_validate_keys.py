"""Keys: unique within a table, and the same before and after a step."""

from datetime import UTC, datetime

import pyarrow as pa

from batchinf_assets.checks import CheckResult
from batchinf_assets.contracts.columns import conform
from batchinf_assets.contracts.validate import check_same_keys, check_unique_key
from batchinf_assets.spec.contract import ColumnSpec

US = pa.timestamp("us", tz="UTC")
KEY = ["at", "flight"]
KEY_COLUMNS = {"at": ColumnSpec(type="timestamp"), "flight": ColumnSpec(type="int32")}
FIVE_O_CLOCK = datetime(2013, 1, 1, 5, tzinfo=UTC)


def flights(numbers: list[int | None], **extra: pa.Array) -> pa.Table:
    at = pa.array([FIVE_O_CLOCK] * len(numbers), US)
    return pa.table({"at": at, "flight": pa.array(numbers, pa.int32()), **extra})


def broken(result: CheckResult) -> list[tuple[str, int, tuple[str, ...]]]:
    assert result.passed == (not result.violations)
    return [(v.rule, v.count, v.samples) for v in result.violations]


def test_unique_composite_keys_pass_though_each_part_repeats():
    table = pa.table({"carrier": ["AA", "AA", "UA"], "flight": [1, 2, 1]})
    assert check_unique_key(table, key=["carrier", "flight"], asset="snapshot") == CheckResult(
        name="unique_key", asset="snapshot", passed=True, measured={"rows": 3, "keys": 3}
    )


def test_every_row_of_a_repeated_key_is_counted_and_each_key_shown_once():
    table = pa.table(
        {"carrier": ["UA", "AA", "UA", "AA", "AA", "DL"], "flight": [9, 1, 9, 1, 1, 1]}
    )
    result = check_unique_key(table, key=["carrier", "flight"], asset="snapshot")
    samples = ("carrier=UA, flight=9", "carrier=AA, flight=1")
    assert broken(result) == [("unique in their key", 5, samples)]
    assert result.measured == {"rows": 6, "keys": 3}


def test_two_null_keys_are_the_same_key():
    result = check_unique_key(flights([None, 7, None]), key=KEY, asset="snapshot")
    sample = "at=2013-01-01T05:00:00+00:00, flight=null"
    assert broken(result) == [("unique in their key", 2, (sample,))]


def test_ten_repeated_keys_are_shown_in_the_order_of_the_rows():
    numbers = list(range(70_000, 0, -1))
    result = check_unique_key(flights(numbers + numbers), key=["flight"], asset="snapshot")
    samples = tuple(f"flight={number}" for number in numbers[:10])
    assert broken(result) == [("unique in their key", 140_000, samples)]


def test_no_rows_have_unique_keys():
    result = check_unique_key(flights([]), key=KEY, asset="snapshot")
    assert result.passed
    assert result.measured == {"rows": 0, "keys": 0}


def same_keys(expected: list[int | None], found: list[int | None]) -> CheckResult:
    return check_same_keys(flights(expected), flights(found), key=["flight"], asset="predictions")


def test_the_same_keys_in_another_order_pass():
    assert same_keys([1, 2, None], [None, 2, 1]) == CheckResult(
        name="row_conservation",
        asset="predictions",
        passed=True,
        measured={"rows_in": 3, "rows_out": 3},
    )


def test_lost_keys_are_counted_and_shown():
    result = same_keys([1, 2, 3, None], [2])
    assert broken(result) == [("all kept", 3, ("flight=1", "flight=3", "flight=null"))]
    assert result.measured == {"rows_in": 4, "rows_out": 1}


def test_invented_keys_are_counted_with_their_repetitions():
    result = same_keys([1], [1, 8, 9, 9])
    assert broken(result) == [("among those given", 3, ("flight=8", "flight=9"))]
    assert result.measured == {"rows_in": 1, "rows_out": 4}


def test_duplicated_keys_count_the_rows_too_many():
    assert broken(same_keys([1, 2], [1, 2, 2, 2])) == [("kept only once", 2, ("flight=2",))]


def test_an_equal_row_count_hides_neither_loss_nor_invention():
    result = same_keys([1, 2, 3, 4], [1, 1, 2, 9])
    assert broken(result) == [
        ("all kept", 2, ("flight=3", "flight=4")),
        ("among those given", 1, ("flight=9",)),
        ("kept only once", 1, ("flight=1",)),
    ]
    lost, invented, surplus = (v.count for v in result.violations)
    assert result.measured == {"rows_in": 4, "rows_out": 4}
    assert 4 - lost + invented + surplus == 4


def test_a_key_given_twice_must_come_back_twice():
    assert same_keys([1, 1], [1, 1]).passed
    assert broken(same_keys([1, 1], [1])) == [("all kept", 1, ("flight=1",))]


def test_losing_every_row_is_seen():
    result = same_keys([1, 2], [])
    assert broken(result) == [("all kept", 2, ("flight=1", "flight=2"))]
    assert same_keys([], []).passed


def test_all_parts_of_a_key_are_compared():
    expected = pa.table({"carrier": ["AA", "UA"], "flight": [1, 2]})
    found = pa.table({"carrier": ["AA", "UA"], "flight": [2, 1]})
    result = check_same_keys(expected, found, key=["carrier", "flight"], asset="features")
    assert [v.count for v in result.violations] == [2, 2]


def test_key_columns_may_be_called_like_the_counters():
    names = ["in", "out", "count_all", "surplus"]
    table = pa.table({name: [1, 1] for name in names})
    (repeated,) = check_unique_key(table, key=names, asset="s").violations
    assert repeated.samples == ("in=1, out=1, count_all=1, surplus=1",)
    assert check_same_keys(table, table, key=names, asset="s").passed
    assert not check_same_keys(table, table.slice(1), key=names, asset="s").passed


def test_nullability_of_the_key_columns_need_not_agree():
    strict = conform(flights([1, 2]), KEY_COLUMNS)
    assert check_same_keys(strict, flights([2, 1]), key=KEY, asset="predictions").passed
