"""Backfills as a running Dagster runs them: asked for by GraphQL, and handed over by a command.

It takes a minute and more, because Dagster's daemon looks for new backfills every half minute.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
from click.testing import CliRunner
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from batchinf_assets.cli import main
from batchinf_assets.orchestration.keys import WINDOWED
from batchinf_assets.project import Project
from batchinf_assets.publishing.gate import blocking_checks
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec.load import Pipeline

PATIENCE_SECONDS = 300
RANGE = [f"2013-07-0{day}" for day in range(1, 6)]
BAD = "2013-07-03"
HANDED_OVER = ["2013-07-06", "2013-07-07"]

LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
AGAIN = """
mutation Again($params: ReexecutionParams!) {
  reexecutePartitionBackfill(reexecutionParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""


def ask(url: str, query: str, params: dict[str, Any]) -> str:
    """Ask for a backfill as the UI does, and return its id."""
    body = json.dumps({"query": query, "variables": {"params": params}}).encode()
    asked = urllib.request.Request(
        f"{url}/graphql", body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        (found,) = json.load(answer)["data"].values()
    assert found["__typename"] == "LaunchBackfillSuccess", found
    return str(found["backfillId"])


def until(what: str, met: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not met():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def ended(instance: dg.DagsterInstance, backfill_id: str) -> PartitionBackfill:
    over = {BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED_FAILED}

    def found() -> PartitionBackfill:
        backfill = instance.get_backfill(backfill_id)
        assert backfill is not None
        return backfill

    until(f"backfill {backfill_id} did not end", lambda: found().status in over)
    return found()


def runs(instance: dg.DagsterInstance, backfill_id: str) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill_id})))


def materialized(instance: dg.DagsterInstance, asset: str) -> set[str]:
    return instance.get_materialized_partitions(dg.AssetKey(["flight_delays", asset]))


def passed(instance: dg.DagsterInstance, asset: str, name: str) -> set[str]:
    key = dg.AssetCheckKey(dg.AssetKey(["flight_delays", asset]), name)
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    latest = {str(each.partition): each.status.value for each in reversed(history)}
    return {window for window, status in latest.items() if status == "SUCCEEDED"}


def test_ranges_run_through_graphql_and_the_command_and_what_failed_alone_runs_again(
    url: str, project: Project, pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    landed = project.landing / "flights" / f"{BAD}.parquet"
    whole = landed.read_bytes()
    pq.write_table(pq.read_table(landed).drop_columns(["carrier"]), landed)
    keys = [{"path": ["flight_delays", name]} for name in WINDOWED]
    until("no daemon was heard of", lambda: "BACKFILL" in instance.get_daemon_heartbeats())

    asked = ask(url, LAUNCH, {"assetSelection": keys, "partitionNames": RANGE})
    command = ("backfill", "run", "flight_delays", "--from", HANDED_OVER[0])
    told = CliRunner().invoke(main, [*command, "--to", HANDED_OVER[1], "--launch", "--json"])
    assert told.exit_code == 0, told.output
    handed_over = json.loads(told.stdout)
    assert handed_over["windows"] == HANDED_OVER

    assert ended(instance, asked).status is BulkActionStatus.COMPLETED_FAILED
    assert ended(instance, handed_over["backfill"]).status is BulkActionStatus.COMPLETED_SUCCESS
    assert [run.status.value for run in runs(instance, asked)] == ["FAILURE"]
    assert [run.status.value for run in runs(instance, handed_over["backfill"])] == ["SUCCESS"]
    good = {*RANGE, *HANDED_OVER} - {BAD}
    for asset in WINDOWED:
        assert materialized(instance, asset) == good, asset
        for name in blocking_checks(pipeline.spec).get(asset, ()):
            assert passed(instance, asset, name) == good, (asset, name)

    landed.write_bytes(whole)
    params = {"parentRunId": asked, "strategy": "FROM_FAILURE"}
    again = ask(url, AGAIN, params)
    assert ended(instance, again).status is BulkActionStatus.COMPLETED_SUCCESS
    (only,) = runs(instance, again)
    ends = [only.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end")]
    assert ends == [BAD, BAD]
    for window in pipeline.spec.window.between(RANGE[0], HANDED_OVER[-1]):
        assert published_revision(project, pipeline.spec, window), window
    assert {len(materialized(instance, asset)) for asset in WINDOWED} == {7}
