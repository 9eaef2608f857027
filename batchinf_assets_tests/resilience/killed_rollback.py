"""A performance run in a process of its own that takes a window back and is killed while it does.

Run as a program this file measures the window by a bound that no model keeps.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dagster as dg

from batchinf_assets.lake.table import WindowTable
from batchinf_assets.orchestration.rollback import taking_back
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.project import CHECKOUT
from batchinf_assets.publishing import announcements
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets_tests.orchestration.rollback.test_withdrawal import job_of

MODULE = "batchinf_assets_tests.resilience.killed_rollback"
DAY = "2013-07-03"
POINTS = {
    "before the commit": (WindowTable, "commit", True),
    "after the commit": (WindowTable, "commit", False),
    "before it is announced": (announcements, "keep_decision", True),
    "after it was announced": (announcements, "keep_decision", False),
    "before Dagster is told": (taking_back, "tell_dagster", True),
}


def demanding(pipeline: Pipeline, *, withdraw: bool) -> Pipeline:
    """The pipeline with a bound that no model keeps, and a policy that acts on it."""
    spec = pipeline.spec
    bound = spec.performance.model_copy(update={"at_least": {"auroc": 0.99}})
    policy = spec.rollback.model_copy(update={"automatic": True, "withdraw": withdraw})
    changed = spec.model_copy(update={"performance": bound, "rollback": policy})
    return replace(pipeline, spec=changed)


def killed_rollback(point: str, *, withdraw: bool) -> None:
    """Measure the window and return once the process was killed at this point."""
    ended = subprocess.run(
        [sys.executable, "-m", MODULE, point, "withdraw" if withdraw else "back"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr


def _dying(act: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
    def dies(*given: Any, **named: Any) -> None:
        table = given[0]
        if isinstance(table, WindowTable) and table.folder.name != "predictions":
            act(*given, **named)  # figures that are kept
            return
        if not before:
            act(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    return dies


def main(point: str, what: str) -> None:
    strict = demanding(load_pipeline("flight_delays"), withdraw=what == "withdraw")
    window = strict.spec.window.window(DAY)
    job = job_of(strict, "flight_delays_performance")
    place, name, before = POINTS[point]
    setattr(place, name, _dying(getattr(place, name), before=before))
    with dg.DagsterInstance.get() as instance:
        run_job(job, instance, [window], lambda _window, _asset: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
