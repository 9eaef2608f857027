"""What upstream may do to columns: each change, accepted or not, and what a refusal says.

Which layouts of the same type are no change is in `test_columns_layouts`.
"""

from datetime import UTC, datetime
from typing import get_args

import pyarrow as pa
import pytest

from batchinf_assets.checks import LONGEST_TEXT, CheckResult, Violation
from batchinf_assets.contracts.columns import check_columns, check_new_columns, conform
from batchinf_assets.contracts.validate import check_values
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.spec.contract import AcceptedChange, ColumnSpec

DECLARED = {
    "at": ColumnSpec(type="timestamp"),
    "origin": ColumnSpec(type="string"),
    "dep_hour": ColumnSpec(type="int32", min=0, max=23),
    "load": ColumnSpec(type="float32", nullable=True),
    "gate": ColumnSpec(type="string", nullable=True),
}
FIVE_O_CLOCK = datetime(2013, 1, 1, 5, tzinfo=UTC)
LANDED = pa.table(
    {
        "at": pa.array([FIVE_O_CLOCK] * 2, pa.timestamp("us", tz="UTC")),
        "origin": ["EWR", "JFK"],
        "dep_hour": pa.array([5, 6], pa.int32()),
        "load": pa.array([0.5, None], pa.float32()),
        "gate": ["B7", None],
    }
)
CHANGES: tuple[AcceptedChange, ...] = get_args(AcceptedChange)


def checked(table: pa.Table, *accept: AcceptedChange) -> CheckResult:
    return check_columns(table, DECLARED, asset="snapshot", accept=accept)


def sentences(result: CheckResult) -> list[str]:
    assert result.passed == (not result.violations)
    return [str(violation) for violation in result.violations]


def renamed(old: str, new: str) -> pa.Table:
    return LANDED.rename_columns([new if name == old else name for name in LANDED.column_names])


def retyped(name: str, kind: pa.DataType) -> pa.Table:
    at = LANDED.schema.get_field_index(name)
    return LANDED.set_column(at, name, LANDED.column(name).cast(kind))


def replaced(name: str, values: pa.Array) -> pa.Table:
    return LANDED.set_column(LANDED.schema.get_field_index(name), name, values)


def added(name: str, at: int = 0) -> pa.Table:
    return LANDED.add_column(at, name, pa.array([1, 2]))


NEW_YORK = pa.timestamp("us", tz="America/New_York")
REFUSED = {
    "dropped": (
        LANDED.drop_columns(["origin"]),
        "column origin: expected string, found no such column",
    ),
    "renamed": (
        renamed("dep_hour", "departure_hour"),
        "column dep_hour: expected int32, found no such column "
        "(nearest new one: departure_hour int32)",
    ),
    "renamed beyond recognition": (
        renamed("origin", "x"),
        "column origin: expected string, found no such column (new ones: x string)",
    ),
    "renamed and retyped": (
        renamed("dep_hour", "departure_hour").set_column(2, "DepHour", pa.array(["5", "6"])),
        "column dep_hour: expected int32, found no such column (nearest new one: DepHour string)",
    ),
    "retyped": (
        retyped("dep_hour", pa.string()),
        "column dep_hour: expected int32, found string",
    ),
    "became nested": (
        replaced("origin", pa.array([["EWR"], ["JFK"]])),
        "column origin: expected string, found list",
    ),
    "became a whole column of nulls": (
        replaced("gate", pa.nulls(2)),
        "column gate: expected string, found null",
    ),
    "lost its time zone": (
        retyped("at", pa.timestamp("us")),
        "column at: expected timestamp in UTC, found timestamp without time zone",
    ),
    "became a date": (
        retyped("at", pa.date32()),
        "column at: expected timestamp in UTC, found date",
    ),
    "is there twice": (
        LANDED.append_column("origin", pa.array(["EWR", "JFK"])),
        "column origin: expected to be there once, found 2 columns of this name",
    ),
}
ACCEPTABLE: dict[str, tuple[AcceptedChange, pa.Table, str]] = {
    "wider integers": (
        "widened",
        retyped("dep_hour", pa.int64()),
        "column dep_hour: expected int32, found int64 (passes where `accept` has widened)",
    ),
    "wider floats": (
        "widened",
        retyped("load", pa.float64()),
        "column load: expected float32, found float64 (passes where `accept` has widened)",
    ),
    "another time zone": (
        "time_zone",
        retyped("at", NEW_YORK),
        "column at: expected timestamp in UTC, found timestamp in America/New_York "
        "(passes where `accept` has time_zone)",
    ),
    "a nullable column dropped": (
        "missing_nullable",
        LANDED.drop_columns(["gate"]),
        "column gate: expected string, found no such column "
        "(passes where `accept` has missing_nullable)",
    ),
    "a nullable column renamed": (
        "missing_nullable",
        renamed("gate", "gates"),
        "column gate: expected string, found no such column (nearest new one: gates string; "
        "passes where `accept` has missing_nullable)",
    ),
    "reordered": (
        "reordered",
        LANDED.select(["at", "origin", "load", "dep_hour", "gate"]),
        "expected the columns in the order …, origin, dep_hour, load, …, "
        "found …, origin, load, dep_hour, … (passes where `accept` has reordered)",
    ),
    "reordered, with a new one amid": (
        "reordered",
        added("x").select(["origin", "x", "at", "dep_hour", "load", "gate"]),
        "expected the columns in the order at, origin, …, "
        "found origin, at, … (passes where `accept` has reordered)",
    ),
}


@pytest.mark.parametrize(("table", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_breaking_change_is_refused_with_expected_and_found_side_by_side(
    table: pa.Table, sentence: str
) -> None:
    assert sentences(checked(table)) == [sentence]


@pytest.mark.parametrize(("table", "sentence"), REFUSED.values(), ids=REFUSED)
def test_no_acceptance_lets_a_breaking_change_pass(table: pa.Table, sentence: str) -> None:
    assert sentences(checked(table, *CHANGES)) == [sentence]


@pytest.mark.parametrize(("change", "table", "sentence"), ACCEPTABLE.values(), ids=ACCEPTABLE)
def test_a_change_that_loses_nothing_passes_only_where_it_is_accepted(
    change: AcceptedChange, table: pa.Table, sentence: str
) -> None:
    others: list[AcceptedChange] = [other for other in CHANGES if other != change]
    assert sentences(checked(table)) == [sentence]
    assert sentences(checked(table, *others)) == [sentence]
    assert sentences(checked(table, change)) == []
    assert checked(table, change).measured["accepted"] == change
    assert "accepted" not in checked(LANDED, *CHANGES).measured


@pytest.mark.parametrize(("change", "table", "_sentence"), ACCEPTABLE.values(), ids=ACCEPTABLE)
def test_an_accepted_change_keeps_every_value(
    change: AcceptedChange, table: pa.Table, _sentence: str
) -> None:
    rows = conform(table, DECLARED)
    lost = {"gate": pa.nulls(2, pa.string())} if change == "missing_nullable" else {}
    assert rows.schema.equals(arrow_schema(DECLARED))
    for name in DECLARED:
        assert rows.column(name).to_pylist() == lost.get(name, LANDED.column(name)).to_pylist()


@pytest.mark.parametrize("at", range(6))
def test_an_added_column_changes_nothing_wherever_it_stands(at: int) -> None:
    assert checked(added("x", at)).passed
    assert conform(added("x", at), DECLARED).equals(conform(LANDED, DECLARED))


def test_a_file_that_may_hold_nulls_passes_as_long_as_it_holds_none() -> None:
    """Most writers declare every column nullable: see `test_nullability` for what counts."""
    loose = LANDED.cast(pa.schema([field.with_nullable(True) for field in LANDED.schema]))
    assert checked(loose).passed
    nulls = replaced("origin", pa.array(["EWR", None]))
    assert checked(nulls).passed
    values = check_values(conform(nulls, DECLARED), DECLARED, key=["dep_hour"], asset="snapshot")
    assert sentences(values) == ["column origin: expected not null, found 1 null (e.g. dep_hour=6)"]


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC", "+00:00", "Z"])
def test_every_name_of_utc_is_utc(zone: str) -> None:
    assert checked(retyped("at", pa.timestamp("us", tz=zone))).passed


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("dep_hour", [5, 2**31], "expected int32, found int64 with 1 value that would change"),
        ("load", [0.1, 1e300], "expected float32, found float64 with 2 values that would change"),
    ],
)
def test_an_accepted_wider_type_still_has_to_fit(
    name: str, values: list[float], found: str
) -> None:
    table = replaced(name, pa.array(values))
    assert sentences(checked(table, *CHANGES)) == [f"column {name}: {found}"]


def test_nan_and_infinity_are_no_values_that_narrowing_changes() -> None:
    table = replaced("load", pa.array([float("nan"), float("inf")]))
    assert checked(table, "widened").passed


def test_a_new_column_of_a_fitting_type_is_nearer_than_one_with_a_nearer_name() -> None:
    table = renamed("dep_hour", "departure_hour").append_column("dep_hours", pa.array(["5", "6"]))
    assert "(nearest new one: departure_hour int32)" in sentences(checked(table))[0]


def test_every_changed_column_is_named_in_the_declared_order() -> None:
    table = retyped("dep_hour", pa.string()).drop_columns(["at"]).select(["dep_hour", "origin"])
    found = checked(table, "missing_nullable").violations
    assert [violation.column for violation in found] == ["at", "dep_hour", None]


def test_new_columns_are_a_warning_that_names_and_counts_them() -> None:
    table = added("x").append_column("y", pa.array([["a"], ["b"]]))
    assert check_new_columns(table, DECLARED, asset="snapshot") == CheckResult(
        name="new_columns",
        asset="snapshot",
        passed=False,
        blocking=False,
        violations=(
            Violation(
                column=None, rule="only the declared columns", found="2 more: x int64, y list"
            ),
        ),
        measured={"columns": 7, "new": 2},
    )


def test_only_the_first_twenty_new_columns_are_named() -> None:
    table = pa.table({f"n{i}": [1] for i in range(33)})
    (warning,) = check_new_columns(table, DECLARED, asset="snapshot").violations
    assert str(warning).startswith("expected only the declared columns, found 33 more: n0 int64, ")
    assert str(warning).endswith(", n19 int64 and 13 more")


def test_no_new_column_is_no_warning() -> None:
    result = check_new_columns(LANDED, DECLARED, asset="snapshot")
    assert (result.passed, result.violations, result.measured["new"]) == (True, (), 0)


HOSTILE = {
    "markup": ("dep_hour<script>", "dep_hour\\x3cscript\\x3e"),
    "formula": ("=dep_hour", "\\x3ddep_hour"),
    "NUL": ("dep_hour\0", "dep_hour\\x00"),
    "right-to-left mark": ("dep_hour\u202e", "dep_hour\\u202e"),
    "lines": ("dep_hour\r\n", "dep_hour\\r\\n"),
    "300 characters": ("dep_hour" * 40, ("dep_hour" * 40)[:LONGEST_TEXT] + "…"),
}


@pytest.mark.parametrize(("name", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_foreign_names_are_escaped_and_cut(name: str, shown: str) -> None:
    table = renamed("dep_hour", name)
    (violation,) = checked(table).violations
    word = "new ones" if len(name) > 100 else "nearest new one"
    assert violation.found == f"no such column ({word}: {shown} int32)"
    (warning,) = check_new_columns(table, DECLARED, asset="snapshot").violations
    assert warning.found == f"1 more: {shown} int32"


def test_foreign_types_show_no_foreign_name() -> None:
    nested = pa.array([{"<script>\n" + "b" * 500: 1}] * 2)
    assert sentences(checked(replaced("origin", nested))) == [
        "column origin: expected string, found struct"
    ]


def test_a_foreign_time_zone_is_escaped_and_cut() -> None:
    table = retyped("at", pa.timestamp("us", tz="<b>" + "x" * 300))
    (violation,) = checked(table).violations
    assert str(violation.found).startswith(f"timestamp in \\x3cb\\x3e{'x' * 77}… (passes")


def test_many_foreign_columns_are_compared_in_bounded_time() -> None:
    """Names of a megabyte would take difflib hours."""
    table = pa.table({f"{i}" + "dep_hour" * 100_000: [1] for i in range(20)})
    assert len(checked(table).violations) == len(DECLARED)
