"""Conditions in SQL: what is one, what breaks it, and what it cannot reach."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from batchinf_assets.contracts.sql_rules import rows_breaking, rule_text, table_breaks
from batchinf_assets.errors import FeatureSqlFailed, InvalidSpec
from batchinf_assets.spec.contract import RuleSpec

ROWS = pa.table({"a": [1, 2, None, 5], "b": [2, 2, 2, 2], "text": ["x", "7", "y", None]})


def per_row(sql: str) -> list[int]:
    return rows_breaking(RuleSpec(name="r", sql=sql), ROWS, "snapshot").tolist()


def per_table(sql: str, rows: pa.Table = ROWS) -> bool:
    return table_breaks(RuleSpec(name="r", sql=sql, per="table"), rows, "snapshot")


def test_rows_break_a_condition_that_is_false_and_not_one_that_is_null():
    assert per_row("a < b") == [1, 3]
    assert per_row("a <= b") == [3]
    assert per_row("a IS NOT NULL") == [2]


@pytest.mark.parametrize("sql", ["a < b -- as declared", "a < b /* so */", "(a < b)", "\na\n<\nb"])
def test_a_condition_may_end_in_a_comment_and_span_lines(sql: str):
    assert per_row(sql) == [1, 3]


def test_a_condition_may_list_values_and_call_functions():
    assert per_row("a IN (1, 2, 5) AND length(text) = 1") == []
    assert per_row("text IN ('x', 'y')") == [1]


@pytest.mark.parametrize(
    "sql",
    [
        "true), (false",
        "1) FROM snapshot WHERE (true",
        "true) UNION SELECT (false",
        "true); SELECT (false",
        "*",
    ],
)
@pytest.mark.parametrize("judge", [per_row, per_table])
def test_what_is_more_than_a_condition_is_refused(judge: Callable[[str], object], sql: str):
    with pytest.raises(InvalidSpec, match="Rule 'r' of snapshot"):
        judge(sql)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [("a <", "syntax error"), ("a < b /* open", "unterminated"), ("a b", "error")],
)
def test_what_is_no_expression_is_refused(sql: str, reason: str):
    with pytest.raises(InvalidSpec, match=f"Rule 'r' of snapshot: .*{reason}"):
        per_row(sql)


@pytest.mark.parametrize("sql", [" ", "a, b", "DATE '2013-01-01'"])
def test_what_is_neither_true_nor_false_is_refused(sql: str):
    with pytest.raises(FeatureSqlFailed, match="Rule 'r' of snapshot: Conversion Error"):
        per_row(sql)


def test_a_rule_per_row_sees_no_other_row():
    with pytest.raises(InvalidSpec, match="sees one row"):
        per_row("a > (SELECT avg(a) FROM snapshot)")
    with pytest.raises(FeatureSqlFailed, match="cannot contain window functions"):
        per_row("a > lag(a) OVER ()")
    with pytest.raises(FeatureSqlFailed, match="cannot contain aggregates"):
        per_row("a > avg(a)")


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("nothing > 1", '"nothing" not found'),
        ("text::INTEGER > 1", "Could not convert string 'x'"),
        ("random() > 0.5", "would give other rows another time"),
        ("current_date > DATE '2013-01-01'", "would give other rows another time"),
        ("getenv('HOME') = 'x'", "getenv"),
    ],
)
def test_what_duckdb_refuses_names_rule_and_reason(sql: str, reason: str):
    with pytest.raises(FeatureSqlFailed) as refused:
        per_row(sql)
    assert refused.value.message.startswith("Rule 'r' of snapshot: ")
    assert reason in refused.value.message
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["_row", "position", "row"])
def test_a_rule_cannot_see_where_a_row_stands(name: str):
    with pytest.raises(FeatureSqlFailed, match="not found in FROM clause"):
        rows_breaking(RuleSpec(name="r", sql=f"{name} < 5"), pa.table({"x": ["a"] * 9}), "snapshot")


def test_values_in_a_message_are_escaped_and_cut():
    rows = pa.table({"text": ["<script>" + "x" * 500]})
    with pytest.raises(FeatureSqlFailed) as refused:
        rows_breaking(RuleSpec(name="r", sql="text::INTEGER > 1"), rows, "snapshot")
    assert "<script>" not in str(refused.value)
    assert len(refused.value.message) < 400


def test_a_table_breaks_a_condition_that_is_false_and_not_one_that_is_null():
    assert per_table("count(DISTINCT a) = 2")
    assert not per_table("count(DISTINCT a) = 3")
    assert not per_table("sum(a) > 100", ROWS.slice(0, 0))
    assert per_table("count(*) > 0", ROWS.slice(0, 0))


def test_a_rule_per_table_may_look_at_the_table_again():
    assert not per_table("max(a) = (SELECT max(a) FROM snapshot)")
    assert per_table("(SELECT count(*) FROM snapshot WHERE a > b) = 0")


def test_a_rule_per_table_must_aggregate():
    with pytest.raises(FeatureSqlFailed, match="must appear in the GROUP BY"):
        per_table("a > 1")


def test_a_rule_in_words_is_its_description_or_its_sql_in_one_line():
    assert rule_text(RuleSpec(name="order", sql="a <\n   b")) == "order: a < b"
    described = RuleSpec(name="order", sql="a < b", description="departs before it arrives")
    assert rule_text(described) == "order: departs before it arrives"


def test_a_table_may_be_called_like_a_word_of_sql():
    rule = RuleSpec(name="r", sql="a < b")
    assert rows_breaking(rule, ROWS, "order").tolist() == [1, 3]
