"""Queries: they see the given tables, and nothing else of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import batchinf_assets
from batchinf_assets.lake.query import (
    query,
    quoted,
    require_one_repeatable_select,
    sql_beside,
)

TIMES = pa.timestamp("us", tz="UTC")
FLIGHTS = pa.table({"carrier": ["AA", "UA", "AA"], "delay": [10.0, None, 20.0]})


def ask(sql: str, **tables: pa.Table) -> list[dict[str, object]]:
    return query(sql, {"flights": FLIGHTS, **tables}).to_pylist()


PACKAGE = Path(batchinf_assets.__file__).parent


def test_nobody_is_warned_of_the_copy_of_few_rows_once_a_filter_was_taken_back() -> None:
    for _ in "as a code server loads it", "and works with it":
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            ask("SELECT delay FROM flights")
        assert heard == []


def test_a_query_sees_the_given_tables_by_name() -> None:
    carriers = pa.table({"carrier": ["AA"], "name": ["American"]})
    found = ask("SELECT name, delay FROM flights JOIN carriers USING (carrier)", carriers=carriers)
    assert sorted(row["delay"] for row in found) == [10.0, 20.0]


def test_named_and_positional_parameters_are_values_and_no_sql() -> None:
    by_name = query("SELECT $x AS x", {}, {"x": "'; DROP TABLE t"})
    assert by_name.to_pylist() == [{"x": "'; DROP TABLE t"}]
    assert query("SELECT ? + 1 AS x", {}, [1]).to_pylist() == [{"x": 2}]


def test_an_interval_can_be_a_parameter() -> None:
    sql = "SELECT TIMESTAMPTZ '2013-01-01 00:00:00+00' - CAST($lag AS INTERVAL) AS t"
    (row,) = query(sql, {}, {"lag": timedelta(minutes=90)}).to_pylist()
    assert row["t"].astimezone(UTC) == datetime(2012, 12, 31, 22, 30, tzinfo=UTC)


def test_timestamps_are_read_in_utc_whatever_the_machine_is_set_to() -> None:
    # In a process of its own: the zone of this one was read when it started.
    code = """
from batchinf_assets.lake.query import query
sql = "SELECT hour(t) AS h, CAST(t AS VARCHAR) AS v FROM (SELECT TIMESTAMPTZ '2013-07-01 23:00Z' t)"
print(query(sql, {}).to_pylist())
"""
    environment = {**os.environ, "TZ": "Asia/Kolkata"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[{'h': 23, 'v': '2013-07-01 23:00:00+00'}]\n"


def test_a_file_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.parquet"
    pq.write_table(FLIGHTS, path)
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for reader in (
        f"read_parquet('{path}')",
        f"parquet_metadata('{path}')",
        f"read_csv('{tmp_path}/secret.csv')",
        f"read_text('{tmp_path}/secret.csv')",
        f"glob('{tmp_path}/*')",
        f"'{path}'",
    ):
        with pytest.raises(duckdb.PermissionException):
            ask(f"SELECT * FROM {reader}")


@pytest.mark.parametrize(
    "sql",
    [
        "COPY flights TO '{}/out.csv'",
        "ATTACH '{}/db.duckdb' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "PRAGMA database_list",
        "CREATE TABLE t AS SELECT 1",
        "DELETE FROM flights",
        "SELECT 1; SELECT 2",
        "SET threads = 4; SELECT 1",
        "",
        "-- nothing",
    ],
)
def test_anything_but_one_select_is_refused(tmp_path: Path, sql: str) -> None:
    with pytest.raises(duckdb.Error):
        ask(sql.replace("{}", str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_variables_of_the_calling_code_are_not_tables() -> None:
    # DuckDB would look for `table` in the function that calls it, where it is the last one given.
    with pytest.raises(duckdb.CatalogException, match="table"):
        ask('SELECT * FROM "table"')


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT now()",
        "SELECT current_date",
        "SELECT CURRENT_TIMESTAMP",
        "SELECT main.random()",
        "SELECT list_transform([1], lambda x: x + random())",
        "WITH drawn AS (SELECT uuid() AS id FROM flights) SELECT * FROM drawn",
        "SELECT age(TIMESTAMP '2013-07-01')",
        "SELECT * FROM flights USING SAMPLE 1",
        "SELECT * FROM flights ORDER BY random() LIMIT 1",
        "SELECT 'now'::TIMESTAMP",
    ],
)
def test_sql_that_would_give_other_rows_another_time_is_refused(sql: str) -> None:
    with pytest.raises(duckdb.Error):
        ask(sql)


def test_a_name_like_a_clocks_in_text_or_comment_is_no_clock() -> None:
    assert ask("SELECT 'now()' AS t /* random() */ FROM flights LIMIT 1") == [{"t": "now()"}]
    clocks = pa.table({"current_delay": [1], "today": [2]})
    assert ask("SELECT today + current_delay AS x FROM clocks", clocks=clocks) == [{"x": 3}]


def test_one_query_leaves_nothing_for_the_next() -> None:
    ask("SELECT * FROM extra", extra=FLIGHTS)
    with pytest.raises(duckdb.CatalogException, match="extra"):
        ask("SELECT * FROM extra")


def test_nulls_and_types_come_back_as_they_went_in() -> None:
    values = pa.table(
        {
            "i": pa.array([1, None], pa.int32()),
            "f": pa.array([0.5, None], pa.float32()),
            "t": pa.array([datetime(2013, 7, 1, 0, 0, 0, 1, tzinfo=UTC), None], TIMES),
        }
    )
    assert query("SELECT * FROM v", {"v": values}).to_pydict() == values.to_pydict()
    assert query("SELECT * FROM v", {"v": values}).schema.field("i").type == pa.int32()


def test_a_sum_of_floats_has_the_same_bits_every_time() -> None:
    values = pa.table(
        {"x": [0.1 * n for n in range(400_000)], "g": [n % 7 for n in range(400_000)]}
    )
    sums = {
        str(query("SELECT g, sum(x) AS s FROM v GROUP BY g ORDER BY g", {"v": values}).to_pydict())
        for _ in range(3)
    }
    assert len(sums) == 1


@pytest.mark.parametrize("name", ["order", 'a"b', "x; DROP TABLE y", "ü"])
def test_a_quoted_name_is_a_name_whatever_it_holds(name: str) -> None:
    table = pa.table({name: [7]})
    assert query(f"SELECT {quoted(name)} AS x FROM t", {"t": table}).to_pylist() == [{"x": 7}]


def test_sql_beside_a_module_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.sql").write_text("SELECT 'ü'", encoding="utf-8")
    assert sql_beside(str(tmp_path / "module.py"), "x.sql") == "SELECT 'ü'"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*/sql/*.sql")), ids=lambda path: path.name)
def test_sql_of_the_package_keeps_what_a_users_must_keep(path: Path) -> None:
    require_one_repeatable_select(path.read_text(encoding="utf-8"))


def test_what_is_made_of_the_packages_sql_is_held_to_the_same_again() -> None:
    statement = sql_beside(str(PACKAGE / "evaluation" / "statements.py"), "sql/distances.sql")
    with pytest.raises(duckdb.InvalidInputException, match="random"):
        query(f"SELECT random() FROM ({statement})", {})
