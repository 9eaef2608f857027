"""The asset graph as text: a renamed asset or a lost check shows up in review.

`graph.txt` holds what Dagster loads. After a change that was meant, renew it and commit both:
`BATCHINF_RENEW_GRAPH=1 .venv/bin/pytest batchinf_assets_tests/orchestration/test_graph.py`
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.automation_tick_evaluation_context import (
    build_run_requests_with_backfill_policies,
)
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.definitions import defs
from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.keys import WINDOWED
from batchinf_assets.orchestration.resources import shared
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.run import BackfillSpec

KEPT = Path(__file__).with_name("graph.txt")
RENEW = "BATCHINF_RENEW_GRAPH"
COMMAND = f"{RENEW}=1 .venv/bin/pytest {Path(__file__).relative_to(Path(__file__).parents[2])}"


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return defs().get_repository_def()


def described(repository: dg.RepositoryDefinition) -> str:
    """Write everything that an operator can see by name."""
    blocks = [*_assets(repository), *_jobs(repository), *_sensors(repository)]
    return "\n\n".join([*blocks, *_schedules(repository)]) + "\n"


def _assets(repository: dg.RepositoryDefinition) -> Iterator[str]:
    graph = repository.asset_graph
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        kind = "asset" if node.is_materializable else "observed" if node.is_observable else "landed"
        lines = [f"{kind} {key.to_user_string()}", f"  partitions {_grid(node.partitions_def)}"]
        lines += [f"  needs {parent.to_user_string()}" for parent in sorted(node.parent_keys)]
        for check in sorted(node.check_keys, key=lambda check: check.name):
            spec = graph.get_check_spec(check)
            lines.append(f"  check {check.name} ({'blocks' if spec.blocking else 'warns'})")
        yield "\n".join(lines)


def _jobs(repository: dg.RepositoryDefinition) -> Iterator[str]:
    for job in sorted(repository.get_all_jobs(), key=lambda job: job.name):
        if job.name.startswith("__"):  # Dagster's own, for runs by hand
            continue
        keys = sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys)
        lines = [f"job {job.name}", f"  partitions {_grid(job.partitions_def)}"]
        yield "\n".join([*lines, *(f"  runs {key}" for key in keys)])


def _sensors(repository: dg.RepositoryDefinition) -> Iterator[str]:
    for sensor in sorted(repository.sensor_defs, key=lambda sensor: sensor.name):
        yield (
            f"sensor {sensor.name}\n  starts {sensor.job_name}\n"
            f"  every {sensor.minimum_interval_seconds} seconds, "
            f"{sensor.default_status.value.lower()} at first"
        )


def _schedules(repository: dg.RepositoryDefinition) -> Iterator[str]:
    for schedule in sorted(repository.schedule_defs, key=lambda schedule: schedule.name):
        yield (
            f"schedule {schedule.name}\n  starts {schedule.job_name}\n"
            f"  at {schedule.cron_schedule} {schedule.execution_timezone}, "
            f"{schedule.default_status.value.lower()} at first"
        )


def _grid(partitions: dg.PartitionsDefinition[str] | None) -> str:
    if not isinstance(partitions, dg.TimeWindowPartitionsDefinition):
        return "none" if partitions is None else type(partitions).__name__
    end = partitions.end.date() if partitions.end else "now"
    due = " and the one that has begun" if partitions.end_offset == 1 else ""
    return (
        f"{partitions.cron_schedule} from {partitions.start.date()} to {end} "
        f"{partitions.timezone}{due}"
    )


def test_the_graph_is_the_committed_one(repository: dg.RepositoryDefinition) -> None:
    found = described(repository)
    if os.environ.get(RENEW):
        KEPT.write_text(found, encoding="utf-8")
    kept = KEPT.read_text(encoding="utf-8") if KEPT.is_file() else ""
    changes = difflib.unified_diff(
        kept.splitlines(), found.splitlines(), KEPT.name, "what Dagster loads", lineterm=""
    )
    assert kept == found, "\n".join([*changes, "", f"If this was meant, renew it: {COMMAND}"])


def test_the_text_names_every_asset_check_job_sensor_and_schedule(
    repository: dg.RepositoryDefinition,
) -> None:
    graph = repository.asset_graph
    lines = KEPT.read_text(encoding="utf-8").splitlines()
    words = [line.split()[0] for line in lines if line]
    assets = graph.get_all_asset_keys()
    assert sum(words.count(word) for word in ("asset", "observed", "landed")) == len(assets)
    assert words.count("check") == len(graph.asset_check_keys)
    assert words.count("job") == sum(
        not job.name.startswith("__") for job in repository.get_all_jobs()
    )
    assert words.count("sensor") == len(repository.sensor_defs)
    assert words.count("schedule") == len(repository.schedule_defs)
    assert words.count("needs") == sum(len(graph.get(key).parent_keys) for key in assets)


@pytest.mark.parametrize(
    ("pipeline", "references"),
    [("flight_delays", {"planes", "weather"}), ("departure_delays", {"weather"})],
)
def test_what_readers_see_is_made_by_every_asset_before_it(
    repository: dg.RepositoryDefinition, pipeline: str, references: set[str]
) -> None:
    graph = repository.asset_graph
    published = dg.AssetKey([pipeline, "published"])
    names = {key.path[-1] for key in graph.get_ancestor_asset_keys(published)}
    landed = {"source", "outcomes", *references}
    assert names == landed | {"snapshot", "features", "model", "predictions", "evaluation"}


@pytest.mark.parametrize("pipeline", ["flight_delays", "departure_delays"])
def test_every_window_asset_shares_partitions_and_backfill_policy(
    repository: dg.RepositoryDefinition, pipeline: str
) -> None:
    # Otherwise a backfill would split into runs of their own, and blocking checks block nothing.
    graph = repository.asset_graph
    nodes = [
        graph.get(key)
        for key in graph.materializable_asset_keys
        if key.path[0] == pipeline and key.path[-1] != "challenger"
    ]
    assert len(nodes) == 6
    assert len({node.partitions_def for node in nodes}) == 1
    assert {node.backfill_policy for node in nodes} == {dg.BackfillPolicy.multi_run(92)}


def test_a_backfill_is_cut_into_runs_of_the_declared_number_of_windows(pipeline: Pipeline) -> None:
    spec = pipeline.spec.model_copy(update={"backfill": BackfillSpec(chunk=2)})
    with disable_dagster_warnings():
        small = dg.Definitions.merge(
            pipeline_definitions(Pipeline(spec=spec, folder=pipeline.folder)), shared()
        )
    keys = {dg.AssetKey([spec.name, name]) for name in WINDOWED}
    days = [f"2013-07-0{day}" for day in range(1, 6)]
    with dg.DagsterInstance.ephemeral() as instance:
        requests = build_run_requests_with_backfill_policies(
            [AssetKeyPartitionKey(key, day) for key in keys for day in days],
            small.resolve_asset_graph(),
            instance,
        )
    ends = [
        (
            request.tags.get("dagster/asset_partition_range_start", request.partition_key),
            request.tags.get("dagster/asset_partition_range_end", request.partition_key),
        )
        for request in requests
    ]
    assert sorted(ends) == [(days[0], days[1]), (days[2], days[3]), (days[4], days[4])]
    assert [set(request.asset_selection or ()) for request in requests] == [keys] * 3
