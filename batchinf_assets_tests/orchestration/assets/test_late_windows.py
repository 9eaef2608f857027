"""Declarative automation under Dagster's own evaluation: a late window runs by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from batchinf_assets.orchestration.assets.late_windows import source_key, window_condition
from batchinf_assets.orchestration.assets.pipeline import pipeline_assets
from batchinf_assets.orchestration.keys import MODEL, WINDOWED, asset_key
from batchinf_assets.orchestration.resources import Workplace, shared
from batchinf_assets.orchestration.sensors.landed import landing_sensor
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets_tests.spec.test_pipeline import toy

LAST_MONTH = "2013-06-05"


@pytest.fixture
def declarative() -> Pipeline:
    """The demo pipeline, whose last window is long past, run by conditions."""
    declared = load_pipeline("flight_delays")
    spec = declared.spec.model_copy(update={"automation": "declarative", "schedule": None})
    return Pipeline(spec=spec, folder=declared.folder)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def definitions(pipeline: Pipeline) -> dg.Definitions:
    return dg.Definitions.merge(dg.Definitions(assets=pipeline_assets(pipeline)), shared())


def land(instance: dg.DagsterInstance, pipeline: Pipeline, window: str) -> None:
    landed = dg.AssetMaterialization(source_key(pipeline.spec), partition=window)
    instance.report_runless_asset_event(landed)


def test_a_window_of_last_month_that_lands_again_runs_by_itself_and_no_other(
    instance: dg.DagsterInstance, declarative: Pipeline
) -> None:
    defs, name = definitions(declarative), declarative.name
    first = dg.evaluate_automation_conditions(defs, instance)
    assert first.total_requested == 0
    land(instance, declarative, LAST_MONTH)
    landed = dg.evaluate_automation_conditions(defs, instance, cursor=first.cursor)
    for asset in WINDOWED:
        assert landed.get_requested_partitions(asset_key(name, asset)) == {LAST_MONTH}
    quiet = dg.evaluate_automation_conditions(defs, instance, cursor=landed.cursor)
    assert quiet.total_requested == 0
    land(instance, declarative, LAST_MONTH)
    again = dg.evaluate_automation_conditions(defs, instance, cursor=quiet.cursor)
    assert again.total_requested == len(WINDOWED)


def test_another_model_does_not_make_all_windows_run(
    instance: dg.DagsterInstance, declarative: Pipeline
) -> None:
    defs = definitions(declarative)
    first = dg.evaluate_automation_conditions(defs, instance)
    observed = dg.AssetObservation(
        asset_key(declarative.name, MODEL), tags={"dagster/data_version": "another"}
    )
    instance.report_runless_asset_event(observed)
    after = dg.evaluate_automation_conditions(defs, instance, cursor=first.cursor)
    assert after.total_requested == 0


def test_what_is_only_told_of_a_window_makes_nothing_run(
    instance: dg.DagsterInstance, declarative: Pipeline
) -> None:
    defs = definitions(declarative)
    first = dg.evaluate_automation_conditions(defs, instance)
    published = asset_key(declarative.name, "published")
    for key in (source_key(declarative.spec), published):  # overdue, given up
        instance.report_runless_asset_event(dg.AssetObservation(key, partition=LAST_MONTH))
    after = dg.evaluate_automation_conditions(defs, instance, cursor=first.cursor)
    assert after.total_requested == 0


def test_dagsters_own_condition_overlooks_the_late_window(
    instance: dg.DagsterInstance, declarative: Pipeline
) -> None:
    defs = definitions(declarative).map_asset_specs(
        func=lambda spec: spec.replace_attributes(
            automation_condition=dg.AutomationCondition.eager() if spec.partitions_def else None
        )
    )
    first = dg.evaluate_automation_conditions(defs, instance)
    land(instance, declarative, LAST_MONTH)
    after = dg.evaluate_automation_conditions(defs, instance, cursor=first.cursor)
    assert after.get_requested_partitions(asset_key(declarative.name, "snapshot")) == set()


def test_by_default_the_sensor_runs_windows_and_no_condition_does() -> None:
    assert window_condition(toy(), "snapshot") is None


def test_declared_conditions_take_the_place_of_requested_runs(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LAKE", "LANDING", "KEYS"):
        monkeypatch.setenv(f"BATCHINF_{name}", str(tmp_path / name.lower()))
    spec = toy(automation="declarative", source__complete={"quiet_for": "PT0S"})
    drop = tmp_path / "landing" / "in"
    drop.mkdir(parents=True)

    def tick(cursor: str | None) -> dg.SensorResult:
        with dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"workplace": Workplace()}
        ) as context:
            found = landing_sensor(spec)(context)
        assert isinstance(found, dg.SensorResult)
        return found

    first = tick(None)
    (drop / f"{LAST_MONTH}.parquet").write_bytes(b"rows")
    landed = tick(first.cursor)
    assert [event.partition for event in landed.asset_events] == [LAST_MONTH]
    assert not landed.run_requests
    assert not tick(landed.cursor).asset_events
