"""The processes that work on the windows of a run side by side.

Python runs one thread at a time, and what a small window takes is mostly Python: so a window has a
process, which a crash of native code, or the kernel that wants its memory back, ends alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Pipe
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from queue import Empty, LifoQueue
from tempfile import gettempdir
from threading import Lock
from typing import Protocol

from batchinf_assets.errors import BatchinfError, Preempted, WorkerDied
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.steps.errands import Broke, Elsewhere, Errand, Line, Wish
from batchinf_assets.orchestration.steps.tries import Try, WindowResult
from batchinf_assets.orchestration.steps.worker_process import Bench, serve
from batchinf_assets.spec.load import Pipeline

FORK_SERVER = "batchinf_assets.orchestration.steps.fork_server"
"""The module that is imported by the process which workers are forked from, and by no other."""

PATIENCE_SECONDS = 30.0
"""How long a process that is asked to leave may take, before it is killed."""

LONGEST_TEMPDIR = 71
"""Of the 103 bytes that the address of a socket has (unix(4)), multiprocessing adds 32."""


class Hands(Protocol):
    """Who works on windows: this process, or others."""

    @property
    def at_once(self) -> int:
        """How many windows at a time."""
        ...

    def work(self, errand: Errand, tried: Try) -> WindowResult:
        """Work on a window.

        Raises:
            WorkerDied: The process that worked on it did.
            Exception: What the step raised.
        """
        ...

    def leave(self) -> None:
        """End soon: no window is worked on to its end any more but what cannot stop earlier."""
        ...


@dataclass(frozen=True, kw_only=True)
class Here:
    """This process works on the windows, one by one."""

    workplace: Workplace
    pipeline: Pipeline
    at_once: int = 1

    def work(self, errand: Errand, tried: Try) -> WindowResult:
        """Work on a window."""
        return errand.step(self.workplace, self.pipeline, tried, errand.window)

    def leave(self) -> None:
        """Signals end it by themselves."""


class Workers:
    """Processes that work on windows, started as they are needed and ended together.

    Args:
        workplace: The run's.
        pipeline: Whose windows they are.
        at_once: How many processes.
    """

    def __init__(self, workplace: Workplace, pipeline: Pipeline, at_once: int) -> None:
        self.at_once = at_once
        self._bench = Bench(
            environ=dict(os.environ),
            workplace=(type(workplace), workplace.model_dump()),
            pipeline=pipeline,
            workers=at_once,
        )
        self._context = _context()
        self._free: LifoQueue[_Member] = LifoQueue()
        self._all: set[_Member] = set()
        self._lock = Lock()
        self._is_leaving = False

    def work(self, errand: Errand, tried: Try) -> WindowResult:
        """Work on a window in a process that has none."""
        member = self._member(errand)
        try:
            with ExitStack() as broken:
                broken.callback(self._discard, member)
                result = member.work(errand, tried)
                broken.pop_all()
        except (EOFError, OSError) as error:
            raise self._ended(errand, member) from error
        self._free.put(member)
        if isinstance(result, Broke):
            raise result.error from Elsewhere(result.frames)
        return result

    def leave(self) -> None:
        """Ask every process to leave; those that work on a window do where they can."""
        with self._lock:
            if not self._is_leaving:
                self._is_leaving = True
                for member in self._all:
                    member.process.terminate()

    def close(self) -> None:
        """End every process."""
        with self._lock:
            members, self._all = self._all, set()
        for member in members:
            member.connection.close()
        for member in members:
            _end(member.process)

    def _member(self, errand: Errand) -> _Member:
        with self._lock:
            if self._is_leaving:
                raise _left(errand)
            member = self._idle() or self._started(errand)
            self._all.add(member)
            return member

    def _idle(self) -> _Member | None:
        with suppress(Empty):
            while True:
                member = self._free.get_nowait()
                if not member.connection.poll():
                    return member
                member.connection.close()  # nobody asked it: what it says is that it died
                self._all.discard(member)
        return None

    def _started(self, errand: Errand) -> _Member:
        own, theirs = Pipe()
        process = self._context.Process(target=serve, args=(theirs, self._bench), daemon=True)
        try:
            with theirs:
                process.start()
        except (EOFError, OSError) as error:
            own.close()
            raise _not_started(errand) from error
        return _Member(process=process, connection=own)

    def _ended(self, errand: Errand, member: _Member) -> BatchinfError:
        return _left(errand) if self._is_leaving else _died(errand, member)

    def _discard(self, member: _Member) -> None:
        with self._lock:
            self._all.discard(member)
        member.connection.close()
        _end(member.process)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Member:
    process: BaseProcess
    connection: Line

    def work(self, errand: Errand, tried: Try) -> WindowResult | Broke:
        wishes: dict[Wish, Callable[[], None]] = {
            "earlier": tried.order.await_earlier,
            "later": tried.order.release_later,
            "left": tried.require_left,
        }
        self.connection.send(errand)
        while not isinstance(said := self.connection.recv(), WindowResult | Broke):
            self.connection.send(_refusal(wishes[said]))
        return said


def _refusal(grant: Callable[[], None]) -> BatchinfError | None:
    try:
        grant()
    except BatchinfError as error:
        return error
    return None


def _end(process: BaseProcess) -> None:
    process.join(PATIENCE_SECONDS)
    if process.is_alive():
        process.kill()
        process.join(PATIENCE_SECONDS)


def _left(errand: Errand) -> Preempted:
    return Preempted(
        f"Window {errand.window} was left, as the run was asked to leave.",
        next_step="Run it again: what is finished stays.",
    )


def _died(errand: Errand, member: _Member) -> WorkerDied:
    how = _ending(member.process.exitcode)
    return _dead(f"The process that worked on window {errand.window} ended {how}.")


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"with exit code {code}"
    names = {int(each): each.name for each in signal.Signals}
    return f"by {names.get(-code, f'signal {-code}')}"


def _not_started(errand: Errand) -> WorkerDied:
    return _dead(f"The process that was to work on window {errand.window} could not be started.")


def _dead(sentence: str) -> WorkerDied:
    return WorkerDied(
        sentence,
        next_step="Run the window again. If that goes on, see whether memory was short, and "
        "declare fewer backfill.workers, or set PYTHONFAULTHANDLER=1: the run's output then has "
        "the place where native code crashed.",
    )


def prepare_workers() -> None:
    """Begin to import what workers need."""
    if isinstance(_context(), ForkServerContext):
        forkserver.ensure_running()


def _context() -> ForkServerContext | SpawnContext:
    """Fork from a process that imported everything and has run nothing yet, where there is one.

    To fork this process itself would copy locks that its other threads hold. The threads that
    libraries start when they are imported, jemalloc's and OpenBLAS's, are made for being forked.
    The server listens in the temporary folder, which may lie too far down for a socket.
    """
    reachable = len(os.fsencode(gettempdir())) <= LONGEST_TEMPDIR
    if not reachable or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([FORK_SERVER])
    return context
