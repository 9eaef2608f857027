"""A process that works on one window after the other, as the run that started it asks."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

import pyarrow as pa
from threadpoolctl import threadpool_limits

from batchinf_assets.attempts import recorder_of
from batchinf_assets.cores import share_cores, usable_cores
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.steps.errands import Broke, Errand, Line, Wish, broke
from batchinf_assets.orchestration.steps.tries import Try, WindowResult
from batchinf_assets.spec.load import Pipeline


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a process works with.

    Attributes:
        environ: The environment of the run; what the process was forked from has an older one.
        workplace: Class and settings of the run's resource, which cannot be sent itself.
        pipeline: The pipeline.
        workers: How many such processes share the machine.
    """

    environ: Mapping[str, str]
    workplace: tuple[type[Workplace], Mapping[str, Any]]
    pipeline: Pipeline
    workers: int


def serve(run: Line, bench: Bench) -> None:
    """Do what is asked for until the run closes its end, or dies, or says SIGTERM.

    Args:
        run: To and from the run.
        bench: What to work with.
    """
    os.environ.clear()
    os.environ.update(bench.environ)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells all; the run decides
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    share_cores(bench.workers)
    pa.set_cpu_count(usable_cores())
    threadpool_limits(usable_cores())  # NumPy's threads wait for each other by spinning
    kind, settings = bench.workplace
    workplace = kind(**settings)
    try:
        while True:
            run.send(_done(run, run.recv(), workplace, bench.pipeline))
    except (EOFError, BrokenPipeError):
        pass
    finally:
        recorder_of(workplace.project()).close()


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit()


def _end_with_the_run() -> None:
    """A run that was killed finishes no window: whoever takes them over is not kept waiting."""
    run = parent_process()
    assert run is not None
    wait([run.sentinel])
    os._exit(1)


def _done(
    run: Line, errand: Errand, workplace: Workplace, pipeline: Pipeline
) -> WindowResult | Broke:
    asking = _Run(run)
    tried = Try(
        run_id=errand.run_id, again=errand.again, order=asking, require_left=asking.require_left
    )
    try:
        return errand.step(workplace, pipeline, tried, errand.window)
    except Exception as error:  # noqa: BLE001 - raised again where `isolation` decides
        return broke(error)


class _Run:
    """The run, as a step in another process sees it."""

    def __init__(self, run: Line) -> None:
        self._run, self._asking = run, threading.Lock()

    def await_earlier(self) -> None:
        self._ask("earlier")

    def release_later(self) -> None:
        self._ask("later")

    def require_left(self) -> None:
        self._ask("left")

    def _ask(self, wish: Wish) -> None:
        with self._asking:  # shards ask from threads of their own
            self._run.send(wish)
            refused: Exception | None = self._run.recv()
        if refused is not None:
            raise refused
