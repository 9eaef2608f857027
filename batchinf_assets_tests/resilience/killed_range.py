"""A range run in a process of its own, which is killed once a window's asset is finished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import dagster as dg

from batchinf_assets.cli.workplace import job_of
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.project import CHECKOUT
from batchinf_assets.spec.load import load_pipeline

MODULE = "batchinf_assets_tests.resilience.killed_range"
PIPELINE = "flight_delays"


def killed_range(first: str, last: str, window: str, asset: str) -> None:
    """Run the range and return once the process was killed."""
    ended = subprocess.run(
        [sys.executable, "-m", MODULE, first, last, window, asset],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr


def main(first: str, last: str, window: str, asset: str) -> None:
    pipeline = load_pipeline(PIPELINE)

    def hear(key: str, name: str) -> None:
        if (key, name) == (window, asset):
            os.kill(os.getpid(), signal.SIGKILL)

    with dg.DagsterInstance.get() as instance:
        run_job(job_of(pipeline), instance, pipeline.spec.window.between(first, last), hear)


if __name__ == "__main__":
    main(*sys.argv[1:])
