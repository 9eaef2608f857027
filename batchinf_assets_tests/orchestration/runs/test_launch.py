"""What is handed to a daemon, and that there is one; `end_to_end` has one run it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus
from dagster._daemon.daemon import BackfillDaemon, SensorDaemon
from dagster._daemon.types import DaemonHeartbeat

from batchinf_assets.cli.workplace import own_definitions
from batchinf_assets.errors import UsageError
from batchinf_assets.orchestration.keys import WINDOWED, asset_key
from batchinf_assets.orchestration.runs.launch import SILENCE_SECONDS, launch_backfill
from batchinf_assets.spec.load import Pipeline

WINDOWS = ["2013-07-01", "2013-07-04"]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def beat(instance: dg.DagsterInstance, daemon: str, seconds_ago: float) -> None:
    heard = DaemonHeartbeat(timestamp=time.time() - seconds_ago, daemon_type=daemon, daemon_id="1")
    instance.add_daemon_heartbeat(heard)


def test_exactly_these_windows_of_every_asset_are_requested(
    instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    beat(instance, BackfillDaemon.daemon_type(), 0)
    definitions = own_definitions(pipeline)
    found = instance.get_backfill(launch_backfill(instance, definitions, pipeline, WINDOWS))
    assert found is not None
    assert found.status is BulkActionStatus.REQUESTED
    assert found.tags["team"] == pipeline.spec.team
    data = found.get_asset_backfill_data(definitions.resolve_asset_graph())
    wanted = {(asset_key(pipeline.name, name), day) for name in WINDOWED for day in WINDOWS}
    asked = data.target_subset.iterate_asset_partitions()
    assert {(each.asset_key, each.partition_key) for each in asked} == wanted


@pytest.mark.parametrize(
    ("daemon", "seconds_ago"),
    [(BackfillDaemon.daemon_type(), SILENCE_SECONDS + 1), (SensorDaemon.daemon_type(), 0)],
)
def test_nothing_is_requested_of_a_daemon_that_fell_silent_or_does_something_else(
    instance: dg.DagsterInstance, pipeline: Pipeline, daemon: str, seconds_ago: float
) -> None:
    beat(instance, daemon, seconds_ago)
    with pytest.raises(UsageError, match="No daemon of this Dagster instance has shown"):
        launch_backfill(instance, own_definitions(pipeline), pipeline, WINDOWS)
    assert instance.get_backfills() == []
