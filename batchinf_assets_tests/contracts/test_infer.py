"""Contracts proposed from samples: what is told, with what margin, what is left to the owner."""

from __future__ import annotations

import math
import random
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from batchinf_assets.contracts.columns import check_columns, conform
from batchinf_assets.contracts.infer import Proposal, propose
from batchinf_assets.contracts.infer_bounds import friendly_bounds, friendly_length
from batchinf_assets.contracts.infer_keys import candidate_keys, repeated_rows
from batchinf_assets.contracts.infer_text import regular_pattern
from batchinf_assets.contracts.infer_yaml import proposal_yaml
from batchinf_assets.contracts.judge import judge_rows
from batchinf_assets.contracts.row_contract import RowContract
from batchinf_assets.contracts.validate import check_unique_key
from batchinf_assets.errors import UsageError
from batchinf_assets.spec.contract import ColumnSpec
from batchinf_assets.spec.source import SourceSpec

ROWS = 300
properties = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def orders() -> pa.Table:
    """Three hundred orders: two per minute, one per customer and minute."""
    start = datetime(2013, 7, 1, tzinfo=UTC)
    minutes = [start + timedelta(minutes=n // 2) for n in range(ROWS)]
    return pa.table(
        {
            "placed": pa.array(minutes, pa.timestamp("us", tz="UTC")),
            "customer": [f"C{n % 31:03}{'AB'[n % 2]}" for n in range(ROWS)],
            "items": pa.array([n % 40 for n in range(ROWS)], pa.int32()),
            "total": [None if n % 50 == 7 else 3.5 + n for n in range(ROWS)],
            "paid_by": ["card", "cash", "later"] * (ROWS // 3),
            "note": [f"free text {'x' * (n % 61)}" for n in range(ROWS)],
            "gift": [n % 9 == 0 for n in range(ROWS)],
            "due": [date(2013, 7, 1 + n % 30) for n in range(ROWS)],
        }
    )


def proposed(rows: pa.Table, **more: object) -> Proposal:
    return propose(rows, rows_in_file=rows.num_rows, **more)  # pyright: ignore[reportArgumentType]


def column(values: pa.Array, name: str = "c") -> tuple[ColumnSpec | None, str]:
    (found,) = proposed(pa.table({name: values})).columns
    return found.spec, "; ".join(found.notes)


def test_columns_get_types_and_rules_with_a_margin() -> None:
    found = proposed(orders()).declarable
    assert found["placed"] == ColumnSpec(type="timestamp")
    assert found["customer"] == ColumnSpec(type="string", max_length=5)
    assert found["items"] == ColumnSpec(type="int32", min=0, max=50)
    assert found["total"] == ColumnSpec(type="float64", nullable=True, min=0, max=400)
    assert found["paid_by"] == ColumnSpec(type="string", allowed=("card", "cash", "later"))
    assert found["note"] == ColumnSpec(type="string", max_length=100)
    assert found["gift"] == ColumnSpec(type="bool")
    assert found["due"] == ColumnSpec(type="date")


def test_the_smallest_key_and_the_time_are_found() -> None:
    found = proposed(orders())
    assert (found.key, found.time) == (("placed", "customer"), "placed")


def test_the_yaml_is_a_source_section_that_the_sample_keeps() -> None:
    rows = orders()
    written = yaml.safe_load(proposal_yaml(proposed(rows), "orders.parquet"))["source"]
    source = SourceSpec.model_validate({"files": "orders/{window}.parquet", **written})
    assert source.key == ("placed", "customer")
    assert source.columns == proposed(rows).declarable
    assert broken(rows, source.columns, source.key) == []


def test_the_yaml_says_what_it_rests_on() -> None:
    text = proposal_yaml(proposed(orders()), "orders.parquet")
    assert "# Proposed from orders.parquet: all 300 rows.\n# A proposal, not the truth:" in text
    assert "total: {type: float64, nullable: true, min: 0, max: 400}  # missing in 6 of 300" in text
    assert "items: {type: int32, min: 0, max: 50}  # seen 0 to 39" in text
    assert "62 values, the longest of 5 characters" in text
    assert "all match pattern: 'C0[0-9]{2}[A-Z]'" in text


@pytest.mark.parametrize(
    ("rows_in_file", "said"),
    [(300, "all 300 rows"), (9_000_000, "a sample of 300 of 9,000,000 rows"), (None, "the first")],
)
def test_a_sample_is_called_one(rows_in_file: int | None, said: str) -> None:
    found = propose(orders(), rows_in_file=rows_in_file)
    assert said in proposal_yaml(found, "orders.csv").splitlines()[0]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1]], pa.list_(pa.int32())),
        pa.array([b"x"]),
        pa.array([1], pa.uint8()),
        pa.array([1]).cast(pa.decimal128(20, 0)),
        pa.array([0], pa.time32("s")),
        pa.array([0], pa.date64()),
    ],
    ids=lambda values: str(values.type),
)
def test_a_type_that_cannot_be_declared_is_a_comment(values: pa.Array) -> None:
    spec, notes = column(values)
    assert spec is None
    assert "cannot be declared" in notes


def test_times_without_a_zone_and_columns_without_values_are_left_to_the_owner() -> None:
    spec, notes = column(pa.array([datetime(2013, 7, 1)], pa.timestamp("us")))  # noqa: DTZ001
    assert spec is None
    assert "without a time zone" in notes
    assert column(pa.nulls(5)) == (None, "no value seen: the type could not be told")
    assert column(pa.nulls(5, pa.int32())) == (
        ColumnSpec(type="int32", nullable=True),
        "no value seen",
    )


def test_times_in_another_zone_say_what_the_spec_needs() -> None:
    zoned = pa.array([datetime(2013, 7, 1, tzinfo=UTC)], pa.timestamp("ns", tz="Asia/Kolkata"))
    spec, notes = column(zoned)
    assert spec == ColumnSpec(type="timestamp")
    assert "in zone Asia/Kolkata: it needs `accept: [time_zone]`" in notes


@pytest.mark.parametrize("name", ["Order", "order id", "a" * 64, 'x"; DROP', "ü", "", "on\nx: 1"])
def test_a_name_that_cannot_be_declared_is_a_comment_of_one_line(name: str) -> None:
    found = proposed(pa.table({name: [1, 2], "id": [1, 2]}))
    assert found.columns[0].spec is None
    text = proposal_yaml(found, "f.csv")
    assert list(yaml.safe_load(text)["source"]["columns"]) == ["id"]
    assert "the name cannot be declared" in text


def test_a_name_that_yaml_reads_as_something_else_is_quoted() -> None:
    text = proposal_yaml(proposed(pa.table({"on": [1, 2], "null": [3, 4]})), "f.csv")
    assert list(yaml.safe_load(text)["source"]["columns"]) == ["on", "null"]


def test_texts_that_yaml_reads_as_something_else_stay_texts() -> None:
    values = ["no", "1", "null", "a: b", "#x", "{", "\n", "\x1b[2J", "é"]
    spec, _ = column(pa.array(values * 10))
    assert spec is not None
    text = proposal_yaml(proposed(pa.table({"c": values * 10})), "f.csv")
    assert yaml.safe_load(text)["source"]["columns"]["c"]["allowed"] == sorted(values)
    assert "\x1b" not in text


def test_a_hostile_file_name_stays_in_its_comment() -> None:
    text = proposal_yaml(proposed(pa.table({"a": [1, 2]})), "x\nsource: {}\n.csv")
    assert list(yaml.safe_load(text)["source"]) == ["key", "columns"]


def test_a_text_that_is_rare_is_hardly_the_last_so_no_list_is_proposed() -> None:
    common = ["a", "b"] * 100
    assert column(pa.array([*common, "c"]))[0] == ColumnSpec(type="string", max_length=1)
    many = [f"v{n}" for n in range(21)] * 20
    assert column(pa.array(many))[0] == ColumnSpec(type="string", max_length=3)


def test_what_counts_up_gets_no_largest_value() -> None:
    spec, notes = column(pa.array(range(1000, 1100), pa.int64()), "id")
    assert spec is not None
    assert (spec.unique, spec.max) == (True, None)
    assert "never repeats" in notes


def test_infinite_and_missing_numbers_are_told() -> None:
    spec, notes = column(pa.array([1.5, math.nan, None, math.inf, -math.inf, 7.0]))
    assert spec is not None
    assert (spec.nullable, spec.min, spec.max) == (True, 0, 9)
    assert "missing in 2 of 6 rows" in notes
    assert "2 rows are infinite, which no contract allows" in notes


@pytest.mark.parametrize(
    ("low", "high", "bounds"),
    [
        (17, 4983, (0, 6000)),
        (1956, 2013, (1940, 2030)),
        (0, 23, (0, 30)),
        (-40, -3, (-50, 0)),
        (-3, 3, (-5, 5)),
        (5, 5, (4, 6)),
        (0, 0, (0, 1)),
        (-7, -7, (-9, -5)),
        (2**60, 2**60, (None, None)),
        (-(2**31), 2**31 - 1, (None, None)),
    ],
)
def test_whole_numbers_are_rounded_outwards_to_friendly_figures(
    low: int, high: int, bounds: tuple[float | None, float | None]
) -> None:
    assert friendly_bounds(low, high, "int32") == bounds


@pytest.mark.parametrize(
    ("low", "high", "bounds"),
    [
        (0.01, 0.97, (0, 1)),
        (0.2, 1.3, (0, 2)),
        (983.8, 1042.1, (970, 1060)),
        (1e-7, 3e-7, (0, 1)),
        (-1e308, 1e308, (None, None)),
        (1e15, 1e15 + 1, (1e15 - 0.25, 1e15 + 1.25)),
    ],
)
def test_floats_are_rounded_outwards_to_friendly_figures(
    low: float, high: float, bounds: tuple[float | None, float | None]
) -> None:
    found = friendly_bounds(low, high, "float64")
    if high > 1e14 and high < 1e16:
        assert found[0] is not None
        assert found[1] is not None
        assert found[0] <= low < high <= found[1]
    else:
        assert found == bounds


@pytest.mark.parametrize(("longest", "allowed"), [(0, 1), (2, 2), (6, 6), (7, 10), (70, 100)])
def test_short_codes_keep_their_length_and_longer_texts_get_room(
    longest: int, allowed: int
) -> None:
    assert friendly_length(longest) == allowed


@pytest.mark.parametrize(
    ("make", "pattern"),
    [
        (lambda n: f"N{n:05}", "N000[0-9]{2}"),
        (lambda n: f"{'ABCDEFGHIJ'[n % 10]}{'XYZ'[n % 3]}", "[A-Z]{2}"),
        (lambda n: f"AA-{n:02}", "AA-[0-9]{2}"),
        (lambda n: f"N{n}", "N[0-9]{1,2}"),
        (lambda n: f"{n:032x}", "0{30}[0-9][0-9a-z]"),
        (lambda n: f"v1.{n:02}", r"v1\.[0-9]{2}"),
        (lambda n: "x" * (n + 1), None),
        (lambda n: f"a text {n:02}", None),
        (lambda n: f"é{n:02}", None),
    ],
)
def test_codes_of_one_shape_get_a_pattern_and_texts_get_none(
    make: object, pattern: str | None
) -> None:
    assert callable(make)
    assert regular_pattern(pa.array([make(n) for n in range(50)])) == pattern


def test_few_texts_have_no_shape() -> None:
    assert regular_pattern(pa.array(["A1", "B2"])) is None


def test_keys_are_the_smallest_sets_that_never_repeat() -> None:
    rows = pa.table(
        {
            "a": [n // 25 for n in range(100)],
            "b": [n // 5 % 5 for n in range(100)],
            "c": [n % 5 for n in range(100)],
            "d": [1] * 100,
        }
    )
    assert candidate_keys(rows, ["a", "b", "c", "d"]) == [("a", "b", "c")]
    assert candidate_keys(rows.append_column("e", pa.array(range(100))), ["a", "b", "e"]) == [
        ("e",)
    ]
    assert candidate_keys(rows, ["a", "b", "d"]) == []
    assert candidate_keys(rows.slice(0, 1), ["a"]) == []


def test_a_key_of_nearly_unique_columns_is_found_beyond_the_first_look() -> None:
    rows = pa.table({"a": [*range(10_000), 7], "b": [0] * 10_000 + [1]})
    assert candidate_keys(rows, ["a", "b"]) == [("a", "b")]


@pytest.mark.parametrize("coded", [False, True])
def test_rows_of_repeated_keys_are_counted_nulls_as_one_value(coded: bool) -> None:
    texts = pa.array(["x", "x", None, None, "y"])
    rows = pa.table({"a": texts.dictionary_encode() if coded else texts, "b": [1, 1, 2, 2, 3]})
    assert repeated_rows(rows, ["a", "b"]) == 4
    assert repeated_rows(rows.slice(0, 0), ["a"]) == 0


def test_a_given_key_is_kept_and_its_repetitions_are_told() -> None:
    found = proposed(orders(), key=["paid_by"], time="placed")
    assert found.key == ("paid_by",)
    assert "key: 300 rows repeat the key of another" in found.notes[0]


def test_a_given_key_with_nulls_is_declared_as_it_must_be() -> None:
    found = proposed(orders(), key=["total", "customer"])
    assert not found.declarable["total"].nullable
    written = yaml.safe_load(proposal_yaml(found, "f.csv"))["source"]
    assert SourceSpec.model_validate({"files": "{window}.csv", **written}).key[0] == "total"
    assert "such rows break the contract" in proposal_yaml(found, "f.csv")


@pytest.mark.parametrize(
    ("key", "time", "said"),
    [
        (["nothing"], None, "has no column 'nothing'"),
        (["items", "items"], None, "names a column twice"),
        ((), "items", "'items' has type int32, not timestamp"),
        ((), "nothing", "has no column 'nothing'"),
    ],
)
def test_a_key_or_time_that_cannot_be_one_is_wrong_use(
    key: list[str], time: str | None, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        proposed(orders(), key=key, time=time)


def test_a_table_without_rows_proposes_types_only() -> None:
    found = proposed(orders().slice(0, 0))
    assert found.declarable["items"] == ColumnSpec(type="int32", nullable=True)
    assert (found.key, found.time) == ((), None)


def test_texts_in_dictionaries_are_read_like_others() -> None:
    rows = orders()
    index = rows.column_names.index("paid_by")
    halves = [rows["paid_by"].slice(0, 100), rows["paid_by"].slice(100)]
    coded = pa.chunked_array([half.combine_chunks().dictionary_encode() for half in halves])
    assert proposed(rows.set_column(index, "paid_by", coded)) == proposed(rows)


def test_the_order_of_rows_does_not_matter() -> None:
    rows = orders()
    order = random.Random(7).sample(range(ROWS), ROWS)
    assert proposed(rows.take(order)) == proposed(rows)


def broken(rows: pa.Table, columns: dict[str, ColumnSpec], key: tuple[str, ...]) -> list[str]:
    """What the contract finds wrong with rows, by the functions of the snapshot step."""
    schema = check_columns(rows, columns, asset="snapshot")
    if not schema.passed:
        return [str(violation) for violation in schema.violations]
    conformed = conform(rows, columns)
    contract = RowContract(asset="snapshot", columns=columns, key=key)
    checks = [*judge_rows(conformed, contract).checks]
    checks += [check_unique_key(conformed, key=key, asset="snapshot")] if key else []
    return [str(violation) for check in checks for violation in check.violations]


CELLS = {
    pa.int32(): st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 3),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(width=32, allow_infinity=False),
    pa.float64(): st.floats(allow_infinity=False) | st.floats(0, 1),
    pa.string(): st.text(st.characters(codec="utf-8"), max_size=9) | st.sampled_from(["A1", "B2"]),
    pa.bool_(): st.booleans(),
    pa.date32(): st.integers(-10_000, 10_000),
    pa.timestamp("us", tz="UTC"): st.integers(-(2**50), 2**50),
}


@st.composite
def samples(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(1, 30))
    kinds = draw(st.lists(st.sampled_from(list(CELLS)), min_size=1, max_size=4))
    columns: dict[str, pa.Array] = {}
    for index, kind in enumerate(kinds):
        cells = CELLS[kind] if draw(st.booleans()) else st.none() | CELLS[kind]
        values = draw(st.lists(cells, min_size=1, max_size=rows))
        repeated = [values[n % len(values)] for n in range(rows)]
        columns[f"c{index}"] = pa.array(repeated, kind)
    return pa.table(columns)


@properties
@given(samples())
def test_every_sample_keeps_the_contract_that_is_proposed_from_it(rows: pa.Table) -> None:
    found = proposed(rows)
    written = yaml.safe_load(proposal_yaml(found, "f.parquet"))["source"]
    columns = {name: ColumnSpec.model_validate(of) for name, of in written["columns"].items()}
    assert columns == found.declarable
    assert broken(rows, columns, found.key) == []
