"""Of any table: each row passes or its violations are named, and nothing depends on the order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchinf_assets.checks import CheckResult
from batchinf_assets.contracts.judge import judge_rows
from batchinf_assets.contracts.row_contract import RowContract
from batchinf_assets.contracts.screen import suspects, unclear_rows
from batchinf_assets.contracts.validate import pandera_verdict
from batchinf_assets.contracts.value_rules import value_sets
from batchinf_assets.lake.schema import ARROW_TYPES
from batchinf_assets.spec.contract import ColumnSpec, ColumnType, QuarantineSpec, RuleSpec

START = datetime(2013, 7, 1, tzinfo=UTC)
TEXTS = st.sampled_from(["", "a", "b", "ab", "é", "A1", "<x>", "=1"])
WHOLE = st.integers(-3, 3)
VALUES: Mapping[ColumnType, st.SearchStrategy[object]] = {
    "string": TEXTS,
    "bool": st.booleans(),
    "int32": WHOLE,
    "int64": st.one_of(WHOLE, st.sampled_from([2**53, 2**53 + 1, -(2**63)])),
    "float32": st.one_of(WHOLE.map(float), st.sampled_from([math.nan, math.inf, -0.0, 0.5])),
    "float64": st.one_of(WHOLE.map(float), st.sampled_from([math.nan, -math.inf, -0.0, 0.1])),
    "timestamp": WHOLE.map(lambda hours: START + timedelta(hours=hours)),
    "date": WHOLE.map(lambda days: (START + timedelta(days=days)).date()),
}
SQL = ["n % 3 <> 1", "n < 5 OR n IS NULL", "NULL", "true"]
BEHAVIOUR = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@st.composite
def specs(draw: st.DrawFn) -> ColumnSpec:
    kind = draw(st.sampled_from(sorted(VALUES)))
    low, high = sorted(draw(st.tuples(WHOLE, WHOLE)))
    numeric, text = kind.startswith(("int", "float")), kind == "string"
    declared = {
        "type": kind,
        "nullable": draw(st.booleans()),
        "min": low if numeric and draw(st.booleans()) else None,
        "max": high if numeric and draw(st.booleans()) else None,
        "allowed": draw(st.lists(TEXTS, max_size=6)) if text and draw(st.booleans()) else None,
        "pattern": draw(st.sampled_from(["[a-z]*", ".?", "a|b"]))
        if text and draw(st.booleans())
        else None,
        "max_length": 1 if text and draw(st.booleans()) else None,
        "known_in": "reference.x" if draw(st.booleans()) else None,
        "unique": draw(st.booleans()),
        "on_break": draw(st.sampled_from([None, "block", "quarantine", "warn"])),
    }
    return ColumnSpec.model_validate(declared)


@st.composite
def judgements(draw: st.DrawFn) -> tuple[pa.Table, RowContract, dict[str, pa.Array]]:
    rows = draw(st.integers(0, 8))
    columns = {name: draw(specs()) for name in ("x", "y")[: draw(st.integers(0, 2))]}
    arrays, known = {"n": pa.array(range(rows), pa.int64())}, dict[str, pa.Array]()
    for name, column in columns.items():
        kind, values = ARROW_TYPES[column.type], VALUES[column.type]
        cells = draw(st.lists(st.one_of(st.none(), values), min_size=rows, max_size=rows))
        arrays[name] = pa.array(cells, kind)
        known[name] = pa.array(draw(st.lists(values, max_size=8)), kind)
    rules = tuple(
        RuleSpec(name=f"rule{n}", sql=sql, on_break=draw(st.sampled_from([None, "warn", "block"])))
        for n, sql in enumerate(draw(st.lists(st.sampled_from(SQL), max_size=2)))
    )
    contract = RowContract(
        asset="snapshot",
        columns={"n": ColumnSpec(type="int64"), **columns},
        key=("n",),
        rules=rules,
        quarantine=QuarantineSpec(max_share=1),
    )
    return pa.table(arrays), contract, known


def breaks(
    value: object, column: ColumnSpec, all_values: list[object], known: list[object]
) -> bool:
    """The declared rules of one value once more, as a person would write them."""
    if value is None:
        return not column.nullable
    if isinstance(value, float):
        if math.isnan(value):
            return not column.nullable
        if math.isinf(value):
            return True
    rules = [
        not isinstance(value, int | float)
        or (
            (column.min is None or value >= column.min)
            and (column.max is None or value <= column.max)
        ),
        column.allowed is None or value in column.allowed,
        column.pattern is None or matches_by_hand(column.pattern, str(value)),
        column.max_length is None or len(str(value)) <= column.max_length,
        column.known_in is None or value in known,
        not column.unique or all_values.count(value) == 1,
    ]
    return not all(rules)


def matches_by_hand(pattern: str, text: str) -> bool:
    return {
        "[a-z]*": all("a" <= c <= "z" for c in text),
        ".?": len(text) <= 1,
        "a|b": text in ("a", "b"),
    }[pattern]


def named(checks: tuple[CheckResult, ...]) -> set[str | None]:
    return {violation.column for check in checks for violation in check.violations}


@BEHAVIOUR
@given(judgements())
def test_a_table_passes_or_every_violation_is_named(
    case: tuple[pa.Table, RowContract, dict[str, pa.Array]],
):
    rows, contract, known = case
    judged = judge_rows(rows, contract, known=known)
    wrong: dict[str, list[int]] = {}
    for name, column in contract.columns.items():
        cells, those = rows.column(name).to_pylist(), known.get(name, pa.nulls(0)).to_pylist()
        found = [n for n, cell in enumerate(cells) if breaks(cell, column, cells, those)]
        wrong |= {name: found} if found else {}
    assert named(judged.checks) - {None} == set(wrong)
    quarantined = {
        row
        for name, found in wrong.items()
        for row in found
        if contract.severities[name] == "quarantine"
    }
    lines = judged.rejected.to_pylist()
    assert {line["row"] for line in lines if line["column"] is not None} == quarantined
    assert all(rows.column("n")[line["row"]].as_py() == line["row"] for line in lines)


@BEHAVIOUR
@given(judgements())
def test_accepted_and_rejected_rows_are_all_rows(
    case: tuple[pa.Table, RowContract, dict[str, pa.Array]],
):
    rows, contract, known = case
    judged = judge_rows(rows, contract, known=known)
    accepted = judged.accepted.column("n").to_pylist()
    rejected = sorted(set(judged.rejected.column("row").to_pylist()))
    assert sorted([*accepted, *rejected]) == list(range(rows.num_rows))
    assert accepted == sorted(accepted)
    assert judged.accepted.schema == rows.schema
    assert judged.checks[0].measured["rejected"] == len(rejected)


@BEHAVIOUR
@given(judgements())
def test_nothing_accepted_is_rejected_when_it_is_judged_again(
    case: tuple[pa.Table, RowContract, dict[str, pa.Array]],
):
    rows, contract, known = case
    accepted = judge_rows(rows, contract, known=known).accepted
    again = judge_rows(accepted, contract, known=known)
    assert again.rejected.num_rows == 0
    assert again.accepted is accepted


@BEHAVIOUR
@given(judgements(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_change_which_are_rejected(
    case: tuple[pa.Table, RowContract, dict[str, pa.Array]], chance: object
):
    rows, contract, known = case
    order = list(range(rows.num_rows))
    chance.shuffle(order)
    reasons = ["key", "rule", "column", "value"]
    before, after = (
        judge_rows(table, contract, known=known).rejected.select(reasons).to_pylist()
        for table in (rows, rows.take(pa.array(order, pa.int64())))
    )
    assert sorted(map(str, before)) == sorted(map(str, after))


@BEHAVIOUR
@given(judgements())
def test_the_screen_and_pandera_agree_on_every_column_and_row(
    case: tuple[pa.Table, RowContract, dict[str, pa.Array]],
):
    rows, contract, known = case
    sets = value_sets(rows, contract.columns, known)
    found = pandera_verdict(rows, contract.columns, sets)
    doubtful = suspects(rows, contract.columns, sets)
    assert set(doubtful) == {broken.column for broken in found}
    positions = sorted({row for broken in found for row in broken.rows.tolist()})
    assert unclear_rows(rows, doubtful, sets).tolist() == positions
