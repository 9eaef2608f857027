"""The project's run queue, for a daemon that is to die at one point: while it submits a run.

`dagster.yaml` of a test names it. The point is read from a file in Dagster's home, which is gone
afterwards: the daemon that is started next lives.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Literal

from dagster import DagsterRun
from dagster._core.run_coordinator import SubmitRunContext

from batchinf_assets.orchestration.run_queue import WindowQueue

Point = Literal["before", "after"]

FATAL = {"run_coordinator": {"module": __name__, "class": "FatalQueue"}}


def aim(home: Path, point: Point) -> None:
    """Let the next process that comes to this point die there."""
    _bullet(home).write_text(point)


class FatalQueue(WindowQueue):
    """Kills its process before or after it submits a run."""

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        _die_at(self._instance.root_directory, "before")
        submitted = super().submit_run(context)
        _die_at(self._instance.root_directory, "after")
        return submitted


def _die_at(home: str, point: Point) -> None:
    bullet = _bullet(Path(home))
    if bullet.exists() and bullet.read_text() == point:
        bullet.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def _bullet(home: Path) -> Path:
    return home / "bullet"
