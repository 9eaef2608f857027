"""What a span of work took: time, CPU, block devices, memory; read from the operating system.

A figure that the system does not give is None, never 0.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
RESET_PEAK = "5"  # proc(5), /proc/pid/clear_refs: reset the peak resident set size


@dataclass(frozen=True, kw_only=True)
class ResourceUse:
    """What a span took.

    Attributes:
        wall_seconds: By a monotonic clock.
        cpu_seconds: User and system time of the process, all its threads, and those of its
            children that ended in the span and were waited for.
        io_read_bytes: Bytes that the process and such children made block devices read; neither
            the page cache nor the network counts.
        io_write_bytes: Bytes that they sent towards block devices.
        io_seconds: Time that threads still alive waited for block devices, all threads added up;
            a lower bound, as threads that ended take theirs with them.
        peak_memory_bytes: Largest resident set of the process, children not included.
        peak_since_start: True where the system could not reset the peak: it is then that of the
            whole process so far.
    """

    wall_seconds: float
    cpu_seconds: float
    io_read_bytes: int | None
    io_write_bytes: int | None
    io_seconds: float | None
    peak_memory_bytes: int
    peak_since_start: bool


class Span:
    """A running measurement; `measure` makes it.

    Args:
        proc: Where the kernel tells about processes.
    """

    def __init__(self, proc: Path) -> None:
        self._proc = proc
        self._peak = 0
        self._ended: ResourceUse | None = None
        self._peak_since_start = not _peaks.begin(self)
        self._wall, self._cpu = time.monotonic(), _cpu_seconds()
        self._io, self._waits = _io_bytes(proc), _io_waits(proc)

    @property
    def proc(self) -> Path:
        """Where the kernel tells about processes."""
        return self._proc

    @property
    def use(self) -> ResourceUse:
        """What the span took: up to now, or up to its end once it is over."""
        return self._ended or self._so_far()

    def saw_peak(self, peak: int) -> None:
        """Take in a peak that was read before another span resets it."""
        self._peak = max(self._peak, peak)

    def end(self) -> None:
        """Stop measuring."""
        self._ended = self._so_far()
        _peaks.end(self)

    def _so_far(self) -> ResourceUse:
        self.saw_peak(_peak_bytes(self._proc))
        io = _io_bytes(self._proc)
        return ResourceUse(
            wall_seconds=time.monotonic() - self._wall,
            cpu_seconds=_cpu_seconds() - self._cpu,
            io_read_bytes=_difference(io, self._io, "read_bytes"),
            io_write_bytes=_difference(io, self._io, "write_bytes"),
            io_seconds=_waited(_io_waits(self._proc), self._waits),
            peak_memory_bytes=self._peak,
            peak_since_start=self._peak_since_start,
        )


@contextmanager
def measure(proc: Path = PROC) -> Generator[Span]:
    """Give a span that measures the block, during and after it, as `span.use`.

    Spans may nest and overlap. What other threads of the process do meanwhile counts too.
    """
    span = Span(proc)
    try:
        yield span
    finally:
        span.end()


class _Peaks:
    """The kernel keeps one peak per process: who resets it first tells the spans that still run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Span] = set()

    def begin(self, span: Span) -> bool:
        """Add a span; says whether the peak counts from now on."""
        with self._lock:
            peak = _peak_bytes(span.proc)
            for running in self._running:
                running.saw_peak(peak)
            self._running.add(span)
            return _reset_peak(span.proc)

    def end(self, span: Span) -> None:
        with self._lock:
            self._running.discard(span)


_peaks = _Peaks()


def _reset_peak(proc: Path) -> bool:
    try:
        (proc / "self" / "clear_refs").write_text(RESET_PEAK)
    except OSError:
        return False
    return True


def _peak_bytes(proc: Path) -> int:
    peak = _read_pairs(proc / "self" / "status").get("VmHWM")
    if peak is not None:
        return int(peak.split()[0]) * 1024
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024  # getrusage(2): kilobytes


def _cpu_seconds() -> float:
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def _io_bytes(proc: Path) -> dict[str, str]:
    return _read_pairs(proc / "self" / "io")


def _difference(after: dict[str, str], before: dict[str, str], name: str) -> int | None:
    return int(after[name]) - int(before[name]) if name in after and name in before else None


def _read_pairs(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _io_waits(proc: Path) -> dict[str, int] | None:
    """Return clock ticks waited by thread, or None where the kernel does not count them.

    proc(5): `delayacct_blkio_ticks` is field 42 of stat. Since Linux 5.14 it is 0 for ever unless
    `kernel.task_delayacct` is on.
    """
    try:
        if (proc / "sys" / "kernel" / "task_delayacct").read_text().strip() != "1":
            return None
    except OSError:
        return None
    waits: dict[str, int] = {}
    for thread in (proc / "self" / "task").glob("*/stat"):
        try:
            fields = thread.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        waits[f"{thread.parent.name} {fields[19]}"] = int(fields[39])  # its id and start time
    return waits


def _waited(after: dict[str, int] | None, before: dict[str, int] | None) -> float | None:
    if after is None or before is None:
        return None
    ticks = sum(ticks - before.get(thread, 0) for thread, ticks in after.items())
    return ticks / os.sysconf("SC_CLK_TCK")
