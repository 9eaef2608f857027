"""A sensor of the deployment that a test lets tick, as the daemon does."""

from __future__ import annotations

import dagster as dg

from batchinf_assets.definitions import defs
from batchinf_assets.orchestration.resources import Workplace


class Ticking:
    """A sensor and its cursor, which the daemon would keep from tick to tick."""

    def __init__(self, name: str, instance: dg.DagsterInstance) -> None:
        self._definitions, self._instance = defs(), instance
        self._sensor = self._definitions.resolve_sensor_def(name)
        self._cursor: str | None = None

    @property
    def job_name(self) -> str | None:
        return self._sensor.job_name

    def tick(self) -> list[dg.RunRequest]:
        with dg.build_sensor_context(
            instance=self._instance,
            cursor=self._cursor,
            definitions=self._definitions,
            resources={"workplace": Workplace()},
        ) as context:
            evaluated = self._sensor.evaluate_tick(context)
        self._cursor = evaluated.cursor
        return list(evaluated.run_requests or [])
