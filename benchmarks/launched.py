"""A backfill as Dagster runs it: asked for, cut into runs, queued and launched by its daemon.

As a module of definitions it is the project's pipeline with as many windows per run as
`BENCHMARK_WINDOWS_PER_RUN` says; as a script it asks for a backfill and waits until all its runs
have ended.

    BENCHMARK_WINDOWS_PER_RUN=1 dagster dev -m benchmarks.launched
    BENCHMARK_WINDOWS_PER_RUN=1 python -m benchmarks.launched WINDOW...
"""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime

import dagster as dg

from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.resources import shared
from batchinf_assets.orchestration.runs.launch import launch_backfill
from batchinf_assets.spec.load import Pipeline, load_pipeline

RUNS_OF = "BENCHMARK_WINDOWS_PER_RUN"
PATIENCE_SECONDS = 7_200


def declared() -> Pipeline:
    """Return the pipeline, cut as the environment says."""
    pipeline = load_pipeline("flight_delays")
    backfill = pipeline.spec.backfill.model_copy(update={"chunk": int(os.environ[RUNS_OF])})
    return Pipeline(
        spec=pipeline.spec.model_copy(update={"backfill": backfill}), folder=pipeline.folder
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Load the pipeline."""
    return dg.Definitions.merge(pipeline_definitions(declared()), shared())


def seconds(instance: dg.DagsterInstance, windows: list[str]) -> float:
    """Run a backfill; what it takes from its first run being queued to the last one's end.

    How long the daemon takes to look for new backfills is left out: it does so every half minute.
    """
    pipeline = declared()
    wanted = -(-len(windows) // pipeline.spec.backfill.chunk)
    definitions = dg.Definitions.merge(pipeline_definitions(pipeline), shared())
    backfill = launch_backfill(instance, definitions, pipeline, windows)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(1)
        records = instance.get_run_records(dg.RunsFilter(tags={"dagster/backfill": backfill}))
        if len(records) == wanted and all(each.dagster_run.is_finished for each in records):
            break
    else:
        raise SystemExit(f"{len(records)} of {wanted} runs were seen, and not all have ended.")
    failed = [each.dagster_run.run_id for each in records if not each.dagster_run.is_success]
    if failed:
        raise SystemExit(f"Runs failed: {', '.join(failed)}")
    queued = min(each.create_timestamp for each in records)
    ended = max(each.end_time or 0.0 for each in records)
    return ended - datetime.timestamp(queued)


if __name__ == "__main__":
    with dg.DagsterInstance.get() as found:
        print(seconds(found, sys.argv[1:]))
