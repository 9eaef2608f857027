"""Steps that worker processes find by name."""

from __future__ import annotations

import ctypes
import gc
import http.client
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path

from batchinf_assets.attempts import Attempt
from batchinf_assets.cores import usable_cores
from batchinf_assets.errors import LandedFileUnreadable, LandingFault
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.steps.tries import Try, WindowResult
from batchinf_assets.scoring.preemption import stopping_on_sigterm
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window


def whole(text: str) -> WindowResult:
    return WindowResult(data_version=text, metadata={})


def count_set_apart(_at: Workplace, _of: Pipeline, _tried: Try, _window: Window) -> WindowResult:
    """Count the objects that no search for garbage looks through."""
    return whole(str(gc.get_freeze_count() if gc.isenabled() else 0))


def say_where(_at: Workplace, pipeline: Pipeline, tried: Try, window: Window) -> WindowResult:
    cores = usable_cores()
    said = (window.key, pipeline.name, tried.run_id, tried.again, cores, os.environ["SAID"])
    return whole(f"{os.getpid()} {' '.join(map(str, said))}")


def ask_everything(_at: Workplace, _of: Pipeline, tried: Try, window: Window) -> WindowResult:
    tried.order.await_earlier()
    tried.order.release_later()
    tried.require_left()
    return whole(window.key)


def refuse(_at: Workplace, _of: Pipeline, _tried: Try, window: Window) -> WindowResult:
    raise LandedFileUnreadable(
        f"{window} is cut off.", reason=LandingFault.TRUNCATED, next_step="Land it again."
    )


def find_nothing(_at: Workplace, _of: Pipeline, _tried: Try, window: Window) -> WindowResult:
    return whole(Path(f"/nowhere/{window}").read_text())


def crash(_at: Workplace, _of: Pipeline, _tried: Try, _window: Window) -> WindowResult:
    raise sqlite3.OperationalError(os.environ["SAID"])


def be_disconnected(_at: Workplace, _of: Pipeline, _tried: Try, _window: Window) -> WindowResult:
    raise http.client.RemoteDisconnected(os.environ["SAID"])


def crash_with_a_lock(_at: Workplace, _of: Pipeline, _tried: Try, _window: Window) -> WindowResult:
    raise ValueError(threading.Lock())


class _Riddle:
    def __reduce__(self) -> tuple[type[int], tuple[str]]:
        return int, ("no number",)


def answer_in_riddles(_at: Workplace, _of: Pipeline, _tried: Try, _window: Window) -> WindowResult:
    return WindowResult(data_version="1", metadata={"riddle": _Riddle()})  # type: ignore[dict-item]


def be_killed(_at: Workplace, _of: Pipeline, _tried: Try, _window: Window) -> WindowResult:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody gets here")


def break_memory(_at: Workplace, _of: Pipeline, _tried: Try, window: Window) -> WindowResult:
    note_death(window)
    ctypes.string_at(0)
    raise AssertionError("nobody gets here")


def be_killed_at_first(_at: Workplace, _of: Pipeline, tried: Try, window: Window) -> WindowResult:
    if tried.again == 0:
        note_death(window)
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(window.key)


def note_death(window: Window) -> None:
    with Path(os.environ["DEATHS"]).open("a") as book:
        book.write(f"{window.key}\n")


def be_killed_once(_at: Workplace, _of: Pipeline, attempt: Attempt, window: Window) -> WindowResult:
    mark = Path(os.environ["BATCHINF_LAKE"]) / "killed once"
    if window.key == "2013-07-03" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(str(attempt.token))


def go_on_until_told(_at: Workplace, _of: Pipeline, _tried: Try, _window: Window) -> WindowResult:
    with stopping_on_sigterm() as stop:
        Path(os.environ["BEGUN"]).touch()
        stop.wait(60)
    return whole("told")


def go_on(_at: Workplace, _of: Pipeline, _tried: Try, _window: Window) -> WindowResult:
    Path(os.environ["BEGUN"]).write_text(str(os.getpid()))
    time.sleep(60)
    return whole("never told")
