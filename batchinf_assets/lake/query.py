"""Run SQL over Arrow tables in a DuckDB that can reach nothing else.

DuckDB only computes here. It opens no file and no network, and its settings are locked before any
statement of a user runs.
"""

from __future__ import annotations

import atexit
import json
import re
import tempfile
import threading
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from batchinf_assets.checks import quoted as quoted_text

MEMORY_LIMIT = "2GB"

LONGEST_REFUSAL = 300
"""Characters of what DuckDB says: enough for its kind, and the names that it suggests."""

FEW_ROWS = 65_536
"""Up to here the one copy of the rows that `execute` makes takes less than what `sql` does for it:
it describes the statement first, which takes as long as to run it."""

OF_THE_COPY = "Arrow output on a DB-API result"
"""How DuckDB begins to warn of that copy."""

CLOCK_WORDS = frozenset(
    {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
)
"""What DuckDB reads as a call where no column is called so."""

UNREPEATABLE = CLOCK_WORDS | {
    *("ago", "currval", "current_connection_id", "current_localtime", "current_localtimestamp"),
    *("current_query", "current_query_id", "current_setting", "current_transaction_id"),
    *("gen_random_uuid", "get_current_time", "get_current_timestamp", "nextval", "now"),
    *("pg_conf_load_time", "pg_postmaster_start_time", "random", "setseed", "setval", "sleep_ms"),
    *("today", "transaction_timestamp", "txid_current", "uuid", "uuidv4", "uuidv7", "write_log"),
}
"""Functions whose answer depends on the clock, on chance or on the session."""


class Statement(str):
    """SQL that comes with this package: tests hold it to what a user's is held to when it runs.

    DuckDB takes longer to tell what a small statement is made of than to run it. Whatever is made
    of the text is a plain string again.
    """

    __slots__ = ()


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
        duckdb.Error: The statement is wrong, reaches for something outside, or would give other
            rows another time.
    """
    with _seeing(sql, tables) as connection:
        if sum(table.num_rows for table in tables.values()) <= FEW_ROWS:
            _ignore(OF_THE_COPY)
            return connection.execute(sql, parameters).to_arrow_table()
        return connection.sql(sql, params=parameters).to_arrow_table()


def _ignore(warning: str) -> None:
    """Ignore a warning for good; Dagster takes back what modules filter while it loads them."""
    known = ("ignore", re.compile(warning, re.IGNORECASE), UserWarning, None, 0)
    if known not in warnings.filters:
        warnings.filterwarnings("ignore", warning, UserWarning)


def query_records(
    sql: str,
    tables: Mapping[str, pa.Table],
    parameters: dict[str, object] | list[object] | None = None,
) -> list[dict[str, Any]]:
    """Run one SELECT of a few rows and return them, each by column; like `query` in all else.

    DuckDB describes an Arrow result before it runs the statement, and a long one takes as long to
    describe as to run.
    """
    with _seeing(sql, tables) as connection:
        found = connection.execute(sql, parameters)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def open_database() -> None:
    """Open the process's database where that was not done: for a thread that has time for it."""
    _locked()


@contextmanager
def _seeing(sql: str, tables: Mapping[str, pa.Table]) -> Generator[duckdb.DuckDBPyConnection]:
    if not isinstance(sql, Statement):
        require_one_repeatable_select(sql)
    with _locked().cursor() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        yield connection


def _locked() -> duckdb.DuckDBPyConnection:
    with _OPENING:  # or two threads that come first open two
        return _database()


_OPENING = threading.Lock()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """Open the process's database once: that takes ten times as long as a small query.

    It stays empty. Each query has a connection of its own, and what that registers is its own too.
    """
    connection = duckdb.connect(":memory:", config=_settings())
    atexit.register(_database.cache_clear)  # or the interpreter complains of it on its way out
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


@lru_cache(maxsize=256)
def require_one_repeatable_select(sql: str) -> None:
    """Require that SQL is one SELECT that gives the same rows another time.

    Raises:
        duckdb.Error: It is not.
    """
    with _locked().cursor() as connection:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise duckdb.InvalidInputException("the SQL must be exactly one SELECT")
        written = connection.execute("SELECT json_serialize_sql($1)", [sql]).fetchall()[0][0]
    found = sorted(set(_unrepeatable(json.loads(written))))
    if found:
        raise duckdb.InvalidInputException(
            f"{', '.join(found)} would give other rows another time; the same input must give the "
            "same rows"
        )


def _unrepeatable(node: Any) -> Iterator[str]:
    """Walk DuckDB's own syntax tree, where a name in a comment or a string is no call."""
    if isinstance(node, list):
        for child in node:
            yield from _unrepeatable(child)
    elif isinstance(node, dict):
        name = node.get("function_name")
        if name in UNREPEATABLE or (name == "age" and len(node["arguments"]) == 1):
            yield f"{name}()"
        path = [word.lower() for word in node.get("column_names", ())]
        if len(path) == 1:
            yield from CLOCK_WORDS & {*path}
        if node.get("sample") and not node["sample"]["repeatable"]:
            yield "a sample without REPEATABLE"
        for child in node.values():
            yield from _unrepeatable(child)


def refusal_text(error: duckdb.Error) -> str:
    """Return what DuckDB says in one short line that is safe wherever it is shown.

    It quotes values: they may be foreign, and long.
    """
    said = " ".join(str(error).partition("\nLINE ")[0].split()).rstrip(".")
    return quoted_text(said, longest=LONGEST_REFUSAL)


def sql_beside(module_file: str, name: str) -> Statement:
    """Read the SQL file `name` that stands beside a module of this package."""
    return Statement((Path(module_file).parent / name).read_text(encoding="utf-8"))


def quoted(name: str) -> str:
    """Quote a column or table name for use in SQL."""
    return '"' + name.replace('"', '""') + '"'


def _settings() -> dict[str, str | bool | int | float | list[str]]:
    return {
        "memory_limit": MEMORY_LIMIT,
        # What does not fit is spilled there; DuckDB's own choice is the folder that we stand in.
        "temp_directory": str(Path(tempfile.gettempdir()) / "batchinf-duckdb"),
        "threads": 1,  # float sums must not depend on which thread comes first
        "autoload_known_extensions": False,
        "autoinstall_known_extensions": False,
        "python_enable_replacements": False,
    }
