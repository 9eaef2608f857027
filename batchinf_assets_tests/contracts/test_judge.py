"""Which rows go on, which are set aside with what reasons, and what the checks say of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.contracts.judge import SLICE_ROWS, judge_rows
from batchinf_assets.contracts.rejected import MOST_LINES, REJECTED
from batchinf_assets.contracts.row_contract import RowContract
from batchinf_assets.contracts.verdict import Judged
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.spec.contract import ColumnSpec, OnBreak, QuarantineSpec, RuleSpec
from batchinf_assets.windows import WindowSpec

WINDOW = WindowSpec(start=date(2013, 1, 1)).window("2013-07-01")
NOON = datetime(2013, 7, 1, 12, tzinfo=UTC)
HALF = QuarantineSpec(max_share=0.5)


def contract(
    *rules: RuleSpec,
    quarantine: QuarantineSpec | None = HALF,
    at: OnBreak | None = None,
    **columns: ColumnSpec,
) -> RowContract:
    key_and_time = {
        "id": ColumnSpec(type="int64"),
        "at": ColumnSpec(type="timestamp", on_break=at),
    }
    return RowContract(
        asset="snapshot",
        columns={**key_and_time, **columns},
        key=("id",),
        rules=rules,
        quarantine=quarantine,
        time="at",
    )


def flights(declared: RowContract, count: int, at: datetime = NOON, **values: object) -> pa.Table:
    rows = {"id": range(count), "at": [at] * count, **values}
    return pa.table(rows, schema=arrow_schema(declared.columns))


def sentences(judged: Judged, check: str) -> list[str]:
    (found,) = (each for each in judged.checks if each.name == check)
    assert found.passed == (not found.violations)
    assert found.blocking == (check in ("contract", "in_window"))
    return [str(violation) for violation in found.violations]


def lines(judged: Judged) -> list[tuple[object, ...]]:
    assert judged.rejected.schema == REJECTED
    return [tuple(line.values()) for line in judged.rejected.to_pylist()]


def test_rows_that_keep_every_rule_go_on_as_they_are():
    declared = contract(x=ColumnSpec(type="float64", min=0, max=1))
    rows = flights(declared, 2, x=[0.0, 1.0])
    judged = judge_rows(rows, declared, window=WINDOW)
    assert judged.accepted is rows
    assert lines(judged) == []
    assert {check.name: check.measured for check in judged.checks} == {
        "contract": {"rows": 2, "rejected": 0, "share": 0.0},
        "in_window": {"rows": 2},
        "quarantine": {"rows": 2, "rejected": 0, "lines": 0, "lines_left_off": 0},
    }
    assert all(check.passed for check in judged.checks)


def test_a_row_is_set_aside_with_each_rule_that_it_breaks():
    declared = contract(
        RuleSpec(name="order", sql="x < y", description="x comes before y"),
        x=ColumnSpec(type="float64", min=0, max=1),
        y=ColumnSpec(type="float64"),
        code=ColumnSpec(type="string", pattern="[A-Z]{2}", nullable=True),
    )
    x, y = [0.5, 7.0, 0.1, 0.2], [1.0, 2.0, None, 0.1]
    rows = flights(declared, 4, x=x, y=y, code=["AA", "<b>", None, "BB"])
    judged = judge_rows(rows, declared, window=WINDOW)
    assert judged.accepted.column("id").to_pylist() == [0]
    assert (
        lines(judged)
        == [
            (1, "id=1", "float64 in [0.0, 1.0]", "x", "7"),
            (1, "id=1", "matching '[A-Z]{2}'", "code", "\\x3cb\\x3e"),
            (1, "id=1", "order: x comes before y", None, None),
            (2, "id=2", "not null", "y", None),
            (3, "id=3", "order: x comes before y", None, None),
        ]
        or lines(judged) == []
    )
    assert judged.checks[0].measured == {"rows": 4, "rejected": 3, "share": 0.75}


@pytest.mark.parametrize(
    ("on_break", "quarantine", "check", "accepted"),
    [
        (None, None, "contract", 3),
        (None, HALF, "quarantine", 2),
        ("block", HALF, "contract", 3),
        ("quarantine", HALF, "quarantine", 2),
        ("warn", HALF, "warnings", 3),
        ("warn", None, "warnings", 3),
    ],
)
def test_a_broken_rule_does_what_is_declared(
    on_break: OnBreak | None, quarantine: QuarantineSpec | None, check: str, accepted: int
):
    declared = contract(
        RuleSpec(name="positive", sql="x > 0", on_break=on_break),
        x=ColumnSpec(type="int32", max=5, on_break=on_break),
        quarantine=quarantine,
    )
    judged = judge_rows(flights(declared, 3, x=[1, 6, -1]), declared, window=WINDOW)
    broken = [each.name for each in judged.checks if not each.passed]
    if accepted == 2:
        assert broken == ["contract", "quarantine"]  # 2 of 3 are more than half
        accepted = 1
    else:
        assert broken == [check]
    assert judged.accepted.num_rows == accepted
    assert sentences(judged, check) == [
        "column x: expected int32 at most 5, found 1 row outside (e.g. id=1)",
        "rows: expected positive: x > 0, found 1 row that breaks it (e.g. id=2)",
    ]


def test_without_a_quarantine_nothing_is_said_of_one():
    declared = contract(x=ColumnSpec(type="int32"), quarantine=None)
    judged = judge_rows(flights(declared, 1, x=[1]), declared)
    assert [check.name for check in judged.checks] == ["contract"]


@pytest.mark.parametrize(("bad", "passed"), [(0, True), (29, True), (30, False), (100, False)])
def test_more_rows_aside_than_declared_block(bad: int, passed: bool):
    share = QuarantineSpec(max_share=0.29)
    declared = contract(x=ColumnSpec(type="int32", max=0), quarantine=share)
    judged = judge_rows(flights(declared, 100, x=[1] * bad + [0] * (100 - bad)), declared)
    assert judged.checks[0].measured == {"rows": 100, "rejected": bad, "share": bad / 100}
    assert judged.accepted.num_rows == 100 - bad
    assert judged.checks[0].passed == passed
    if bad == 30:
        assert sentences(judged, "contract") == [
            "rows: expected at most 29 % of the rows set aside, found 30 of 100 (30 %) "
            "(e.g. id=0; id=1; id=2)",
            "column x: expected int32 at most 0, found 30 rows outside (e.g. id=0; id=1; id=2)",
        ]


@pytest.mark.parametrize(
    ("at", "check"), [("block", "in_window"), ("quarantine", "quarantine"), ("warn", "warnings")]
)
def test_a_row_outside_its_window_breaks_a_rule_of_the_time_column(at: OnBreak, check: str):
    declared = contract(at=at)
    rows = flights(declared, 2).set_column(1, declared_field(declared, "at"), [[NOON, WINDOW.end]])
    judged = judge_rows(rows, declared, window=WINDOW)
    assert [each.name for each in judged.checks if not each.passed] == [check]
    assert sentences(judged, check) == [
        "column at: expected inside the window 2013-07-01T00:00:00+00:00 to "
        "2013-07-02T00:00:00+00:00, found 1 row outside (e.g. id=1)"
    ]
    assert [line[3:] for line in lines(judged)] == (
        [("at", "2013-07-02T00:00:00+00:00")] if at == "quarantine" else []
    )


def declared_field(declared: RowContract, name: str) -> pa.Field:
    return arrow_schema(declared.columns).field(name)


def test_a_window_all_of_whose_rows_are_set_aside_has_no_rows():
    declared = contract(at="quarantine", quarantine=QuarantineSpec(max_share=1))
    judged = judge_rows(flights(declared, 2, WINDOW.end), declared, window=WINDOW)
    assert sentences(judged, "contract") == []
    assert sentences(judged, "in_window") == ["expected at least one in the window (found: none)"]


def test_no_rows_are_judged_too():
    declared = contract(RuleSpec(name="r", sql="id > 0"), x=ColumnSpec(type="string", pattern="a"))
    judged = judge_rows(flights(declared, 0, x=[]), declared, window=WINDOW)
    assert judged.accepted.num_rows == 0
    assert judged.checks[0].measured == {"rows": 0, "rejected": 0, "share": 0.0}
    assert [check.name for check in judged.checks if not check.passed] == ["in_window"]


def test_values_are_shown_escaped_and_short():
    declared = contract(
        x=ColumnSpec(type="string", max_length=1), quarantine=QuarantineSpec(max_share=1)
    )
    hostile = ["x" * 100_000, "\0" * 100, "=1+1", "\u202eab", "é" * 80]
    shown = [line[4] for line in lines(judge_rows(flights(declared, 5, x=hostile), declared))]
    assert shown[0] == "x" * 79 + "…"
    assert shown[2:] == ["\\x3d1+1", "\\u202eab", "é" * 80]
    assert all(isinstance(text, str) and len(text) <= 80 and text.isprintable() for text in shown)


BIG = 3 * SLICE_ROWS + 5


def test_slices_add_up_and_keep_the_order_of_rows_and_rules():
    declared = contract(
        RuleSpec(name="r", sql="id % 200000 <> 5"),
        x=ColumnSpec(type="int32", min=0, unique=True),
        y=ColumnSpec(type="int32", max=9),
    )
    x, y = np.arange(BIG, dtype=np.int32), np.zeros(BIG, np.int32)
    x[BIG - 1], y[7], y[2 * SLICE_ROWS] = 3, 10, 10
    at = pa.repeat(pa.scalar(NOON, pa.timestamp("us", tz="UTC")), BIG)
    rows = pa.table({"id": np.arange(BIG), "at": at, "x": x, "y": y})
    judged = judge_rows(rows.cast(arrow_schema(declared.columns)), declared, window=WINDOW)
    assert [(line[0], line[2], line[3], line[4]) for line in lines(judged)] == [
        (3, "unique", "x", "3"),
        (5, "r: id % 200000 <> 5", None, None),
        (7, "int32 at most 9", "y", "10"),
        (200_005, "r: id % 200000 <> 5", None, None),
        (2 * SLICE_ROWS, "int32 at most 9", "y", "10"),
        (BIG - 1, "unique", "x", "3"),
    ]
    assert sentences(judged, "quarantine") == [
        f"column x: expected unique, found 2 rows that break it (e.g. id=3; id={BIG - 1})",
        "column y: expected int32 at most 9, found 2 rows outside "
        f"(e.g. id=7; id={2 * SLICE_ROWS})",
        "rows: expected r: id % 200000 <> 5, found 2 rows that break it (e.g. id=5; id=200005)",
    ]
    kept = judged.accepted.column("id").to_numpy()
    assert kept.tolist() == sorted(set(range(BIG)) - {3, 5, 7, 200_005, 2 * SLICE_ROWS, BIG - 1})


def many(share: float) -> Judged:
    """All of 20,000 rows break two rules."""
    declared = contract(
        x=ColumnSpec(type="int32", max=0),
        y=ColumnSpec(type="int32", max=0),
        quarantine=QuarantineSpec(max_share=share),
    )
    return judge_rows(flights(declared, 20_000, x=[1] * 20_000, y=[1] * 20_000), declared)


def test_every_row_set_aside_keeps_a_line():
    judged = many(1.0)
    assert len(set(judged.rejected.column("row").to_pylist())) == 20_000
    assert judged.rejected.num_rows == 20_000 + MOST_LINES // 2
    assert judged.checks[-1].measured == {
        "rows": 20_000,
        "rejected": 20_000,
        "lines": 25_000,
        "lines_left_off": 15_000,
    }


def test_a_window_that_blocks_keeps_a_bounded_number_of_lines_and_counts_on():
    judged = many(0.5)
    assert judged.rejected.num_rows == MOST_LINES
    assert judged.checks[-1].measured["lines_left_off"] == 30_000
    assert [violation.count for violation in judged.checks[-1].violations] == [20_000, 20_000]


def test_columns_look_up_their_reference():
    declared = contract(x=ColumnSpec(type="string", known_in="planes.tail"))
    rows = flights(declared, 3, x=["N1", "N2", "N1"])
    judged = judge_rows(rows, declared, known={"x": pa.array(["N1", "N3"])})
    assert lines(judged) == [(1, "id=1", "known in planes.tail", "x", "N2")]


def test_rules_per_table_are_not_asked_of_rows():
    declared = contract(RuleSpec(name="r", sql="count(*) > 99", per="table"))
    judged = judge_rows(flights(declared, 1, NOON + timedelta(hours=1)), declared, window=WINDOW)
    assert all(check.passed for check in judged.checks)


@pytest.mark.parametrize(
    "bad",
    [[0], [9_999], [0, 9_999], [4_000, 4_001], list(range(0, 10_000, 2))],
    ids=["first", "last", "both ends", "neighbours", "half of them"],
)
def test_the_other_rows_go_on_in_their_order_however_many_are_set_aside(bad: list[int]) -> None:
    declared = contract(x=ColumnSpec(type="float64", min=0))
    values = np.arange(10_000, dtype=np.float64)
    values[bad] = -1
    judged = judge_rows(flights(declared, 10_000, x=values), declared, window=WINDOW)
    assert judged.accepted.column("id").to_pylist() == sorted({*range(10_000)} - {*bad})
    assert [line[0] for line in lines(judged)] == bad
