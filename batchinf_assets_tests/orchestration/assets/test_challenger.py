"""The challenger as an asset: trained, registered and compared by a real run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlparse

import dagster as dg
import pytest
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.resources import shared
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import open_version, promoted_model
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.model import ChallengerSpec

KEY = dg.AssetKey(["flight_delays", "challenger"])
CONSOLE = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def declaring(pipeline: Pipeline, challenger: ChallengerSpec | None) -> dg.Definitions:
    model = pipeline.spec.model.model_copy(update={"challenger": challenger})
    spec = pipeline.spec.model_copy(update={"model": model})
    with disable_dagster_warnings():  # as Dagster itself does where it loads a defs.yaml
        own = pipeline_definitions(Pipeline(spec=spec, folder=pipeline.folder))
        return dg.Definitions.merge(own, shared())


def train(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = definitions.resolve_job_def("flight_delays_challenger")
    return job.execute_in_process(instance=instance, run_config=CONSOLE, raise_on_error=False)


def test_a_challenger_is_registered_and_compared_and_not_promoted(
    instance: dg.DagsterInstance, pipeline: Pipeline, registry: Registry
) -> None:
    definitions = declaring(pipeline, ChallengerSpec(windows=5, holdout=2))
    assert train(definitions, instance).success
    now = datetime.now(UTC)
    version = registry.resolve("flight_delays", "challenger")
    card = open_version(registry, version, now).card
    assert version.version == "2"
    assert promoted_model(registry, "flight_delays", "champion", now).version.version == "1"

    event = instance.get_latest_materialization_event(KEY)
    assert event is not None
    assert event.asset_materialization is not None
    assert (event.asset_materialization.tags or {})["dagster/data_version"] == version.digest
    metadata = event.asset_materialization.metadata
    shown = {name: value.value for name, value in metadata.items()}
    assert (shown["version"], shown["digest"]) == ("2", version.digest)
    assert shown["training"] == "2013-07-01 to 2013-07-05 (5 windows)"
    assert shown["holdout"] == "2013-07-06 to 2013-07-07 (2 windows)"
    assert str(shown["compared"]).startswith("With flight_delays v1 on 2013-07-06 to 2013-07-07: ")
    assert shown["dagster/row_count"] == card.training.rows
    assert Path(unquote(urlparse(str(shown["dagster/uri"])).path), "model.skops").is_file()
    columns = shown["dagster/column_schema"]
    assert isinstance(columns, dg.TableSchema)
    assert [column.name for column in columns.columns] == list(pipeline.spec.features.columns)
    assert shown["promote"] == "`batchinf model promote flight_delays 2 --reason ...`"
    assert shown["scorer"] == card.scorer
    compared = str(shown["comparison"]).splitlines()
    assert compared[0] == "| metric | champion | challenger | difference | interval |"
    titles = [line.split(" | ")[0].removeprefix("| ") for line in compared[2:]]
    assert titles == [
        *("precision", "recall", "F1", "accuracy", "AUROC", "average precision"),
        *("log loss", "Brier score", "calibration error"),
    ]
    assert f"| AUROC | {card.golden.metrics['auroc']:.4g} |" in str(shown["golden"]).splitlines()
    parity = [line.split(" | ")[0].removeprefix("| ") for line in str(shown["parity"]).splitlines()]
    assert parity[2:] == [record.scorer for record in card.parity]


def test_too_few_windows_with_outcomes_fail_with_a_sentence(
    instance: dg.DagsterInstance, pipeline: Pipeline, registry: Registry
) -> None:
    result = train(declaring(pipeline, ChallengerSpec(windows=30, holdout=8)), instance)
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    reported = failed.step_failure_data.user_failure_data
    assert reported is not None
    assert "needs 38 windows with outcomes, 37 have landed" in str(reported.description)
    assert len(registry.versions("flight_delays")) == 1


def test_the_challenger_is_an_asset_of_no_window_that_only_its_own_job_runs(
    pipeline: Pipeline,
) -> None:
    definitions = declaring(pipeline, ChallengerSpec(windows=5, holdout=2))
    node = definitions.resolve_asset_graph().get(KEY)
    assert node.partitions_def is None
    assert {parent.path[-1] for parent in node.parent_keys} == {
        "source",
        "outcomes",
        "planes",
        "weather",
    }
    runs_it = {
        job.name
        for job in definitions.get_repository_def().get_all_jobs()
        if KEY in job.asset_layer.executable_asset_keys and not job.name.startswith("__")
    }
    assert runs_it == {"flight_delays_challenger"}


def test_without_a_declaration_there_is_no_challenger(pipeline: Pipeline) -> None:
    definitions = declaring(pipeline, None)
    assert KEY not in definitions.resolve_asset_graph().get_all_asset_keys()
    with pytest.raises(dg.DagsterInvariantViolationError, match="flight_delays_challenger"):
        definitions.resolve_job_def("flight_delays_challenger")
