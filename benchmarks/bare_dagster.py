"""As many assets as flight_delays has, empty, without checks: the least that Dagster can cost.

`python -m benchmarks.bare_dagster WINDOW` runs one window in process. It imports Dagster alone.
"""

from __future__ import annotations

import sys

import dagster as dg

PIPELINE = "flight_delays"
PARTITIONS = dg.DailyPartitionsDefinition(
    "2013-01-01", end_date="2014-01-01", timezone="America/New_York", end_offset=1
)
UPSTREAM = {
    "snapshot": [],
    "features": ["snapshot"],
    "predictions": ["features", "model"],
    "evaluation": ["predictions", "model"],
    "published": ["evaluation"],
    "performance": ["published"],
}


def empty_asset(name: str) -> dg.AssetsDefinition:
    """Return an asset that does nothing."""

    @dg.asset(
        key=[PIPELINE, name],
        deps=[dg.AssetKey([PIPELINE, dep]) for dep in UPSTREAM[name]],
        partitions_def=PARTITIONS,
    )
    def asset() -> None:
        pass

    return asset


@dg.observable_source_asset(key=[PIPELINE, "model"])
def model() -> dg.DataVersion:
    """Observe nothing new."""
    return dg.DataVersion("1")


def main() -> None:
    """Run one window."""
    definitions = dg.Definitions(
        assets=[model, *map(empty_asset, UPSTREAM)],
        jobs=[dg.define_asset_job("empty")],
        executor=dg.in_process_executor,
    )
    with dg.DagsterInstance.get() as instance:
        result = definitions.resolve_job_def("empty").execute_in_process(
            instance=instance,
            partition_key=sys.argv[1],
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    sys.exit(0 if result.success else 1)


if __name__ == "__main__":
    main()
