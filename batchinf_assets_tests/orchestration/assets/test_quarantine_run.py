"""A window with bad rows through Dagster: green where it was allowed, and its checks say why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.partitions import partitions_of
from batchinf_assets.orchestration.resources import shared
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.orchestration.steps.checks import DESCRIPTIONS, check_specs
from batchinf_assets.project import Project
from batchinf_assets.spec.contract import QuarantineSpec
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

DAY = "2013-07-03"
HOSTILE = "<script>alert(1)</script>"


def declared(pipeline: Pipeline, source: dict[str, Any], features: dict[str, Any]) -> Pipeline:
    """The pipeline with these rules alone beside those of its columns."""
    document = pipeline.spec.model_dump(mode="json")
    bare = {"quarantine": None, "rules": []}
    table = {"volume": None, "freshness": None, "late": None}
    document["source"] |= {**bare, **table, **source}
    document["features"] |= {**bare, **features}
    for column in document["source"]["columns"].values():
        column |= {"on_break": None}
    return replace(pipeline, spec=PipelineSpec.model_validate(document))


def names(pipeline: Pipeline, asset: str) -> dict[str, bool]:
    key = dg.AssetKey([pipeline.name, asset])
    specs = check_specs(key, partitions_of(pipeline.spec.window), pipeline.spec)
    return {spec.name: spec.blocking for spec in specs}


def test_only_declared_checks_are_shown(pipeline: Pipeline) -> None:
    plain = declared(pipeline, {}, {})
    assert names(plain, "snapshot") == {
        "schema": True,
        "contract": True,
        "unique_key": True,
        "in_window": True,
        "new_columns": False,
    }
    assert names(plain, "features") == {
        "schema": True,
        "contract": True,
        "unique_key": True,
        "row_conservation": True,
        "inputs_present": False,
    }


def test_every_section_of_a_contract_has_its_check(pipeline: Pipeline) -> None:
    quarantine = QuarantineSpec().model_dump()
    rules = [
        {"name": "many", "sql": "count(*) > 1", "per": "table"},
        {"name": "far", "sql": "distance > 5", "on_break": "warn"},
    ]
    source = {
        "quarantine": quarantine,
        "rules": rules,
        "volume": {"on_break": "warn"},
        "freshness": {"column": "scheduled_departure", "within": "PT6H"},
    }
    full = declared(pipeline, source, {"quarantine": quarantine})
    added = names(full, "snapshot").items() - names(declared(pipeline, {}, {}), "snapshot").items()
    assert dict(added) == {
        "quarantine": False,
        "warnings": False,
        "rules": True,
        "volume": False,
        "freshness": True,
    }
    assert names(full, "features")["quarantine"] is False
    assert set(names(full, "snapshot")) <= set(DESCRIPTIONS)


@pytest.fixture
def spoiled(project: Project) -> Path:
    """The landed window with two bad flights."""
    path = project.landing / "flights" / f"{DAY}.parquet"
    rows = pq.read_table(path)
    origins = [HOSTILE, "XXX", *rows["origin"].to_pylist()[2:]]
    index = rows.schema.get_field_index("origin")
    pq.write_table(rows.set_column(index, rows.schema.field(index), pa.array(origins)), path)
    return path


def evaluations(instance: dg.DagsterInstance, asset: str) -> dict[str, dg.AssetCheckEvaluation]:
    found: dict[str, dg.AssetCheckEvaluation] = {}
    for name in DESCRIPTIONS:
        key = dg.AssetCheckKey(dg.AssetKey(["flight_delays", asset]), name)
        for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=1):
            if record.event is not None and record.event.dagster_event is not None:
                found[name] = record.event.dagster_event.asset_check_evaluation_data
    return found


def test_bad_rows_are_a_warning_with_column_rule_count_and_keys(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline, spoiled: Path
) -> None:
    assert spoiled.is_file()
    tolerant = declared(pipeline, {"quarantine": {"max_share": 0.01}}, {})
    with disable_dagster_warnings():  # as Dagster itself does where it loads a defs.yaml
        definitions = dg.Definitions.merge(pipeline_definitions(tolerant), shared())
    windows = [tolerant.spec.window.window(DAY)]
    job = definitions.resolve_job_def("flight_delays")
    report = run_job(job, instance, windows, lambda _window, _asset: None)
    assert (report.succeeded, report.failure) == (True, None)
    found = evaluations(instance, "snapshot")
    assert set(found) == set(names(tolerant, "snapshot"))
    check = found["quarantine"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.partition == DAY
    table = check.metadata["violations"]
    assert isinstance(table, dg.TableMetadataValue)
    (violation,) = [dict(row.data) for row in table.records]
    assert (violation["column"], violation["count"]) == ("origin", 2)
    assert len(str(violation["samples"]).splitlines()) == 2
    event = instance.get_latest_materialization_event(dg.AssetKey(["flight_delays", "snapshot"]))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["quarantined"].value == 2
    assert metadata["quarantine"].value == str(
        project.lake / "flight_delays" / "quarantine" / f"window={DAY}"
    )
