"""Declared rules over the values of conformed tables, and how broken rows are named."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from pandera.config import ValidationDepth, config_context
from pandera.errors import SchemaError

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.contracts.columns import conform
from batchinf_assets.contracts.row_texts import sample_keys
from batchinf_assets.contracts.validate import check_unique_key, check_values
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.spec.contract import ColumnSpec, ColumnType

US = pa.timestamp("us", tz="UTC")
KEY = ["at", "flight"]
KEY_COLUMNS = {"at": ColumnSpec(type="timestamp"), "flight": ColumnSpec(type="int32")}
FIVE_O_CLOCK = datetime(2013, 1, 1, 5, tzinfo=UTC)


def flights(numbers: list[int | None], **extra: pa.Array) -> pa.Table:
    at = pa.array([FIVE_O_CLOCK] * len(numbers), US)
    return pa.table({"at": at, "flight": pa.array(numbers, pa.int32()), **extra})


def values_of(values: pa.Array, column: ColumnSpec) -> CheckResult:
    """Check column `x` of flights numbered from 1."""
    columns = {**KEY_COLUMNS, "x": column}
    table = conform(flights(list(range(1, len(values) + 1)), x=values), columns)
    return check_values(table, columns, key=["flight"], asset="features")


def broken(result: CheckResult) -> list[tuple[str, int, tuple[str, ...]]]:
    assert result.passed == (not result.violations)
    return [(v.rule, v.count, v.samples) for v in result.violations]


def test_rows_inside_every_rule_pass():
    result = values_of(pa.array([0.0, 1.0, None]), ColumnSpec(type="float64", nullable=True))
    assert result == CheckResult(
        name="contract", asset="features", passed=True, measured={"rows": 3}
    )


def test_no_rows_pass_and_say_so():
    columns = {
        name: ColumnSpec.model_validate({"type": name, "nullable": nullable})
        for nullable in (False, True)
        for name in ("string", "bool", "int32", "int64", "float32", "float64", "timestamp", "date")
    }
    table = arrow_schema(columns).empty_table()
    result = check_values(table, columns, key=["int32"], asset="features")
    assert result.passed
    assert result.measured == {"rows": 0}


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("string", "a"),
        ("bool", True),
        ("int32", 7),
        ("int64", 7),
        ("float32", 0.5),
        ("float64", 0.5),
        ("timestamp", FIVE_O_CLOCK),
        ("date", date(2013, 1, 1)),
    ],
)
def test_nulls_are_refused_or_allowed_in_every_type(declared: ColumnType, value: object):
    values = pa.array([value, None, value, None])
    values = values.cast({"timestamp": US, "date": pa.date32()}.get(declared, declared))
    refused = values_of(values, ColumnSpec(type=declared))
    assert broken(refused) == [("not null", 2, ("flight=2", "flight=4"))]
    assert values_of(values, ColumnSpec(type=declared, nullable=True)).passed


def test_nan_is_not_finite_and_a_null_is_missing():
    values = pa.array([0.5, None, float("nan"), float("inf"), float("-inf")])
    result = values_of(values, ColumnSpec(type="float64"))
    assert broken(result) == [
        ("not null", 1, ("flight=2",)),
        ("finite", 3, ("flight=3", "flight=4", "flight=5")),
    ]


@pytest.mark.parametrize("declared", ["float32", "float64"])
def test_a_nullable_float_may_be_nan_but_not_infinite(declared: ColumnType):
    values = pa.array([float("nan"), None, float("inf")], declared)
    result = values_of(values, ColumnSpec(type=declared, nullable=True, min=0, max=1))
    assert broken(result) == [
        ("finite", 1, ("flight=3",)),
        (f"{declared} in [0.0, 1.0]", 1, ("flight=3",)),
    ]


def test_bounds_count_rows_on_both_sides():
    values = pa.array([-0.5, 0.0, 1.0, 1.5, 2.0])
    result = values_of(values, ColumnSpec(type="float64", min=0, max=1))
    assert [str(v) for v in result.violations] == [
        "column x: expected float64 in [0.0, 1.0], found 3 rows outside "
        "(e.g. flight=1; flight=4; flight=5)"
    ]


def test_nulls_beside_large_integers_do_not_round_them():
    values = pa.array([2**53, None, 2**53 + 1])
    result = values_of(values, ColumnSpec(type="int64", nullable=True, max=2**53))
    assert broken(result) == [("int64 at most 9007199254740992", 1, ("flight=3",))]


def test_rows_after_a_null_are_named_by_their_own_key():
    values = pa.array(["low", None, "none", None, "high"])
    column = ColumnSpec(type="string", nullable=True, allowed=("low", "high"))
    assert broken(values_of(values, column)) == [("one of low, high", 1, ("flight=3",))]


def test_rows_in_later_chunks_are_named_by_their_own_key():
    columns = {**KEY_COLUMNS, "x": ColumnSpec(type="int32", max=9)}
    chunks = [
        flights([1, 2], x=pa.array([9, 10], pa.int32())),
        flights([3, 4], x=pa.array([0, 11], pa.int32())),
    ]
    result = check_values(pa.concat_tables(chunks), columns, key=KEY, asset="features")
    expected = tuple(f"at=2013-01-01T05:00:00+00:00, flight={n}" for n in (2, 4))
    assert broken(result) == [("int32 at most 9", 2, expected)]


def test_ten_keys_are_shown_and_all_rows_counted():
    result = values_of(pa.array([2.0] * 130_000), ColumnSpec(type="float64", max=1))
    expected = tuple(f"flight={n}" for n in range(1, 11))
    assert broken(result) == [("float64 at most 1.0", 130_000, expected)]


def test_every_column_and_rule_is_reported_once_in_the_declared_order():
    columns = {
        **KEY_COLUMNS,
        "score": ColumnSpec(type="float64", max=1),
        "risk": ColumnSpec(type="string", allowed=("low",)),
    }
    table = flights([1, None], score=pa.array([2.0, None]), risk=pa.array(["x", None]))
    result = check_values(conform(table, columns), columns, key=["flight"], asset="predictions")
    assert [(v.column, v.rule, v.count, v.samples) for v in result.violations] == [
        ("flight", "not null", 1, ("flight=null",)),
        ("score", "not null", 1, ("flight=null",)),
        ("score", "float64 at most 1.0", 1, ("flight=1",)),
        ("risk", "not null", 1, ("flight=null",)),
        ("risk", "one of low", 1, ("flight=1",)),
    ]


def test_a_missing_column_is_not_overlooked():
    columns = {**KEY_COLUMNS, "score": ColumnSpec(type="float64")}
    result = check_values(flights([1]), columns, key=KEY, asset="predictions")
    assert result.violations == (Violation(column="score", rule="present"),)


def test_metadata_of_pandas_cannot_turn_a_column_into_an_index():
    table = flights([1, None])
    index = pa.Table.from_pandas(table.to_pandas().set_index("flight")).schema.metadata
    result = check_values(
        table.replace_schema_metadata(index), KEY_COLUMNS, key=["flight"], asset="snapshot"
    )
    assert broken(result) == [("not null", 1, ("flight=null",))]


def test_pandera_cannot_be_switched_off_from_outside():
    with config_context(validation_enabled=False):
        assert not values_of(pa.array([2.0]), ColumnSpec(type="float64", max=1)).passed
    with config_context(validation_depth=ValidationDepth.SCHEMA_ONLY):
        assert not values_of(pa.array([2.0]), ColumnSpec(type="float64", max=1)).passed


def test_a_rule_that_cannot_be_applied_is_an_error_and_no_pass():
    columns = {"x": ColumnSpec(type="float64", max=1)}
    with pytest.raises(SchemaError, match="Error while executing check function"):
        check_values(pa.table({"x": ["not conformed"]}), columns, key=["x"], asset="features")


def test_times_and_dates_beyond_python_are_judged_and_shown():
    columns = {
        "at": ColumnSpec(type="timestamp"),
        "day": ColumnSpec(type="date"),
        "x": ColumnSpec(type="int32"),
    }
    table = pa.table(
        {
            "at": pa.array([2**62, 2**62], pa.int64()).cast(US),
            "day": pa.array([2**31 - 1, 0], pa.int32()).cast(pa.date32()),
            "x": pa.array([None, 1], pa.int32()),
        }
    )
    result = check_values(conform(table, columns), columns, key=["at", "day"], asset="snapshot")
    beyond = "<value out of range: {}>"
    sample = f"at={beyond.format(2**62)}, day={beyond.format(2**31 - 1)}"
    assert broken(result) == [("not null", 1, (sample,))]


def test_sample_keys_write_each_type():
    table = pa.table(
        {
            "at": pa.array([FIVE_O_CLOCK, FIVE_O_CLOCK.replace(microsecond=250), None], US),
            "carrier": ["AA", "é", None],
            "flight": pa.array([1, -2, None], pa.int32()),
            "score": [0.5, 1e30, None],
            "late": [True, False, None],
            "day": [date(2013, 1, 1), date(1969, 12, 31), None],
        }
    )
    assert sample_keys(table, ["at", "carrier", "flight"]) == (
        "at=2013-01-01T05:00:00+00:00, carrier=AA, flight=1",
        "at=2013-01-01T05:00:00.000250+00:00, carrier=é, flight=-2",
        "at=null, carrier=null, flight=null",
    )
    assert sample_keys(table, ["score", "late", "day"]) == (
        "score=0.5, late=true, day=2013-01-01",
        "score=1e+30, late=false, day=1969-12-31",
        "score=null, late=null, day=null",
    )


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("a\0b", "k=a\\x00b"),
        ("a\r\nERROR: all fine", "k=a\\r\\nERROR: all fine"),
        ("\x1b[31mred", "k=\\x1b[31mred"),
        ("\u202eabc\u2028", "k=\\u202eabc\\u2028"),
        ("x" * 80, "k=" + "x" * 80),
        ("x" * 10_240, "k=" + "x" * 80 + "…"),
        ("\0" * 10_240, "k=" + "\\x00" * 80 + "…"),
        ("", "k="),
    ],
    ids=["nul", "newline", "escape", "bidi", "80", "10 kB", "10 kB of nul", "empty"],
)
def test_hostile_keys_are_cut_and_escaped(hostile: str, shown: str):
    table = pa.table({"k": [hostile, hostile]})
    assert sample_keys(table, ["k"]) == (shown, shown)
    assert check_unique_key(table, key=["k"], asset="s").violations[0].samples == (shown,)
    columns = {"k": ColumnSpec(type="string", allowed=("fine",))}
    result = check_values(conform(table, columns), columns, key=["k"], asset="s")
    assert broken(result) == [("one of fine", 2, (shown, shown))]
