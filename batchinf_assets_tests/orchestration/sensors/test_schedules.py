"""Schedule and deadline under a real instance: nothing is requested that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_KEY_TAG
from dagster._core.test_utils import create_run_for_test

from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.sensors.landed import landing_sensor
from batchinf_assets.orchestration.sensors.schedules import deadline_sensor, window_schedule
from batchinf_assets.publishing.status.overdue import CHECK
from batchinf_assets.publishing.tickets.tickets import read_tickets
from batchinf_assets_tests.spec.test_pipeline import toy

SPEC = toy(
    window={"every": "day", "start": "2013-01-01", "end": "2013-07-03"},
    schedule="15 0 * * *",
    deadline="PT6H",
    source__complete={"quiet_for": "PT0S"},
)
AT = datetime(2013, 7, 2, 0, 15, tzinfo=UTC)
DAY = "2013-07-01"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("LAKE", "LANDING", "KEYS"):
        monkeypatch.setenv(f"BATCHINF_{name}", str(tmp_path / name.lower()))
    folder = tmp_path / "landing" / "in"
    folder.mkdir(parents=True)
    return folder


def scheduled(instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    schedule = window_schedule(SPEC)
    assert schedule is not None
    with dg.build_schedule_context(
        instance=instance, scheduled_execution_time=AT, resources={"workplace": Workplace()}
    ) as context:
        found = schedule(context)
    assert isinstance(found, dg.RunRequest | dg.SkipReason)
    return found


def launch(instance: dg.DagsterInstance, request: dg.RunRequest) -> None:
    tags = {PARTITION_NAME_TAG: request.partition_key or "", RUN_KEY_TAG: request.run_key or ""}
    status = dg.DagsterRunStatus.STARTED
    create_run_for_test(instance, job_name="toy", tags=tags, status=status)


def landed(instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """What the landing sensor requests without a cursor."""
    with dg.build_sensor_context(
        instance=instance, resources={"workplace": Workplace()}
    ) as context:
        found = landing_sensor(SPEC)(context)
    assert isinstance(found, dg.SensorResult)
    return list(found.run_requests or [])


def told(instance: dg.DagsterInstance) -> str | None:
    sensor = deadline_sensor(SPEC)
    assert sensor is not None
    with dg.build_sensor_context(
        instance=instance, resources={"workplace": Workplace()}
    ) as context:
        found = sensor(context)
    assert isinstance(found, dg.SkipReason)
    return found.skip_message


def observed(instance: dg.DagsterInstance) -> list[tuple[str | None, object]]:
    records = instance.fetch_observations(dg.AssetKey(["toy", "landing", "source"]), limit=9)
    found = [record.event_log_entry.asset_observation for record in records.records]
    return [(each.partition, each.metadata["state"].value) for each in found if each]


def test_the_schedule_runs_the_newest_window_that_is_due_and_has_landed(
    instance: dg.DagsterInstance, drop: Path
) -> None:
    (drop / f"{DAY}.parquet").write_bytes(b"rows")
    found = scheduled(instance)
    assert isinstance(found, dg.RunRequest)
    assert found.partition_key == DAY


def test_the_schedule_requests_no_run_for_data_that_is_not_there(
    instance: dg.DagsterInstance, drop: Path
) -> None:
    (drop / "2013-06-30.parquet").write_bytes(b"rows")
    found = scheduled(instance)
    assert isinstance(found, dg.SkipReason)
    assert found.skip_message == f"Window {DAY} of toy has not landed, or not all of it."


def test_schedule_and_sensor_do_not_run_the_same_landing_twice(
    instance: dg.DagsterInstance, drop: Path
) -> None:
    assert landed(instance) == []
    (drop / f"{DAY}.parquet").write_bytes(b"rows")
    (by_sensor,), by_schedule = landed(instance), scheduled(instance)
    assert isinstance(by_schedule, dg.RunRequest)
    assert by_sensor.run_key == by_schedule.run_key
    launch(instance, by_schedule)
    assert landed(instance) == []
    again = scheduled(instance)
    assert isinstance(again, dg.SkipReason)
    assert again.skip_message == f"A run of window {DAY} was requested when it landed."


def test_an_overdue_window_is_observed_and_told_once_and_so_is_its_landing(
    instance: dg.DagsterInstance, drop: Path
) -> None:
    (drop / "2013-06-30.parquet").write_bytes(b"rows")
    message = told(instance) or ""
    tickets = read_tickets(Workplace().project(), SPEC)
    assert len(tickets) == len(observed(instance)) == message.count("has not landed") == 2
    assert {kept.ticket.check for kept in tickets} == {CHECK}
    nothing = "No window became overdue, and none that was has landed."
    assert told(instance) == nothing
    window, _ = observed(instance)[0]
    (drop / f"{window}.parquet").write_bytes(b"rows")
    assert told(instance) == f"{window}: its data has landed."
    assert observed(instance)[0] == (window, "Its data has landed.")
    assert told(instance) == nothing


def test_a_pipeline_without_schedule_or_deadline_has_neither() -> None:
    assert window_schedule(toy()) is None
    assert deadline_sensor(toy()) is None
