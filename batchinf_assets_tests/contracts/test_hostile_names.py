"""Names that would be SQL, a path or markup somewhere, and SQL that would reach out of its views.

What is refused elsewhere already: names of features and references (`test_spec`), keys off the grid
(`test_windows`), revisions (`cli.test_windows`), most of SQL (`lake.test_query`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner
from pydantic import ValidationError

from batchinf_assets.cli import main
from batchinf_assets.console import one_line
from batchinf_assets.contracts.columns import check_columns, check_new_columns
from batchinf_assets.contracts.judge import judge_rows
from batchinf_assets.contracts.row_contract import RowContract
from batchinf_assets.contracts.table_rules import check_table_rules
from batchinf_assets.errors import (
    BatchinfError,
    InvalidSpec,
    LandedFileMissing,
    UnknownPipeline,
    UnknownWindow,
)
from batchinf_assets.lake.query import query
from batchinf_assets.snapshots.landing import Landing
from batchinf_assets.spec.contract import ColumnSpec, LimitsSpec, RuleSpec
from batchinf_assets.spec.load import DEFS_FOLDER, load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import WindowSpec

LONG = "x" * 300
NAMES = {
    "SQL": "x'; DROP TABLE snapshot; --",
    "quoted SQL": 'x" FROM snapshot; --',
    "parent": "../x",
    "only the parent": "..",
    "absolute": "/etc/passwd",
    "backslashes": "..\\..\\x",
    "folder": "a/b",
    "NUL": "a\0b",
    "300 characters": LONG,
    "nothing": "",
    "blank": " ",
    "line end": "name\n",
    "terminal codes": "a\x1b[2J",
    "markup": "<b>[bold]x[/nope]</b>",
    "right to left": "\u202ename",
    "another alphabet": "нame",
}
FEW = ("SQL", "parent", "absolute", "NUL", "300 characters", "terminal codes")
PATHS = {name: NAMES[name] for name in ("parent", "only the parent", "absolute", "NUL", "nothing")}

hostile = pytest.mark.parametrize("name", NAMES.values(), ids=list(NAMES))


def is_one_plain_line(message: str) -> bool:
    return message.isprintable() and len(message) < 1000


@hostile
def test_no_pipeline_is_called_so(name: str) -> None:
    with pytest.raises(UnknownPipeline):
        load_pipeline(name)


@hostile
@pytest.mark.parametrize("every", ["hour", "day", "week", "month"])
def test_no_window_is_called_so(name: str, every: str) -> None:
    windows = WindowSpec.model_validate({"every": every, "start": first_day(every)})
    with pytest.raises(UnknownWindow):
        windows.window(name)


def first_day(every: str) -> date:
    return date(2013, 9, 1) if every in ("week", "month") else date(2013, 1, 1)


@pytest.mark.parametrize("name", [NAMES[name] for name in FEW], ids=FEW)
@pytest.mark.parametrize(
    "command",
    [
        ("run", "{}", "2013-07-01"),
        ("run", "flight_delays", "{}"),
        ("manifest", "flight_delays", "{}"),
        ("verify", "flight_delays", "{}"),
        ("status", "{}"),
        ("backfill", "run", "flight_delays", "--from", "2013-07-01", "--to", "{}"),
        ("backfill", "plan", "flight_delays", "--from", "{}"),
        ("approve", "flight_delays", "{}", "--reason", "x"),
        ("contract", "check", "{}", "2013-07-01.parquet"),
        ("contract", "check", "flight_delays", "{}"),
        ("contract", "check", "flight_delays", "x.parquet", "--window", "{}"),
    ],
    ids=" ".join,
)
def test_commands_refuse_them_in_one_line_as_wrong_use(
    command: tuple[str, ...], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHINF_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("BATCHINF_LANDING", str(tmp_path / "landing"))
    result = CliRunner().invoke(main, [word.replace("{}", name) for word in command])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("batchinf: ")
    assert is_one_plain_line(line)
    assert list(tmp_path.iterdir()) == []


@cache
def declared() -> dict[str, Any]:
    text = (DEFS_FOLDER / "flight_delays" / "defs.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The demo's declaration, changed in one place."""
    document = copy.deepcopy(declared())
    change(document["attributes"])
    return document


def also(part: dict[str, Any], name: str, value: object) -> None:
    part[name] = value


PLACES: dict[str, Callable[[dict[str, Any], str], object]] = {
    "name": lambda spec, name: also(spec, "name", name),
    "team": lambda spec, name: also(spec, "team", name),
    "source column": lambda spec, name: also(spec["source"]["columns"], name, {"type": "string"}),
    "source key": lambda spec, name: spec["source"]["key"].append(name),
    "source time": lambda spec, name: also(spec["source"], "time", name),
    "freshness": lambda spec, name: also(
        spec["source"], "freshness", {"column": name, "within": "PT3H"}
    ),
    "rule": lambda spec, name: also(
        spec["source"], "rules", [{"name": name, "sql": "distance > 0"}]
    ),
    "known_in": lambda spec, name: also(
        spec["source"]["columns"]["carrier"], "known_in", f"planes.{name}"
    ),
    "outcome column": lambda spec, name: also(
        spec["outcomes"]["columns"], name, {"type": "string"}
    ),
    "known_at": lambda spec, name: also(spec["outcomes"], "known_at", name),
    "reference column": lambda spec, name: also(
        spec["references"]["planes"]["columns"], name, {"type": "string"}
    ),
    "as_of match": lambda spec, name: also(spec["references"]["weather"]["as_of"], "match", [name]),
    "output column": lambda spec, name: also(
        spec["postprocess"]["columns"], name, {"type": "string"}
    ),
    "model": lambda spec, name: also(spec["model"], "name", name),
    "alias": lambda spec, name: also(spec["model"], "alias", name),
}


@hostile
@pytest.mark.parametrize("place", PLACES)
def test_a_declaration_with_such_a_name_is_refused(place: str, name: str) -> None:
    document = changed(lambda spec: PLACES[place](spec, name))
    with pytest.raises(ValidationError):
        PipelineSpec.model_validate(document["attributes"])


@pytest.mark.parametrize("name", [NAMES[name] for name in FEW], ids=FEW)
def test_a_declared_name_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    document = changed(lambda spec: PLACES["source column"](spec, name))
    folder = tmp_path / "flight_delays"
    folder.mkdir()
    (folder / "defs.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(InvalidSpec, match=r"flight_delays/defs\.yaml: source\.columns") as refused:
        load_pipeline("flight_delays", tmp_path)
    assert is_one_plain_line(one_line(str(refused.value)))


PATH_PLACES: dict[str, tuple[str, ...]] = {
    "source files": ("source", "files"),
    "outcome files": ("outcomes", "files"),
    "reference": ("references", "planes", "file"),
    "features": ("features", "sql"),
    "postprocess": ("postprocess", "sql"),
    "training": ("model", "training", "script"),
    "golden set": ("golden", "file"),
}


@pytest.mark.parametrize("value", PATHS.values(), ids=list(PATHS))
@pytest.mark.parametrize("place", PATH_PLACES)
def test_a_declaration_with_a_path_out_of_its_folder_is_refused(place: str, value: str) -> None:
    *parents, last = PATH_PLACES[place]
    path = f"{value}/{{window}}.parquet" if last == "files" else value

    def change(spec: dict[str, Any]) -> None:
        part = spec
        for parent in parents:
            part = part[parent]
        part[last] = path

    with pytest.raises(ValidationError, match=r"relative path without '\.\.'"):
        PipelineSpec.model_validate(changed(change)["attributes"])


def test_a_path_too_long_for_any_file_is_one_that_has_not_landed(tmp_path: Path) -> None:
    landing = Landing(tmp_path, "landing")
    with pytest.raises(LandedFileMissing, match="has not landed"):
        landing.read(f"{LONG}.parquet", limits=LimitsSpec(), columns={})


COLUMNS = {
    "id": ColumnSpec(type="int64"),
    "at": ColumnSpec(type="timestamp"),
    "text": ColumnSpec(type="string"),
}
ROWS = pa.table(
    {
        "id": pa.array([1, 2]),
        "at": pa.array([datetime(2013, 7, 1, tzinfo=UTC)] * 2, pa.timestamp("us", tz="UTC")),
        "text": ["x", "y"],
    }
)


@pytest.mark.parametrize("name", [name for name in NAMES.values() if name], ids=ascii)
def test_a_landed_column_may_be_called_anything_and_is_named_harmlessly(name: str) -> None:
    rows = ROWS.append_column(name, ROWS["text"])
    assert check_columns(rows, COLUMNS, asset="snapshot").passed
    for found in (
        check_new_columns(rows, COLUMNS, asset="snapshot"),
        check_columns(rows.drop_columns(["text"]), COLUMNS, asset="snapshot"),
    ):
        assert not found.passed
        for violation in found.violations:
            assert is_one_plain_line(str(violation))
            assert "<" not in str(violation)


REACHING = [
    "(SELECT count(*) FROM read_parquet('/etc/passwd')) > 0",
    "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0",
    "(SELECT content FROM read_text('/etc/passwd')) <> ''",
    "(SELECT content FROM read_blob('/etc/passwd')) IS NULL",
    "(SELECT count(*) FROM read_json('/etc/passwd')) > 0",
    "(SELECT count(*) FROM sniff_csv('/etc/passwd')) > 0",
    "(SELECT count(*) FROM glob('/*')) > 0",
    "(SELECT count(*) FROM '/etc/passwd.csv') > 0",
    "(SELECT count(*) FROM 'https://example.com/x.parquet') > 0",
    "(SELECT count(*) FROM 's3://bucket/x.parquet') > 0",
    "(SELECT count(*) FROM duckdb_secrets()) > 0",
    "(SELECT count(*) FROM other_table) > 0",
    "getenv('HOME') <> ''",
    "random() > 0.5",
    "now() > at",
    "true; SELECT 1",
    "true); COPY (SELECT 1) TO '/tmp/canary.csv'; SELECT (1",
    "1) FROM read_text('/etc/passwd') WHERE (1 = 1",
    "count(*) FROM (SELECT 1)) WHERE (true",
    "--",
    "/*",
]
CANARY = Path("/tmp/canary.csv")


def judge_by(rule: RuleSpec) -> None:
    contract = RowContract(asset="snapshot", columns=COLUMNS, key=("id",), rules=(rule,))
    judge_rows(ROWS, contract)
    check_table_rules(ROWS, [rule], asset="snapshot")


@pytest.mark.parametrize("sql", REACHING, ids=str)
@pytest.mark.parametrize("per", ["row", "table"])
def test_a_rule_reaches_nothing_but_its_rows(per: str, sql: str) -> None:
    rule = RuleSpec.model_validate({"name": "hostile", "sql": sql, "per": per})
    with pytest.raises(BatchinfError, match="Rule 'hostile' of snapshot: ") as refused:
        judge_by(rule)
    assert is_one_plain_line(str(refused.value))
    assert not CANARY.exists()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM read_json('/etc/passwd')",
        "SELECT * FROM read_ndjson_objects('/etc/passwd')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM parquet_schema('/etc/passwd')",
        "SELECT * FROM 'https://example.com/x.parquet'",
        "SELECT * FROM 's3://bucket/x.parquet'",
        "SELECT * FROM postgres_scan('host=localhost', 'public', 't')",
        "SELECT * FROM sqlite_scan('/tmp/x.db', 't')",
        "SELECT * FROM (COPY rows TO '/tmp/canary.csv')",
        "SELECT getenv('HOME')",
        "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
        "SELECT * FROM query_table('/etc/passwd')",
        "FROM (PRAGMA version)",
        "PRAGMA enable_external_access",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "SET VARIABLE x = 1",
        "RESET enable_external_access",
        "SET SESSION enable_external_access = true",
        "EXPORT DATABASE '/tmp/canary.csv'",
        "IMPORT DATABASE '/tmp'",
        "ATTACH ':memory:' AS other",
        "USE memory",
        "LOAD '/tmp/x.duckdb_extension'",
        "INSTALL httpfs",
        "CREATE SECRET s (TYPE s3)",
        "CREATE MACRO f() AS TABLE SELECT * FROM read_text('/etc/passwd')",
        "EXPLAIN ANALYZE SELECT 1",
        "EXECUTE x",
    ],
)
def test_sql_of_a_pipeline_reads_its_views_and_nothing_else(sql: str) -> None:
    with pytest.raises(duckdb.Error):
        query(sql, {"rows": ROWS})
    assert not CANARY.exists()
