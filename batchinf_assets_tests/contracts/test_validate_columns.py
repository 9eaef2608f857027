"""Which tables have the declared columns, and what conforming makes of them."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.contract_spec import ColumnSpec, ColumnType
from batchinf_assets.contracts.validate import check_columns, conform
from batchinf_assets.lake.schema import arrow_schema

US = pa.timestamp("us", tz="UTC")
KEY_COLUMNS = {"at": ColumnSpec(type="timestamp"), "flight": ColumnSpec(type="int32")}
FIVE_O_CLOCK = datetime(2013, 1, 1, 5, tzinfo=UTC)


def one_column(values: pa.Array, declared: ColumnType) -> CheckResult:
    return check_columns(
        pa.table({"x": values}), {"x": ColumnSpec(type=declared)}, asset="snapshot"
    )


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


def broken(result: CheckResult) -> list[tuple[str, int, tuple[str, ...]]]:
    assert result.passed == (not result.violations)
    return [(v.rule, v.count, v.samples) for v in result.violations]


def test_declared_columns_of_the_declared_types_pass():
    result = check_columns(flights([1, 2]), KEY_COLUMNS, asset="snapshot")
    assert result == CheckResult(
        name="schema", asset="snapshot", passed=True, measured={"rows": 2, "columns": 2}
    )


def test_a_missing_column_is_named_with_those_that_were_found():
    table = pa.table({"flight": pa.array([1], pa.int32()), "gate": ["B7"]})
    result = check_columns(table, KEY_COLUMNS, asset="snapshot")
    assert not result.passed
    assert result.violations == (Violation(column="at", rule="present (found: flight, gate)"),)


def test_a_table_without_columns_lacks_every_one():
    result = check_columns(pa.table({}), KEY_COLUMNS, asset="snapshot")
    assert [str(v) for v in result.violations] == [
        "column 'at' must be present (found: no columns)",
        "column 'flight' must be present (found: no columns)",
    ]


def test_found_column_names_are_escaped_cut_and_counted():
    names = ["a\nb", "c" * 10_000, *(f"n{i}" for i in range(30))]
    table = pa.table({name: [1] for name in names})
    (violation,) = check_columns(table, {"x": ColumnSpec(type="int32")}, asset="s").violations
    assert violation.rule.startswith(f"present (found: a\\nb, {'c' * 80}…, n0, n1,")
    assert violation.rule.endswith("n17 and 12 more)")


def test_a_column_that_is_there_twice_is_ambiguous():
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    result = check_columns(table, {"x": ColumnSpec(type="int64")}, asset="snapshot")
    assert broken(result) == [("present once (found 2 times)", 0, ())]


@pytest.mark.parametrize(
    ("found", "declared", "rule"),
    [
        (pa.array(["1"]), "int32", "type int32 (found: string)"),
        (pa.array([1]), "string", "type string (found: int64)"),
        (pa.array([1.0]), "int64", "type int64 (found: float64)"),
        (pa.array([1.0]), "float32", "type float32 (found: float64)"),
        (pa.array([1]), "float64", "type float64 (found: int64)"),
        (pa.array([1]), "bool", "type bool (found: int64)"),
        (pa.array([1], pa.uint8()), "int32", "type int32 (found: uint8)"),
        (pa.array([None]), "string", "type string (found: null)"),
        (pa.array([b"a"]), "string", "type string (found: binary)"),
        (pa.array([1], US), "date", "type date (found: timestamp)"),
        (
            pa.array([1], pa.timestamp("us")),
            "timestamp",
            "type timestamp with time zone (found: timestamp[us])",
        ),
        (
            pa.array([date(2013, 1, 1)]),
            "timestamp",
            "type timestamp with time zone (found: date)",
        ),
        (
            pa.array([1]).dictionary_encode(),
            "string",
            "type string (found: dictionary<values=int64, indices=int32, ordered=0>)",
        ),
    ],
)
def test_a_wrong_type_is_named_beside_the_declared_one(
    found: pa.Array, declared: ColumnType, rule: str
):
    assert one_column(found, declared).violations == (Violation(column="x", rule=rule),)


def test_the_name_of_a_foreign_type_is_escaped_and_cut():
    found = pa.array([{"a\n" + "b" * 500: 1}])
    ((rule, _, _),) = broken(one_column(found, "int32"))
    assert rule == f"type int32 (found: struct<a\\n{'b' * 71}…)"


@pytest.mark.parametrize("found", [pa.int8(), pa.int16(), pa.int32(), pa.int64()])
@pytest.mark.parametrize("declared", ["int32", "int64"])
def test_signed_integers_of_any_width_fit(found: pa.DataType, declared: ColumnType):
    assert converted(pa.array([-128, 127], found), declared) == [-128, 127]


def test_int64_becomes_int32_up_to_the_largest_value():
    values = [2**31 - 1, -(2**31), None]
    assert converted(pa.array(values, pa.int64()), "int32") == values


def test_int64_values_beyond_int32_are_counted():
    result = one_column(pa.array([2**31, 5, None, -(2**31) - 1, 2**40]), "int32")
    rule = "type int32 (found: int64 with values that do not fit)"
    assert broken(result) == [(rule, 3, ())]


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
    rule = "type timestamp (found: timestamp[ns, tz=UTC] with values that do not fit)"
    assert broken(one_column(found, "timestamp")) == [(rule, 2, ())]


def test_timestamps_that_would_overflow_are_counted():
    found = pa.array([0, 2**62], pa.int64()).cast(pa.timestamp("s", tz="UTC"))
    rule = "type timestamp (found: timestamp[s, tz=UTC] with values that do not fit)"
    assert broken(one_column(found, "timestamp")) == [(rule, 1, ())]


def test_bytes_that_are_no_text_are_refused_in_every_string_layout():
    offsets = pa.py_buffer(pa.array([0, 1, 2], pa.int32()).buffers()[1])
    bad = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"a\xff")])
    indices = pa.array([0, 1], pa.int8())
    for found in (bad, bad.cast(pa.large_string()), pa.DictionaryArray.from_arrays(indices, bad)):
        assert broken(one_column(found, "string")) == [("valid UTF-8", 0, ())]


def test_dictionary_indices_that_point_nowhere_are_refused():
    indices = pa.array([0, 5], pa.int8())
    found = pa.DictionaryArray.from_arrays(indices, pa.array(["a"]), safe=False)
    assert not one_column(found, "string").passed


def test_every_bad_column_is_reported_in_the_declared_order():
    table = pa.table({"flight": ["1"], "gate": ["B7"]})
    result = check_columns(table, KEY_COLUMNS, asset="snapshot")
    assert [v.column for v in result.violations] == ["at", "flight"]


def test_conform_selects_and_orders_columns_and_drops_metadata():
    table = flights([1], gate=pa.array(["B7"])).select(["gate", "flight", "at"])
    table = table.replace_schema_metadata({"pandas": "{}"})
    conformed = conform(table, KEY_COLUMNS)
    assert conformed.schema.equals(arrow_schema(KEY_COLUMNS), check_metadata=True)
    assert conformed.to_pylist() == [{"at": FIVE_O_CLOCK, "flight": 1}]


def test_conform_keeps_nulls_that_the_values_check_has_to_report():
    conformed = conform(flights([1, None]), KEY_COLUMNS)
    assert conformed.column("flight").to_pylist() == [1, None]
