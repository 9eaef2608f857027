"""Values, files, SQL and settings that somebody made to do harm, or that broke in the worst way."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from batchinf_assets.errors import BatchinfError, FeatureSqlFailed, WindowRefused
from batchinf_assets.features.build import build_features
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.score import score_window, scoring_model
from batchinf_assets.snapshots import landing
from batchinf_assets.snapshots.arrivals import landed_files
from batchinf_assets.spec import Pipeline, load_pipeline

if TYPE_CHECKING:
    from batchinf_assets_tests.end_to_end.conftest import Operator

WINDOW = "2013-07-01"  # published already
NEXT = "2013-07-02"  # landed, not run
MEGABYTE = 2**20


def complaint(result: Result) -> str:
    assert isinstance(result.exception, SystemExit), result.exc_info
    (line,) = result.stderr.splitlines()
    assert line.startswith("batchinf: ")
    return line


def land(operator: Operator, change: Callable[[pa.Table], pa.Table]) -> None:
    path = operator.landed(f"flights/{NEXT}.parquet")
    pq.write_table(change(pq.read_table(path)), path)


def with_first(column: str, value: str) -> Callable[[pa.Table], pa.Table]:
    def change(rows: pa.Table) -> pa.Table:
        values = pa.array([value, *rows.column(column).to_pylist()[1:]], pa.string())
        return rows.set_column(rows.column_names.index(column), column, values)

    return change


HOSTILE = {
    "NUL": "A\0B",
    "a megabyte": "x" * MEGABYTE,
    "markup": "<b>[bold]x[/nope]</b>",
    "a formula": "=cmd|' /C calc'!A1",
    "terminal codes": "a\nb\x1b[2J",
    "right to left": "\u202e",
    "SQL": "'; DROP TABLE snapshot; --",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_key_is_quoted_harmlessly_wherever_it_is_shown(
    operator: Operator, text: str
) -> None:
    spoil = with_first("carrier", text)
    land(operator, lambda rows: pa.concat_tables([spoil(rows), spoil(rows).slice(0, 1)]))
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    line = complaint(result)
    assert "unique in their key" in line
    assert line.isprintable()
    assert len(line) < 500
    status = operator.batchinf("status", "flight_delays")
    assert status.exit_code == 0
    assert "unique in their key" in " ".join(status.stdout.split()).replace(" │", "")
    assert "\x1b" not in status.stdout


@pytest.mark.parametrize("name", ["a megabyte", "NUL"])
def test_a_hostile_value_that_breaks_no_rule_is_scored_like_any_other(
    operator: Operator, name: str
) -> None:
    land(operator, with_first("carrier", HOSTILE[name]))
    assert operator.batchinf("run", "flight_delays", NEXT).exit_code == 0
    assert operator.batchinf("verify", "flight_delays", NEXT).exit_code == 0


def test_bytes_that_are_no_utf8_are_refused(operator: Operator) -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers())

    def change(rows: pa.Table) -> pa.Table:
        rest = pa.concat_arrays(rows.column("destination").slice(1).chunks)
        index = rows.column_names.index("destination")
        return rows.set_column(index, "destination", pa.chunked_array([broken, rest]))

    land(operator, change)
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    assert "column 'destination' must be valid UTF-8" in complaint(result)


@pytest.mark.parametrize("typed", [True, False], ids=["dictionary type", "plain type"])
def test_a_small_file_that_would_take_gigabytes_is_refused(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, typed: bool
) -> None:
    monkeypatch.setattr(landing, "MAX_DECODED_BYTES", 100 * MEGABYTE)
    path, times = operator.landed(f"flights/{NEXT}.parquet"), 200
    indices = pa.array([0] * times, pa.int32())
    text = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * MEGABYTE]))
    pq.write_table(pa.table({"carrier": text}), path, store_schema=typed)
    assert path.stat().st_size < MEGABYTE
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    assert f"{NEXT}.parquet decodes to 2" in complaint(result)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(
    operator: Operator,
) -> None:
    path = operator.landed(f"flights/{NEXT}.parquet")
    path.unlink()
    os.mkfifo(path)
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    assert f"{NEXT}.parquet is no file" in complaint(result)


def test_a_link_to_a_file_lands_it_and_a_link_to_nothing_does_not(operator: Operator) -> None:
    path = operator.landed(f"flights/{NEXT}.parquet")
    moved = path.rename(operator.project.landing / "elsewhere.parquet")
    path.symlink_to(moved)
    assert operator.batchinf("run", "flight_delays", NEXT).exit_code == 0
    moved.unlink()
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    assert f"{NEXT}.parquet of window {NEXT} has not landed" in complaint(result)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_refused(operator: Operator) -> None:
    operator.landed(f"flights/{NEXT}.parquet").chmod(0)
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    assert "cannot be read (Permission denied)" in complaint(result)


def test_what_is_no_file_wakes_no_sensor(operator: Operator) -> None:
    spec, folder = operator.spec, operator.project.landing
    gone, closed = (folder / "flights" / f"2013-08-0{day}.parquet" for day in (1, 2))
    gone.symlink_to(folder / "nowhere")
    closed.mkdir()
    found = landed_files(folder, spec.source.files, spec.window)
    assert found.keys().isdisjoint({gone.stem, closed.stem})
    assert NEXT in found


@pytest.mark.parametrize("table", ["snapshot", "features", "predictions", "performance"])
def test_a_damaged_table_log_is_named_by_whatever_needs_it(operator: Operator, table: str) -> None:
    log = operator.project.lake / "flight_delays" / table / "_delta_log"
    sorted(log.glob("*.json"))[-1].write_bytes(b"{nope")
    commands = [("status", "flight_delays"), ("run", "flight_delays", WINDOW)]
    if table != "performance":
        commands.append(("verify", "flight_delays", "--all"))
    for command in commands:
        result = operator.batchinf(*command)
        assert result.exit_code == 1
        line = complaint(result)
        assert f"{table}/_delta_log" in line
        assert "Restore the folder from a backup" in line


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"[]", b"{}"], ids=ascii)
def test_a_damaged_manifest_is_named_and_the_window_is_still_listed(
    operator: Operator, content: bytes
) -> None:
    (manifest,) = (operator.project.lake / "flight_delays/_manifests" / WINDOW).iterdir()
    manifest.write_bytes(content)
    for command in ("verify", "manifest", "run"):
        result = operator.batchinf(command, "flight_delays", WINDOW)
        assert result.exit_code == 1
        assert f"{manifest} is no manifest" in complaint(result)
    status = operator.batchinf("status", "flight_delays", "--json")
    (window,) = json.loads(status.stdout)
    assert window["state"] == "published"
    assert f"{manifest} is no manifest" in window["held_back"]


def test_a_damaged_draft_hinders_neither_status_nor_the_next_run(operator: Operator) -> None:
    draft = operator.project.lake / "flight_delays/_manifests" / WINDOW / "draft.json"
    draft.write_bytes(b"{nope")
    status = operator.batchinf("status", "flight_delays", "--json")
    assert status.exit_code == 0
    assert "draft.json is no manifest" in json.loads(status.stdout)[0]["held_back"]
    assert operator.batchinf("run", "flight_delays", WINDOW).exit_code == 0
    assert not draft.exists()


def test_nothing_is_reached_by_the_sql_but_its_views(
    operator: Operator, own_pipeline: Path, tmp_path: Path
) -> None:
    canary, secret = tmp_path / "canary", tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for sql in (
        f"SELECT * FROM read_csv('{secret}')",
        f"SELECT content FROM read_text('{secret}')",
        f"SELECT * FROM '{secret}'",
        f"COPY (SELECT 1) TO '{canary}'",
        f"ATTACH '{canary}' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SELECT getenv('HOME')",
        "SELECT * FROM duckdb_secrets()",
        f"SELECT 1; COPY (SELECT 1) TO '{canary}'",
        "",
    ):
        with pytest.raises(FeatureSqlFailed, match="may read only outcomes, planes, snapshot"):
            features_by(operator, own_pipeline, sql)
    assert not canary.exists()
    with pytest.raises(WindowRefused, match="column 'carrier' must be present"):
        features_by(operator, own_pipeline, "SELECT * FROM information_schema.tables")


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("random()", "random()"),
        ("epoch(now())", "now()"),
        ("epoch(CURRENT_TIMESTAMP)", "current_timestamp"),
        ("CAST(day(today()) AS DOUBLE)", "today()"),
        ("CAST(hash(gen_random_uuid()) % 100 AS DOUBLE)", "gen_random_uuid()"),
    ],
)
def test_features_that_another_run_would_not_repeat_are_refused(
    operator: Operator, own_pipeline: Path, expression: str, named: str
) -> None:
    sql = (own_pipeline / "features.sql").read_text()
    with pytest.raises(FeatureSqlFailed) as refused:
        features_by(
            operator, own_pipeline, sql.replace("w.temperature", f"{expression} AS temperature")
        )
    assert f"{named} would give other rows another time" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda sql: f"{sql} LIMIT 10", "rows must be all kept: "),
        (
            lambda sql: sql.replace("AS s\n", "AS s CROSS JOIN range(2)\n"),
            "rows must be kept only once: ",
        ),
        (
            lambda sql: sql.replace("    w.temperature,\n", ""),
            "column 'temperature' must be present",
        ),
        (
            lambda sql: sql.replace("w.temperature", "w.temperature / 0 AS temperature"),
            "column 'temperature' must be finite",
        ),
    ],
    ids=["drops rows", "doubles rows", "lacks a column", "divides by zero"],
)
def test_feature_sql_that_breaks_the_contract_is_refused(
    operator: Operator, own_pipeline: Path, change: Callable[[str], str], rule: str
) -> None:
    with pytest.raises(WindowRefused) as refused:
        features_by(operator, own_pipeline, change((own_pipeline / "features.sql").read_text()))
    assert rule in str(refused.value)


def features_by(operator: Operator, folder: Path, sql: str) -> None:
    (folder / "features.sql").write_text(sql)
    window = operator.spec.window.window(WINDOW)
    build_features(operator.project, load_pipeline("flight_delays", folder.parent), window)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (
            lambda sql: sql.replace("'low'", "CASE WHEN random() > 0.5 THEN 'low' ELSE 'high' END"),
            "random() would give",
        ),
        (lambda sql: sql.replace("    carrier,\n", ""), "column 'carrier' must be present"),
        (
            lambda sql: sql.replace(
                "    delay_probability,\n", "    NULL::DOUBLE AS delay_probability,\n"
            ),
            "column 'delay_probability' must be not null",
        ),
        (
            lambda sql: sql.replace(
                "    delay_probability,\n", "    5::DOUBLE AS delay_probability,\n"
            ),
            "column 'delay_probability' must be at most 1.0",
        ),
        (lambda sql: f"{sql} WHERE delay_probability > 0.5", "rows must be all kept"),
    ],
    ids=["chance", "no key", "no score", "no probability", "drops rows"],
)
def test_post_processing_that_breaks_the_contract_leaves_no_draft(
    operator: Operator, own_pipeline: Path, change: Callable[[str], str], rule: str
) -> None:
    path = own_pipeline / "postprocess.sql"
    path.write_text(change(path.read_text()))
    visible = operator.visible()
    with pytest.raises(BatchinfError) as refused:
        score(operator, load_pipeline("flight_delays", own_pipeline.parent))
    assert rule in str(refused.value)
    assert operator.visible() == visible
    assert not (operator.project.lake / "flight_delays/_manifests" / WINDOW / "draft.json").exists()


def score(operator: Operator, pipeline: Pipeline) -> None:
    project, window = operator.project, pipeline.spec.window.window(WINDOW)
    model = scoring_model(Registry.at(project.lake, {}), pipeline)
    now = datetime(2013, 7, 1, tzinfo=UTC)
    score_window(project, pipeline, window, model, run_id="attack", now=now)


def test_a_typo_in_the_declaration_is_named(operator: Operator, own_pipeline: Path) -> None:
    path = own_pipeline / "defs.yaml"
    path.write_text(path.read_text().replace("  owner:", "  ownr:"))
    for command in (("run", "flight_delays", NEXT), ("status", "flight_delays")):
        result = operator.batchinf(*command)
        assert result.exit_code == 2
        assert "flight_delays/defs.yaml: owner: Field required; ownr: Extra" in complaint(result)


def test_training_code_without_train_is_named(operator: Operator, own_pipeline: Path) -> None:
    (own_pipeline / "train.py").write_text("fit = print\n")
    result = operator.batchinf("model", "register", "flight_delays")
    assert result.exit_code == 2
    assert "flight_delays/train.py defines no function `train`" in complaint(result)


def test_a_lake_that_cannot_be_one_is_named(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for lake, reason in (
        ("s3://bucket/lake", "keeps its lake on a local disk only"),
        (str(tmp_path / "file"), "is no folder"),
    ):
        monkeypatch.setenv("BATCHINF_LAKE", lake)
        for command in (("run", "flight_delays", NEXT), ("status", "flight_delays")):
            result = operator.batchinf(*command)
            assert result.exit_code == 2
            line = complaint(result)
            assert lake in line
            assert reason in line


def test_a_table_that_cannot_be_written_is_named(operator: Operator) -> None:
    folder = operator.project.lake / "flight_delays"
    shutil.rmtree(folder)
    folder.touch()
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    assert str(folder) in complaint(result)


@pytest.mark.parametrize(
    ("variable", "command"),
    [
        ("BATCHINF_LANDING", ("demo", "land", "--from", NEXT, "--to", NEXT)),
        ("DAGSTER_HOME", ("status", "flight_delays")),
    ],
)
def test_a_folder_that_cannot_be_made_is_named(
    operator: Operator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    command: tuple[str, ...],
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(variable, str(tmp_path / "file" / "folder"))
    result = operator.batchinf(*command)
    assert result.exit_code == 1
    line = complaint(result)
    assert str(tmp_path / "file") in line
    assert "Check that the path is right" in line


def test_a_broken_dagster_yaml_is_named(operator: Operator) -> None:
    (operator.project.dagster_home / "dagster.yaml").write_text("telemetri: {enabled: false}\n")
    result = operator.batchinf("status", "flight_delays")
    assert result.exit_code == 2
    assert "dagster.yaml is no Dagster configuration" in complaint(result)


def test_a_damaged_registry_is_named(operator: Operator) -> None:
    registry = operator.project.lake / "_registry" / "registry.db"
    registry.write_bytes(b"no database" * 100)
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    line = complaint(result)
    assert "registry.db failed" in line
    assert "Repair it" in line
    assert operator.revision(NEXT) is None


def test_verify_notices_a_lost_model(operator: Operator) -> None:
    shutil.rmtree(operator.project.lake / "_models")
    result = operator.batchinf("verify", "flight_delays", "--all")
    assert result.exit_code == 1
    assert "is no folder" in complaint(result)
