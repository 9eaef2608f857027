"""A run of a window in a process of its own, which waits while it scores one of the shards.

Run as a program this file is `batchinf run`, or the same steps without Dagster. The process tells
through a pipe that it waits and which signals came, and goes on at SIGCONT.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from batchinf_assets.errors import BatchinfError
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.model import ScoringModel, scoring_model
from batchinf_assets.spec.load import DEFS_FOLDER, Pipeline, load_pipeline
from batchinf_assets_tests.resilience import window_run
from batchinf_assets_tests.scoring.watched_scorer import watched

MODULE = "batchinf_assets_tests.resilience.gated_run"
PIPELINE, DAY, SHARD_ROWS, SHARDS = "flight_delays", "2013-07-04", 100, 8
PATIENCE_SECONDS = 120.0
NO_GATE = 0
AT_GATE = 0  # no signal has this number


def small_defs(folder: Path) -> Path:
    """Copy the demo's declaration to a folder, with shards of a hundred rows."""
    own = folder / PIPELINE
    own.mkdir(parents=True)
    for path in (DEFS_FOLDER / PIPELINE).iterdir():
        if path.is_file():
            (own / path.name).write_bytes(path.read_bytes())
    declaration = own / "defs.yaml"
    declaration.write_text(f"{declaration.read_text()}\n  shard_rows: {SHARD_ROWS}\n")
    return folder


@dataclass(frozen=True)
class GatedRun:
    """The test's end of such a process."""

    process: subprocess.Popen[str]
    gate: int

    def wait_at_gate(self) -> None:
        """Return once it scores the shard at which it waits."""
        self._hear(AT_GATE)

    def preempt(self) -> None:
        """Ask it to leave, and let it go on once it has heard that.

        Python runs the handlers of signals that came in the order of their numbers, so that of
        SIGTERM has run where that of SIGCONT opens the gate.
        """
        self.process.send_signal(signal.SIGTERM)
        self._hear(signal.SIGTERM)
        self.go_on()

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def output(self) -> tuple[int, str]:
        """Wait for its end; return its exit code, and what it printed."""
        printed, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, printed

    def _hear(self, expected: int) -> None:
        with selectors.DefaultSelector() as waiting:  # select() itself ends at 1,024 descriptors
            waiting.register(self.gate, selectors.EVENT_READ)
            heard = os.read(self.gate, 1) if waiting.select(PATIENCE_SECONDS) else b""
        if heard != bytes([expected]):
            self.process.kill()
            pytest.fail(f"It told {heard!r} instead of {expected}, and printed {self.output()}")


@contextmanager
def gated_run(
    how: str, defs: Path, *, shard: int = NO_GATE, run_id: str = "run"
) -> Generator[GatedRun]:
    """Start a run of the window; it is killed at the end if it is still there.

    Args:
        how: `command` or `steps`.
        defs: What `small_defs` made.
        shard: Counts the shards from 1; it waits as it begins to score this one. 0 to not wait.
        run_id: The run's name where it runs in steps.
    """
    gate, told = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, how, defs, str(shard), str(told), run_id],
        cwd=CHECKOUT,
        pass_fds=[told],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(told)
    try:
        yield GatedRun(process, gate)
    finally:
        process.kill()
        process.communicate()
        os.close(gate)


class Gate:
    """Stops who scores the n-th part until SIGCONT comes."""

    def __init__(self, shard: int, told: int) -> None:
        self._shard, self._told, self._seen = shard, told, 0
        self._open = threading.Event()
        signal.signal(signal.SIGCONT, lambda _signal, _frame: self._open.set())
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told)  # tells of every signal as it comes

    def __call__(self, _rows: pa.Table) -> None:
        self._seen += 1
        if self._seen == self._shard:
            os.write(self._told, bytes([AT_GATE]))
            if not self._open.wait(PATIENCE_SECONDS):
                raise TimeoutError("nobody opened the gate")


def main(how: str, defs: str, shard: str, told: str, run_id: str) -> None:
    gate = Gate(int(shard), int(told))

    def gated(registry: Registry, pipeline: Pipeline, now: datetime) -> ScoringModel:
        # One thread, so that the shards before the gate are done and those behind it are not.
        return watched(scoring_model(registry, pipeline, now), gate, for_threads=False)

    load = partial(load_pipeline, defs=Path(defs))
    {"command": as_command, "steps": partial(as_steps, run_id)}[how](load, gated)


def as_command(load: Callable[[str], Pipeline], model: Callable[..., ScoringModel]) -> None:
    from batchinf_assets.cli import main as batchinf
    from batchinf_assets.cli import windows
    from batchinf_assets.orchestration.assets import pipeline as assets

    windows.load_pipeline, assets.scoring_model = load, model
    batchinf(["run", PIPELINE, DAY])


def as_steps(
    run_id: str, load: Callable[[str], Pipeline], model: Callable[..., ScoringModel]
) -> None:
    pipeline, window_run.scoring_model = load(PIPELINE), model
    window = pipeline.spec.window.window(DAY)
    try:
        window_run.run_window(Project.here(os.environ), pipeline, window, run_id)
    except BatchinfError as error:
        print(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
