"""Runs whose worker was killed: they are found, and what they left is run again, once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from batchinf_assets.attempts import lease_place, recorder_of
from batchinf_assets.cli import main
from batchinf_assets.cli.workplace import job_of
from batchinf_assets.lake.lease import hold, read_lease
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.orchestration.unfinished import sensor as unfinished
from batchinf_assets.orchestration.unfinished.relaunches import Relaunches
from batchinf_assets.orchestration.unfinished.sensor import (
    HERE,
    RELAUNCH,
    look,
    request,
    unfinished_sensor,
)
from batchinf_assets.project import Project
from batchinf_assets.publishing.status.given_up import CHECK
from batchinf_assets.publishing.tickets.tickets import read_tickets
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets_tests.resilience.gated_run import DAY, gated_run, small_defs
from batchinf_assets_tests.resilience.killed_range import killed_range
from batchinf_assets_tests.resilience.window_run import verified

FIRST, BAD, SECOND, LAST = "2013-07-01", "2013-07-02", "2013-07-03", "2013-07-04"
GATE = 4
SOON = timedelta(hours=1)


class Sensor:
    """The sensor's ticks, an hour after whatever happened, and the runs that the daemon starts."""

    def __init__(self, instance: dg.DagsterInstance, project: Project, pipeline: Pipeline) -> None:
        self.instance, self.project, self.pipeline = instance, project, pipeline
        self.cursor: str | None = None
        self.job = job_of(pipeline)

    def tick(self, later: timedelta = SOON) -> Relaunches:
        recorder_of(self.project).flush(60)
        now = datetime.now(UTC) + later
        found = look(self.instance, self.project, self.pipeline.spec, self.cursor, now)
        self.cursor = json.dumps(sorted(found.settled))
        return found

    def launch(self, found: Relaunches) -> list[bool]:
        return [self._run(request(self.pipeline.spec, each)) for each in found.requests]

    def _run(self, asked: dg.RunRequest) -> bool:
        result = self.job.execute_in_process(
            instance=self.instance,
            partition_key=asked.partition_key,
            asset_selection=list(asked.asset_selection) if asked.asset_selection else None,
            tags=dict(asked.tags),
            raise_on_error=False,
        )
        return result.success

    def only_run(self) -> dg.DagsterRun:
        (found,) = self.instance.get_runs()
        return found


@pytest.fixture
def sensor(instance: dg.DagsterInstance, project: Project, pipeline: Pipeline) -> Sensor:
    return Sensor(instance, project, pipeline)


def windows(found: Relaunches) -> list[str]:
    return [each.window for each in found.requests]


def attempts(project: Project, window: str) -> list[dict[str, Any]]:
    recorder_of(project).flush(60)
    return Ledger(project.lake).read("flight_delays", window).to_pylist()


def is_published(sensor: Sensor, window: str) -> bool:
    found = sensor.pipeline.spec.window.window(window)
    return published_revision(sensor.project, sensor.pipeline.spec, found) is not None


def test_a_worker_killed_while_it_scores_is_found_by_its_lease_and_its_window_run_once(
    sensor: Sensor, tmp_path: Path
) -> None:
    with gated_run("command", small_defs(tmp_path / "defs"), shard=GATE) as run:
        run.wait_at_gate()
        assert sensor.tick(later=timedelta(0)).requests == ()
        assert sensor.only_run().status is dg.DagsterRunStatus.STARTED
        run.kill()
    window = sensor.pipeline.spec.window.window(DAY)
    lease = read_lease(lease_place(sensor.project, sensor.pipeline.spec, window), DAY)
    assert lease is not None
    assert lease.state == "held"

    found = sensor.tick()
    dead = sensor.only_run()
    assert dead.status is dg.DagsterRunStatus.FAILURE
    assert windows(found) == [DAY]
    assert found.requests[0].run_key == f"{DAY}:{dead.run_id}"
    assert sensor.launch(found) == [True]
    assert verified(sensor.project, sensor.pipeline, window).problems == ()
    states = [(row["run_id"], row["state"]) for row in attempts(sensor.project, DAY)]
    (again,) = [run for run in sensor.instance.get_runs() if run.run_id != dead.run_id]
    assert states == [(dead.run_id, "killed"), (again.run_id, "published")]

    assert sensor.tick().requests == ()
    sensor.cursor = None
    assert sensor.tick().requests == ()


def test_of_a_killed_range_run_only_what_it_neither_finished_nor_refused_is_run_again(
    sensor: Sensor,
) -> None:
    path = sensor.project.landing / "flights" / f"{BAD}.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["carrier"]), path)
    killed_range(FIRST, LAST, SECOND, "performance")
    # Between two windows it held no lease: this is what Dagster's code server reports of a worker
    # that ended, and its run monitoring after `dagster/max_runtime`.
    assert sensor.tick().requests == ()
    sensor.instance.report_run_failed(sensor.only_run(), "Run worker ended with exit code -9.")
    found = sensor.tick()
    assert windows(found) == [LAST]
    assert sensor.launch(found) == [True]
    assert [is_published(sensor, key) for key in (FIRST, BAD, SECOND, LAST)] == [
        True,
        False,
        True,
        True,
    ]
    assert sensor.tick().requests == ()


def test_windows_of_a_range_run_killed_in_its_first_step_are_each_run_by_themselves(
    sensor: Sensor,
) -> None:
    killed_range(FIRST, LAST, FIRST, "snapshot")
    sensor.instance.report_run_failed(sensor.only_run(), "Run worker ended with exit code -9.")
    assert windows(sensor.tick(later=timedelta(0))) == []
    found = sensor.tick()
    assert windows(found) == [FIRST, BAD, SECOND, LAST]
    assert {request(sensor.pipeline.spec, each).tags[RELAUNCH] for each in found.requests} == {"1"}


def test_a_run_that_refused_its_windows_is_not_run_again(sensor: Sensor) -> None:
    path = sensor.project.landing / "flights" / f"{BAD}.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["carrier"]), path)
    between = sensor.pipeline.spec.window.between(BAD, BAD)
    report = run_job(sensor.job, sensor.instance, between, lambda _window, _asset: None)
    assert not report.succeeded
    assert sensor.only_run().tags[HERE] == "true"
    assert sensor.tick().requests == ()


def withdraw(window: str) -> None:
    words = ("rollback", "flight_delays", window, "--reason", "Wrong weather", "--withdraw")
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output


def dead_run(
    sensor: Sensor, tags: dict[str, str], selection: Sequence[str] | None = None
) -> dg.DagsterRun:
    keys = [dg.AssetKey(["flight_delays", name]) for name in selection or ()]
    job = sensor.job.get_subset(asset_selection=set(keys)) if keys else sensor.job
    run = sensor.instance.create_run_for_job(
        job, tags=tags, asset_selection=frozenset(keys) or None
    )
    sensor.instance.report_run_failed(run, "Run worker ended with exit code -9.")
    return run


def told() -> dict[str, Any]:
    result = CliRunner().invoke(main, ("status", "flight_delays", "--json"))
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    (only,) = json.loads(result.stdout)
    return dict(only)


def ticked(sensor: Sensor) -> list[str]:
    """Let the daemon's own sensor tick, and return the runs that it requests."""
    workplace, made = Workplace(), unfinished_sensor(sensor.pipeline.spec)
    with dg.build_sensor_context(
        instance=sensor.instance, cursor=sensor.cursor, resources={"workplace": workplace}
    ) as context:
        found = made(context)
    assert isinstance(found, dg.SensorResult)
    sensor.cursor = found.cursor
    return [asked.run_key or "" for asked in found.run_requests or ()]


def test_a_window_whose_runs_keep_dying_is_given_up_with_a_ticket_until_a_run_comes_through(
    sensor: Sensor,
) -> None:
    allowed = sensor.pipeline.spec.retries.relaunches
    last = dead_run(sensor, {"dagster/partition": DAY, RELAUNCH: str(allowed)})
    assert ticked(sensor) == []
    shown = told()
    assert (shown["window"], shown["state"], shown["revision"]) == (DAY, "given up", None)
    assert (shown["given_up"]["run_id"], shown["given_up"]["before"]) == (last.run_id, allowed)
    text = CliRunner().invoke(main, ("status", "flight_delays", DAY)).stdout
    assert f"then `batchinf run flight_delays {DAY}`" in text
    (kept,) = read_tickets(sensor.project, sensor.pipeline.spec)
    assert (kept.ticket.check, kept.closing) == (CHECK, None)

    sensor.cursor = None
    assert ticked(sensor) == []
    assert len(read_tickets(sensor.project, sensor.pipeline.spec)) == 1

    between = sensor.pipeline.spec.window.between(DAY, DAY)
    assert run_job(sensor.job, sensor.instance, between, lambda _w, _a: None).succeeded
    shown = told()
    assert (shown["state"], shown["given_up"]) == ("published", None)
    assert ticked(sensor) == []
    (kept,) = read_tickets(sensor.project, sensor.pipeline.spec)
    assert kept.closing is not None


def test_a_relaunch_makes_the_assets_that_the_dead_run_was_to_make(sensor: Sensor) -> None:
    dead_run(sensor, {"dagster/partition": DAY}, ["snapshot", "features"])
    (asked,) = sensor.tick().requests
    made = request(sensor.pipeline.spec, asked)
    assert [key.path[-1] for key in made.asset_selection or ()] == ["snapshot", "features"]
    assert made.tags[RELAUNCH] == "1"


def test_a_window_that_somebody_else_finished_since_is_left_alone(sensor: Sensor) -> None:
    dead_run(sensor, {"dagster/partition": DAY})
    between = sensor.pipeline.spec.window.between(DAY, DAY)
    assert run_job(sensor.job, sensor.instance, between, lambda _w, _a: None).succeeded
    assert sensor.tick().requests == ()


def test_a_window_withdrawn_after_the_run_died_and_before_that_was_noticed_stays_withdrawn(
    sensor: Sensor,
) -> None:
    dead = sensor.instance.create_run_for_job(sensor.job, tags={"dagster/partition": DAY})
    between = sensor.pipeline.spec.window.between(DAY, DAY)
    assert run_job(sensor.job, sensor.instance, between, lambda _w, _a: None).succeeded
    withdraw(DAY)
    recorder_of(sensor.project).flush(60)
    sensor.instance.report_run_failed(dead, "Run worker died; noticed at its max_runtime.")
    assert windows(sensor.tick()) == []
    assert not is_published(sensor, DAY)


def test_a_window_published_after_the_run_died_and_before_that_was_noticed_is_left_alone(
    sensor: Sensor,
) -> None:
    dead = sensor.instance.create_run_for_job(sensor.job, tags={"dagster/partition": DAY})
    between = sensor.pipeline.spec.window.between(DAY, DAY)
    assert run_job(sensor.job, sensor.instance, between, lambda _w, _a: None).succeeded
    recorder_of(sensor.project).flush(60)
    sensor.instance.report_run_failed(dead, "Run worker died; noticed at its max_runtime.")
    assert windows(sensor.tick()) == []


def test_a_run_that_was_asked_for_after_a_withdrawal_is_run_again_when_it_dies(
    sensor: Sensor,
) -> None:
    between = sensor.pipeline.spec.window.between(DAY, DAY)
    assert run_job(sensor.job, sensor.instance, between, lambda _w, _a: None).succeeded
    withdraw(DAY)
    recorder_of(sensor.project).flush(60)
    dead_run(sensor, {"dagster/partition": DAY})
    assert windows(sensor.tick()) == [DAY]


def test_a_damaged_lease_is_named_and_stops_no_other_window(sensor: Sensor) -> None:
    dead_run(
        sensor,
        {"dagster/asset_partition_range_start": FIRST, "dagster/asset_partition_range_end": BAD},
    )
    window = sensor.pipeline.spec.window.window(FIRST)
    place = Path(str(lease_place(sensor.project, sensor.pipeline.spec, window)))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("{")
    found = sensor.tick()
    assert windows(found) == [BAD]
    assert list(found.damaged) == [FIRST]
    assert str(place) in found.damaged[FIRST]
    place.unlink()
    assert FIRST in windows(sensor.tick())


def test_failed_runs_of_others_crowd_no_dead_run_out(
    sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "PAGE", 2)
    dead_run(sensor, {"dagster/partition": DAY})

    @dg.job
    def another() -> None: ...

    for _ in range(4):
        run = sensor.instance.create_run_for_job(another)
        sensor.instance.report_run_failed(run, "Run worker ended with exit code -9.")
    assert windows(sensor.tick()) == [DAY]


def test_a_window_on_which_somebody_works_waits(sensor: Sensor) -> None:
    dead_run(sensor, {"dagster/partition": DAY})
    window = sensor.pipeline.spec.window.window(DAY)
    place = lease_place(sensor.project, sensor.pipeline.spec, window)
    with hold(
        place, window=DAY, holder="another", stage="features", on_takeover=lambda _l, _t: None
    ):
        assert sensor.tick(later=timedelta(minutes=0.8)).requests == ()
    assert windows(sensor.tick()) == [DAY]


def test_a_window_that_is_no_longer_declared_is_left_alone(sensor: Sensor) -> None:
    dead_run(sensor, {"dagster/partition": "2012-01-01"})
    assert sensor.tick().requests == ()
