"""Run SQL over Arrow tables in a DuckDB that can reach nothing else.

DuckDB only computes here. It opens no file and no network, and its settings are locked before any
statement of a user runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

MEMORY_LIMIT = "2GB"


def query(
    sql: str,
    tables: Mapping[str, pa.Table],
    parameters: dict[str, object] | list[object] | None = None,
) -> pa.Table:
    """Run one SELECT and return its rows.

    Args:
        sql: The statement; it sees `tables` under their names and nothing else.
        tables: Arrow tables by view name.
        parameters: Values for `$name` or `?` placeholders.

    Raises:
        duckdb.Error: The statement is wrong or reaches for something outside.
    """
    with duckdb.connect(":memory:", config=_settings()) as connection:
        connection.execute("SET enable_external_access = false")
        for name, table in tables.items():
            connection.register(name, table)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET lock_configuration = true")
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise duckdb.InvalidInputException("the SQL must be exactly one SELECT")
        return connection.sql(sql, params=parameters).to_arrow_table()


def sql_beside(module_file: str, name: str) -> str:
    """Read the SQL file `name` that stands beside a module."""
    return (Path(module_file).parent / name).read_text(encoding="utf-8")


def quoted(name: str) -> str:
    """Quote a column or table name for use in SQL."""
    return '"' + name.replace('"', '""') + '"'


def _settings() -> dict[str, str | bool | int | float | list[str]]:
    return {
        "memory_limit": MEMORY_LIMIT,
        "threads": 1,  # float sums must not depend on which thread comes first
        "autoload_known_extensions": False,
        "autoinstall_known_extensions": False,
        "python_enable_replacements": False,
    }
