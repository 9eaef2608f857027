"""Which layouts of a declared type are read, and what conforming makes of them.

What a change of the columns leads to is in `test_columns`.
"""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.contracts.columns import ANY_LAYOUT, check_columns, conform
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.spec.contract import ColumnSpec, ColumnType

US = pa.timestamp("us", tz="UTC")
KEY_COLUMNS = {"at": ColumnSpec(type="timestamp"), "flight": ColumnSpec(type="int32")}
FIVE_O_CLOCK = datetime(2013, 1, 1, 5, tzinfo=UTC)


def one_column(values: pa.Array, declared: ColumnType) -> CheckResult:
    columns = {"x": ColumnSpec(type=declared)}
    return check_columns(pa.table({"x": values}), columns, asset="snapshot", accept=ANY_LAYOUT)


def converted(values: pa.Array, declared: ColumnType) -> list[object]:
    """Check and conform one column `x`; return its values."""
    columns = {"x": ColumnSpec(type=declared)}
    assert one_column(values, declared).passed
    table = conform(pa.table({"x": values}), columns)
    assert table.schema.equals(arrow_schema(columns))
    return table.column("x").to_pylist()


def flights(numbers: list[int | None], **extra: pa.Array) -> pa.Table:
    at = pa.array([FIVE_O_CLOCK] * len(numbers), US)
    return pa.table({"at": at, "flight": pa.array(numbers, pa.int32()), **extra})


def found_in(result: CheckResult) -> list[tuple[str | None, int]]:
    assert result.passed == (not result.violations)
    return [(violation.found, violation.count) for violation in result.violations]


def test_declared_columns_of_the_declared_types_pass():
    result = check_columns(flights([1, 2]), KEY_COLUMNS, asset="snapshot")
    assert result == CheckResult(
        name="schema", asset="snapshot", passed=True, measured={"rows": 2, "columns": 2}
    )


def test_a_table_without_columns_lacks_every_one():
    result = check_columns(pa.table({}), KEY_COLUMNS, asset="snapshot")
    assert [str(v) for v in result.violations] == [
        "column at: expected timestamp, found no such column",
        "column flight: expected int32, found no such column",
    ]


@pytest.mark.parametrize(
    ("values", "declared", "found"),
    [
        (pa.array(["1"]), "int32", "string"),
        (pa.array([1]), "string", "int64"),
        (pa.array([1.0]), "int64", "float64"),
        (pa.array([1]), "float64", "int64"),
        (pa.array([1]), "bool", "int64"),
        (pa.array([1], pa.uint8()), "int32", "uint8"),
        (pa.array([1], pa.float16()), "float32", "halffloat"),
        (pa.array([None]), "string", "null"),
        (pa.array([b"a"]), "string", "binary"),
        (pa.array([1], US), "date", "timestamp"),
        (pa.array([1], pa.timestamp("ns")), "timestamp", "timestamp[ns] without time zone"),
        (pa.array([1]).dictionary_encode(), "string", "dictionary of int64"),
    ],
)
def test_a_wrong_type_is_named_beside_the_declared_one(
    values: pa.Array, declared: ColumnType, found: str
):
    expected = "timestamp in UTC" if declared == "timestamp" else declared
    assert one_column(values, declared).violations == (
        Violation(column="x", rule=expected, found=found),
    )


@pytest.mark.parametrize("found", [pa.int8(), pa.int16(), pa.int32(), pa.int64()])
@pytest.mark.parametrize("declared", ["int32", "int64"])
def test_signed_integers_of_any_width_fit(found: pa.DataType, declared: ColumnType):
    assert converted(pa.array([-128, 127], found), declared) == [-128, 127]


def test_int64_becomes_int32_up_to_the_largest_value():
    values = [2**31 - 1, -(2**31), None]
    assert converted(pa.array(values, pa.int64()), "int32") == values


def test_int64_values_beyond_int32_are_counted():
    result = one_column(pa.array([2**31, 5, None, -(2**31) - 1, 2**40]), "int32")
    assert found_in(result) == [("int64 with 3 values that would change", 3)]


def test_float32_widens_to_float64_with_nan_and_infinity():
    found = converted(pa.array([0.5, None, float("nan"), float("inf")], pa.float32()), "float64")
    assert found[:2] == [0.5, None]
    assert str(found[2:]) == "[nan, inf]"


@pytest.mark.parametrize(
    "found",
    [
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
    ],
    ids=str,
)
def test_every_layout_of_strings_fits(found: pa.DataType):
    assert converted(pa.array(["a", None, "é"]).cast(found), "string") == ["a", None, "é"]


def test_dictionaries_that_differ_between_chunks_fit():
    chunks = [pa.array(["a", "b"]).dictionary_encode(), pa.array(["c"]).dictionary_encode()]
    columns = {"x": ColumnSpec(type="string")}
    table = pa.table({"x": pa.chunked_array(chunks)})
    assert check_columns(table, columns, asset="snapshot").passed
    assert conform(table, columns).column("x").to_pylist() == ["a", "b", "c"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "+05:30", "Nowhere/Unknown"])
def test_zoned_timestamps_keep_their_instant(unit: str, zone: str):
    ticks = 1_357_016_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    found = pa.array([ticks, None], pa.int64()).cast(pa.timestamp(unit, tz=zone))
    assert converted(found, "timestamp") == [FIVE_O_CLOCK, None]


def test_timestamps_that_would_lose_nanoseconds_are_counted():
    found = pa.array([1, 1000, None, 2001], pa.int64()).cast(pa.timestamp("ns", tz="UTC"))
    result = one_column(found, "timestamp")
    assert found_in(result) == [("timestamp[ns] in UTC with 2 values that would change", 2)]


def test_timestamps_that_would_overflow_are_counted():
    found = pa.array([0, 2**62], pa.int64()).cast(pa.timestamp("s", tz="UTC"))
    result = one_column(found, "timestamp")
    assert found_in(result) == [("timestamp[s] in UTC with 1 value that would change", 1)]


def test_bytes_that_are_no_text_are_refused_in_every_string_layout():
    offsets = pa.py_buffer(pa.array([0, 1, 2], pa.int32()).buffers()[1])
    bad = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"a\xff")])
    indices = pa.array([0, 1], pa.int8())
    for found in (bad, bad.cast(pa.large_string()), pa.DictionaryArray.from_arrays(indices, bad)):
        (violation,) = one_column(found, "string").violations
        assert str(violation) == "column x: expected valid UTF-8, found other bytes"


def test_dictionary_indices_that_point_nowhere_are_refused():
    indices = pa.array([0, 5], pa.int8())
    found = pa.DictionaryArray.from_arrays(indices, pa.array(["a"]), safe=False)
    assert not one_column(found, "string").passed


def test_conform_selects_and_orders_columns_and_drops_metadata():
    table = flights([1], gate=pa.array(["B7"])).select(["gate", "flight", "at"])
    table = table.replace_schema_metadata({"pandas": "{}"})
    conformed = conform(table, KEY_COLUMNS)
    assert conformed.schema.equals(arrow_schema(KEY_COLUMNS), check_metadata=True)
    assert conformed.to_pylist() == [{"at": FIVE_O_CLOCK, "flight": 1}]


def test_conform_keeps_nulls_that_the_values_check_has_to_report():
    conformed = conform(flights([1, None]), KEY_COLUMNS)
    assert conformed.column("flight").to_pylist() == [1, None]
