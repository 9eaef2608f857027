"""The budget of each run of this process; the caps themselves are `backfill.caps`'."""

from __future__ import annotations

import time
from collections import OrderedDict
from datetime import UTC, datetime
from threading import Lock

import dagster as dg

from batchinf_assets.project import Project
from batchinf_assets.publishing.backfill.caps import Budget, opened_budget
from batchinf_assets.spec.load import Pipeline

KEPT = 64

_opened: OrderedDict[str, Budget] = OrderedDict()
_opening = Lock()


def budget_of(context: dg.AssetExecutionContext, pipeline: Pipeline, project: Project) -> Budget:
    """Return the budget of the run; its first step predicts the run and opens it.

    In a later process of the same run the seconds since Dagster started the run count as spent.
    """
    run_id = context.run.run_id
    with _opening:
        if run_id not in _opened:
            windows = sorted(map(pipeline.spec.window.window, context.partition_keys))
            _opened[run_id] = opened_budget(
                project, pipeline.spec, windows, datetime.now(UTC), spent=_spent(context)
            )
            while len(_opened) > KEPT:
                _opened.popitem(last=False)
        return _opened[run_id]


def _spent(context: dg.AssetExecutionContext) -> float:
    record = context.instance.get_run_record_by_id(context.run.run_id)
    started = record.start_time if record else None
    return 0.0 if started is None else max(0.0, time.time() - started)
