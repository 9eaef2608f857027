"""The machine that a benchmark runs on: what it is, and who else was busy on it meanwhile."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

BUSY = slice(0, 8)
IDLE = slice(3, 5)
"""Columns of the first line of /proc/stat, see proc(5): all that sum to time; idle and iowait."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Seconds since some start, or between two moments.

    Attributes:
        wall: By the clock.
        busy: Core seconds of everybody; None where Linux is not.
        own: Core seconds of this process and of its children that have ended.
    """

    wall: float
    busy: float | None
    own: float

    @classmethod
    def now(cls) -> Load:
        """Read the counters."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        own = sum(each.ru_utime + each.ru_stime for each in used)
        return cls(wall=time.perf_counter(), busy=_busy(), own=own)

    def __sub__(self, earlier: Load) -> Load:
        known = self.busy is not None and earlier.busy is not None
        return Load(
            wall=self.wall - earlier.wall,
            busy=self.busy - earlier.busy if known else None,
            own=self.own - earlier.own,
        )

    @property
    def others(self) -> float | None:
        """How many cores others kept busy, on average."""
        return None if self.busy is None else max(0.0, self.busy - self.own) / self.wall


def described(cores: int) -> str:
    """Name processor, cores, memory and kernel."""
    model, memory = platform.processor() or platform.machine(), ""
    if (cpu := Path("/proc/cpuinfo")).exists():
        named = [line for line in cpu.read_text().splitlines() if line.startswith("model name")]
        model = named[0].partition(":")[2].strip() if named else model
    if hasattr(os, "sysconf"):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory = f", {total / 2**30:.0f} GiB"
    return f"{model}, {cores} cores{memory}, {platform.system()}"


def libraries(names: Sequence[str]) -> str:
    """Name Python's version and those of installed distributions."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in names)])


def _busy() -> float | None:
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    ticks = list(map(int, stat.read_text().splitlines()[0].split()[1:]))
    return (sum(ticks[BUSY]) - sum(ticks[IDLE])) / os.sysconf("SC_CLK_TCK")
