"""What a real instance knows of a sensor's requests, and what the landing sensor makes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_KEY_TAG
from dagster._core.test_utils import create_run_for_test

from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.sensors.landed import landing_sensor
from batchinf_assets.orchestration.sensors.requested import last_request
from batchinf_assets.snapshots.arrivals import Asked
from batchinf_assets_tests.spec.test_pipeline import toy

SPEC = toy(source__complete={"quiet_for": "PT0S"})
DAY = "2013-01-01"
Status = dg.DagsterRunStatus


@pytest.fixture
def ephemeral() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the toy's source lands, in a workplace that holds nothing else."""
    for name in ("LAKE", "LANDING", "KEYS"):
        monkeypatch.setenv(f"BATCHINF_{name}", str(tmp_path / name.lower()))
    folder = tmp_path / "landing" / "in"
    folder.mkdir(parents=True)
    return folder


def launch(instance: dg.DagsterInstance, request: dg.RunRequest, status: Status) -> str:
    """Make the run that the daemon would make of a request."""
    tags = {
        PARTITION_NAME_TAG: request.partition_key or "",
        RUN_KEY_TAG: request.run_key or "",
    }
    return create_run_for_test(instance, job_name="toy", tags=tags, status=status).run_id


def tick(instance: dg.DagsterInstance, cursor: str | None) -> tuple[list[dg.RunRequest], str]:
    sensor = landing_sensor(SPEC)
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"workplace": Workplace()}
    ) as context:
        found = sensor(context)
    assert isinstance(found, dg.SensorResult)
    return list(found.run_requests or []), found.cursor or ""


def request(name: str) -> dg.RunRequest:
    return dg.RunRequest(partition_key=DAY, run_key=name)


def test_the_last_request_is_that_of_the_newest_run(ephemeral: dg.DagsterInstance) -> None:
    asked = last_request(ephemeral, "toy")
    assert asked(DAY) is None
    launch(ephemeral, request(f"{DAY}:first"), Status.SUCCESS)
    launch(ephemeral, request(f"{DAY}:second"), Status.STARTED)
    by_hand = {PARTITION_NAME_TAG: DAY}
    create_run_for_test(ephemeral, job_name="toy", tags=by_hand, status=Status.STARTED)
    assert asked(DAY) == Asked(name=f"{DAY}:second", ended=False)
    assert asked("2013-01-02") is None
    assert last_request(ephemeral, "another")(DAY) is None


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILURE, Status.CANCELED])
def test_a_run_has_ended_however_it_did(ephemeral: dg.DagsterInstance, status: Status) -> None:
    launch(ephemeral, request(f"{DAY}:it"), status)
    assert last_request(ephemeral, "toy")(DAY) == Asked(name=f"{DAY}:it", ended=True)


def test_a_run_that_was_made_and_never_launched_was_not_asked_for(
    ephemeral: dg.DagsterInstance,
) -> None:
    launch(ephemeral, request(f"{DAY}:it"), Status.NOT_STARTED)
    assert last_request(ephemeral, "toy")(DAY) is None


def test_a_daemon_that_died_before_it_kept_the_cursor_asks_for_nothing_twice(
    ephemeral: dg.DagsterInstance, drop: Path
) -> None:
    _, cursor = tick(ephemeral, None)
    for day in (1, 2):
        (drop / f"2013-01-0{day}.parquet").write_bytes(b"%d" % day)
    requests, _ = tick(ephemeral, cursor)
    assert [each.partition_key for each in requests] == ["2013-01-01", "2013-01-02"]
    launch(ephemeral, requests[0], Status.STARTED)  # and here it is killed
    again, cursor = tick(ephemeral, cursor)
    assert again == requests[1:]
    assert tick(ephemeral, cursor)[0] == []
    assert tick(ephemeral, None)[0] == requests[1:]


def test_bytes_that_land_again_wait_for_the_run_of_those_before(
    ephemeral: dg.DagsterInstance, drop: Path
) -> None:
    path = drop / f"{DAY}.parquet"
    _, cursor = tick(ephemeral, None)
    path.write_bytes(b"one")
    (first,), cursor = tick(ephemeral, cursor)
    launch(ephemeral, first, Status.STARTED)
    path.unlink()
    time.sleep(0.02)  # one tick of the kernel's clock
    path.write_bytes(b"one")
    assert tick(ephemeral, cursor)[0] == []
    run = ephemeral.get_runs()[0]
    ephemeral.handle_new_event(failed(run))
    (second,), _ = tick(ephemeral, cursor)
    assert first.run_key != second.run_key


def failed(run: dg.DagsterRun) -> dg.EventLogEntry:
    event = dg.DagsterEvent(event_type_value="PIPELINE_FAILURE", job_name=run.job_name)
    return dg.EventLogEntry(
        error_info=None,
        level=40,
        user_message="",
        run_id=run.run_id,
        timestamp=time.time(),
        dagster_event=event,
    )


def test_a_tick_over_ten_thousand_landed_files(
    ephemeral: dg.DagsterInstance, drop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, cursor = tick(ephemeral, None)
    for day in range(10_000):
        (drop / f"{date(2013, 1, 1) + timedelta(days=day)}.parquet").write_bytes(b"%d" % day)
    keys: list[str | None] = []
    shown: list[str] = []
    for _ in range(3):
        began = time.perf_counter()
        requests, cursor = tick(ephemeral, cursor)
        shown.append(f"{time.perf_counter() - began:.1f}")
        keys += [each.run_key for each in requests]
        for each in requests:
            launch(ephemeral, each, Status.STARTED)
    with capsys.disabled():
        print(f"\n10000 landed files: ticks of {', '.join(shown)} s, cursor {len(cursor)} bytes")
    assert len(keys) == len(set(keys)) == 60
    assert len(cursor) < 100_000
