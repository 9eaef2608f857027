"""What each side is told, and what it answers: one JSON file in, one line of JSON out.

Read by the Python of `.venv-rivals` too, so it imports nothing that only the project has.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BLOCK = 131_072
"""Rows that scikit-learn takes at a time where a side can choose: its fastest, measured here."""

ANSWER = "answer: "


@dataclass(frozen=True, kw_only=True)
class Job:
    """One scoring of the window.

    Attributes:
        root: The world's folder, for the sides that are ours.
        features: The Parquet file to score.
        model: The fitted model as skops.
        out: A folder to write below; it exists and is empty.
        rows: Rows in the file.
        key: Its key column.
        columns: Its feature columns.
        score: What to call the score.
        cores: How many cores a side may use.
    """

    root: str
    features: str
    model: str
    out: str
    rows: int
    key: str
    columns: tuple[str, ...]
    score: str
    cores: int

    def write(self, path: Path) -> None:
        """Keep the job as a file."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def read_job() -> Job:
    """Read the job that the first argument names."""
    told: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return Job(**{**told, "columns": tuple(told["columns"])})


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Stopwatch:
    """Seconds by stage, from one lap to the next; and what this process used of the cores."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._since, self._cpu = time.perf_counter(), time.process_time()

    @property
    def cpu(self) -> float:
        """Core seconds since the start, over all threads."""
        return time.process_time() - self._cpu

    def restart(self) -> None:
        """Give what passed since the lap before to nobody."""
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Give what passed since the lap before to a stage."""
        now = time.perf_counter()
        self.stages[stage] = now - self._since
        self._since = now


def answer(watch: Stopwatch, **more: object) -> None:
    """Print what a side measured: seconds by stage, core seconds, the process's peak in bytes."""
    measured = {"stages": watch.stages, "cpu": watch.cpu, "peak": peak_memory()}
    print(ANSWER + json.dumps({**measured, **more}), flush=True)


def peak_memory() -> int | None:
    """Return the most memory that this process ever held, in bytes; None where Linux is not."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
