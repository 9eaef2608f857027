"""Three pipelines of two teams whose runs wait at a gate, so that a test sees who may start.

Loaded by the code server of `test_run_queue`: owners, partitions and pools are like the real ones,
the steps do nothing but wait while the file `gate` lies in Dagster's home.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import dagster as dg

from batchinf_assets.orchestration.steps.pools import pool_of

TEAMS = {"arrivals": "red", "departures": "red", "fares": "blue"}
DAYS = dg.DailyPartitionsDefinition("2013-07-01", end_date="2013-08-01")


def gate_of(home: Path) -> Path:
    return home / "gate"


def gated(pipeline: str, name: str, team: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=[pipeline, name],
        partitions_def=DAYS,
        owners=[f"team:{team}"],
        pool=pool_of(pipeline, name),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def waits() -> None:
        while gate_of(Path(os.environ["DAGSTER_HOME"])).exists():
            time.sleep(0.05)

    return waits


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(
        assets=[
            gated(pipeline, name, team)
            for pipeline, team in TEAMS.items()
            for name in ("snapshot", "predictions")
        ],
        executor=dg.in_process_executor,
    )
