"""SQL, declarations and settings that reach too far, would not repeat, or are simply wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import Result

from batchinf_assets.attempts import attempting
from batchinf_assets.errors import BatchinfError, FeatureSqlFailed, WindowRefused
from batchinf_assets.features.build import build_features
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.model import scoring_model
from batchinf_assets.scoring.score import score_window
from batchinf_assets.spec.load import Pipeline, load_pipeline

if TYPE_CHECKING:
    from batchinf_assets_tests.end_to_end.conftest import Operator

WINDOW = "2013-07-01"  # published already
NEXT = "2013-07-02"  # landed, not run


def complaint(result: Result) -> str:
    assert isinstance(result.exception, SystemExit), result.exc_info
    (line,) = result.stderr.splitlines()
    assert line.startswith("batchinf: ")
    return line


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
    with pytest.raises(
        WindowRefused, match="column carrier: expected string, found no such column"
    ):
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
        (lambda sql: f"{sql} LIMIT 10", "rows: expected all kept, found "),
        (
            lambda sql: sql.replace("AS s\n", "AS s CROSS JOIN range(2)\n"),
            "rows: expected kept only once, found ",
        ),
        (
            lambda sql: sql.replace("    w.temperature,\n", ""),
            "column temperature: expected float64, found no such column",
        ),
        (
            lambda sql: sql.replace("w.temperature", "w.temperature / 0 AS temperature"),
            "column temperature: expected finite, found ",
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
        (
            lambda sql: sql.replace("    carrier,\n", ""),
            "column carrier: expected string, found no such column",
        ),
        (
            lambda sql: sql.replace(
                "    delay_probability,\n", "    NULL::DOUBLE AS delay_probability,\n"
            ),
            "column delay_probability: expected not null",
        ),
        (
            lambda sql: sql.replace(
                "    delay_probability,\n", "    5::DOUBLE AS delay_probability,\n"
            ),
            "column delay_probability: expected ",
        ),
        (lambda sql: f"{sql} WHERE delay_probability > 0.5", "rows: expected all kept"),
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
    now = datetime(2013, 7, 1, tzinfo=UTC)
    model = scoring_model(Registry.at(project, {}), pipeline, now)
    with attempting(
        project, pipeline.spec, window, run_id="attack", stage="predictions"
    ) as attempt:
        score_window(project, pipeline, window, model, attempt=attempt, now=now)


def test_a_typo_in_the_declaration_is_named(operator: Operator, own_pipeline: Path) -> None:
    path = own_pipeline / "defs.yaml"
    path.write_text(path.read_text().replace("  owner:", "  ownr:"))
    for command in (("run", "flight_delays", NEXT), ("status", "flight_delays")):
        result = operator.batchinf(*command)
        assert result.exit_code == 2
        said = complaint(result)
        assert "owner is missing; ownr: there is no such setting; did you mean 'owner'?" in said


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
        ("ftp://bucket/lake", "neither a folder nor a plain s3://bucket/prefix"),
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
    ("variable", "command", "code", "next_step"),
    [
        (
            "BATCHINF_LANDING",
            ("demo", "land", "--from", NEXT, "--to", NEXT),
            1,
            "Check that the path is right",
        ),
        (
            "DAGSTER_HOME",
            ("status", "flight_delays"),
            2,
            "Set DAGSTER_HOME to the folder that is in use",
        ),
    ],
)
def test_a_folder_that_cannot_be_made_is_named(
    operator: Operator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    command: tuple[str, ...],
    code: int,
    next_step: str,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(variable, str(tmp_path / "file" / "folder"))
    result = operator.batchinf(*command)
    assert result.exit_code == code
    line = complaint(result)
    assert str(tmp_path / "file") in line
    assert next_step in line


def test_a_broken_dagster_yaml_is_named(operator: Operator) -> None:
    (operator.project.dagster_home / "dagster.yaml").write_text("telemetri: {enabled: false}\n")
    result = operator.batchinf("status", "flight_delays")
    assert result.exit_code == 2
    assert "dagster.yaml is no Dagster configuration" in complaint(result)
