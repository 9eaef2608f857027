"""Rules in SQL, as a pipeline declares them: over one row at a time, or over a whole table.

Who keeps what becomes of a broken rule: `contracts.judge` for rows, `contracts.table_rules` for
tables. The SQL runs where it can reach nothing but the rows (`lake.query`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.checks import quoted as shown
from batchinf_assets.errors import FeatureSqlFailed, InvalidSpec
from batchinf_assets.lake.query import query, quoted, refusal_text
from batchinf_assets.spec.contract import RuleSpec

# With blanks in it no declared column is called like it, and no rule can mean it by accident.
_POSITION = "position of the row"


def rule_text(rule: RuleSpec) -> str:
    """Return the rule in words: its name, and its description or else its SQL, in one line."""
    return f"{rule.name}: {' '.join((rule.description or rule.sql).split())}"


def require_condition(rule: RuleSpec, asset: str) -> None:
    """Require that a rule's SQL is one condition, and sees one row where it is per row.

    Raises:
        InvalidSpec: It is not.
    """
    problem = _problem(rule.sql, rule.per == "row")
    if problem is not None:
        raise InvalidSpec(
            f"Rule '{rule.name}' of {asset}: {problem}.",
            next_step=f"Correct it in defs.yaml: a condition over a {rule.per}'s columns.",
        )


def rows_breaking(rule: RuleSpec, rows: pa.Table, asset: str) -> npt.NDArray[np.int64]:
    """Return the positions of the rows of which a condition is false; NULL breaks nothing.

    Args:
        rule: The rule, per row.
        rows: Conformed rows.
        asset: What they are called, for messages.

    Raises:
        InvalidSpec: The SQL is no condition over one row.
        FeatureSqlFailed: DuckDB refuses it, or cannot evaluate it on a row.
    """
    require_condition(rule, asset)
    positions = pa.array(np.arange(rows.num_rows))
    # DuckDB allows no aggregate and no window function in WHERE.
    sql = f"SELECT {quoted(_POSITION)} FROM {quoted(asset)} WHERE NOT {_condition(rule)}"  # noqa: S608
    found = _run(sql, rule, rows.append_column(_POSITION, positions), asset)
    return np.sort(found.column(0).to_numpy())


def table_breaks(rule: RuleSpec, rows: pa.Table, asset: str) -> bool:
    """Say whether a condition over a whole table is false; NULL breaks nothing.

    Args:
        rule: The rule, per table; it may name the table by its asset, in a subquery.
        rows: Conformed rows.
        asset: What they are called, for messages and for the SQL.

    Raises:
        InvalidSpec: The SQL is no condition.
        FeatureSqlFailed: DuckDB refuses it, such as a column outside an aggregate.
    """
    require_condition(rule, asset)
    # HAVING makes one group of the table, also of one without rows.
    sql = f"SELECT 1 AS broken FROM {quoted(asset)} HAVING NOT {_condition(rule)}"  # noqa: S608
    return _run(sql, rule, rows, asset).num_rows > 0


def _condition(rule: RuleSpec) -> str:
    """Put the condition on lines of its own, should it end in a comment."""
    return f"CAST((\n{rule.sql}\n) AS BOOLEAN)"


def _run(sql: str, rule: RuleSpec, rows: pa.Table, asset: str) -> pa.Table:
    try:
        return query(sql, {asset: rows})
    except duckdb.Error as error:
        raise FeatureSqlFailed(
            f"Rule '{rule.name}' of {asset}: {refusal_text(error)}.",
            next_step=f"Correct it in defs.yaml: a condition over a {rule.per}'s columns.",
        ) from error


@lru_cache(maxsize=256)
def _problem(sql: str, about_one_row: bool) -> str | None:  # noqa: FBT001 - for the cache
    """Say why the SQL is no condition by DuckDB's own syntax tree, or None if it is one."""
    written = query("SELECT json_serialize_sql($1) AS tree", {}, [f"SELECT (\n{sql}\n)"])
    tree = json.loads(written.column("tree")[0].as_py())
    if tree["error"]:
        return shown(f"{tree['error_message']}")
    select = tree["statements"][0]["node"]
    if len(tree["statements"]) > 1 or not _is_one_expression(select):
        return "the SQL must be one condition and nothing else"
    if about_one_row and "SUBQUERY" in set(_classes(select)):
        return "a rule per row sees one row, it cannot contain a SELECT"
    return None


def _is_one_expression(select: dict[str, Any]) -> bool:
    parts = ("where_clause", "having", "qualify", "sample", "group_expressions", "modifiers")
    return (
        select["type"] == "SELECT_NODE"
        and len(select["select_list"]) == 1
        and select["select_list"][0]["class"] != "STAR"
        and select["from_table"]["type"] == "EMPTY"
        and not any(select[part] for part in parts)
    )


def _classes(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for child in node:
            yield from _classes(child)
    elif isinstance(node, dict):
        yield str(node.get("class"))
        for child in node.values():
            yield from _classes(child)
