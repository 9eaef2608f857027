"""Run one side of `benchmarks.batch_scoring` as a process of its own, and check what it wrote."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.project import CHECKOUT
from batchinf_assets.scoring.shards import plan_shards
from benchmarks.machine import Load
from benchmarks.rivals.job import ANSWER, Job, usable_cores
from benchmarks.rivals.ours import READY
from benchmarks.rivals.sklearn_model import load, probabilities
from benchmarks.scoring_world import FEATURES, FIRST_KEY, KEY, SCORE, ScoringWorld

Side = Literal["ours", "bare", "limit", "script", "ray", "spark"]

MODULES: dict[Side, str] = {
    "script": "plain_script",
    "ours": "ours",
    "bare": "bare",
    "limit": "limit",
    "ray": "ray_data",
    "spark": "spark",
}
ELSEWHERE: tuple[Side, ...] = ("ray", "spark")
"""These work in processes that are not ours to measure, and in an environment of their own."""

RIVALS = CHECKOUT / ".venv-rivals" / "bin" / "python"
INPUTS = ("snapshot", "features", "_definitions")
"""What a turn finds in the lake; everything else is of an earlier one."""

KILL_AT, FEWEST_SHARDS = 0.9, 8
DECISION = 0.5
QUIET = 0.1
TURN_SECONDS = 1_800


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One side's turn.

    Attributes:
        side: Who.
        stages: Seconds by stage, without start-up.
        start_up: Seconds of the process before and after.
        cpu: Core seconds of the work; None where it was in other processes.
        others: Cores that were busy for others meanwhile; None where nobody knows.
        peak: Most memory that the process held, in bytes; None where the work was in others.
        difference: Largest one from scikit-learn's scores; None where nothing was compared.
        flips: Rows whose label differs from scikit-learn's at 0.5.
    """

    side: Side
    stages: dict[str, float]
    start_up: float
    cpu: float | None
    others: float | None
    peak: int | None
    difference: float | None = None
    flips: int | None = None

    @property
    def seconds(self) -> float:
        """The whole work."""
        return sum(self.stages.values())

    def __str__(self) -> str:
        stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in self.stages.items())
        peak = f", peak {self.peak / 1e6:.0f} MB" if self.peak else ""
        others = f", {self.others:.1f} cores busy for others" if self.disturbed else ""
        more = f"start-up {self.start_up:.1f}{peak}{others}"
        return f"{self.side:6} {self.seconds:7.2f} s ({stages}; {more})"

    @property
    def disturbed(self) -> bool:
        """Whether others took so much of the machine that the figure says little."""
        return self.others is not None and self.others > QUIET


@dataclass(frozen=True, kw_only=True)
class KilledRun:
    """A run that was killed, and the one that went on from there.

    Attributes:
        rows: Rows of the window.
        shards: Shards of the window.
        finished: Shards with a checkpoint when the process was killed.
        reused: Shards that the second run took over.
        stages: Seconds of the second run by stage, publishing included.
        full: Seconds of an undisturbed run right before.
    """

    rows: int
    shards: int
    finished: int
    reused: int
    stages: dict[str, float]
    full: float

    @property
    def rerun(self) -> float:
        """The whole work of the second run."""
        return sum(self.stages.values())

    def __str__(self) -> str:
        stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in self.stages.items())
        share = f"{self.rerun / self.full:.1%} of the {self.full:.2f} s of a full run"
        return (
            f"killed with {self.finished} of {self.shards} shards finished: the rerun took over "
            f"{self.reused} and cost {self.rerun:.2f} s ({stages}), {share}"
        )


def available() -> tuple[Side, ...]:
    """Return the sides that can run here."""
    return tuple(side for side in MODULES if side not in ELSEWHERE or RIVALS.exists())


def take_turn(world: ScoringWorld, side: Side) -> Turn:
    """Let one side score the window, from nothing."""
    forget(world)
    with _job(world) as path:
        began = Load.now()
        done = subprocess.run(
            _command(side, path), env=_environment(), capture_output=True, text=True,
            timeout=TURN_SECONDS, check=False,
        )  # fmt: skip
        load = Load.now() - began
        answer = _answer(side, done.stdout, done.stderr)
        difference, flips = _compare(world, answer.get("files", []))
    seconds, elsewhere = sum(answer["stages"].values()), side in ELSEWHERE
    return Turn(
        side=side,
        stages=answer["stages"],
        start_up=load.wall - seconds,
        cpu=None if elsewhere else answer["cpu"],
        others=None if elsewhere else load.others,
        peak=None if elsewhere else answer["peak"],
        difference=difference,
        flips=flips,
    )


def killed_and_rerun(world: ScoringWorld) -> KilledRun | None:
    """Kill our process once nine tenths of its shards are finished, and run the window again.

    Returns:
        What that cost; None where a tenth of the window is less than a shard by far.
    """
    shards = len(plan_shards(RowGroups(world.features_file).rows, world.pipeline.spec.shard_rows))
    if shards < FEWEST_SHARDS:
        return None
    full = take_turn(world, "ours").seconds
    forget(world)
    with _job(world) as path:
        finished = _kill_when_finished(world, path, min(math.ceil(shards * KILL_AT), shards - 1))
        done = subprocess.run(
            [*_command("ours", path), "the rerun"], env=_environment(), capture_output=True,
            text=True, timeout=TURN_SECONDS, check=False,
        )  # fmt: skip
    answer = _answer("ours", done.stdout, done.stderr)
    return KilledRun(
        rows=world.rows,
        shards=shards,
        finished=finished,
        reused=answer["reused"],
        stages=answer["stages"],
        full=full,
    )


def forget(world: ScoringWorld) -> None:
    """Remove what an earlier turn scored and published."""
    lake = world.root / "lake"
    pipeline = lake / world.pipeline.name
    for folder in (*pipeline.iterdir(), lake / "_ledger"):
        if folder.name not in INPUTS:
            shutil.rmtree(folder, ignore_errors=True)


def _kill_when_finished(world: ScoringWorld, job: Path, shards: int) -> int:
    """Kill the process as soon as so many checkpoints are there; return how many there are then."""
    pipeline = world.root / "lake" / world.pipeline.name
    process = subprocess.Popen(
        _command("ours", job), env=_environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != READY:
            raise RuntimeError("our side did not start")
        while len(list(pipeline.glob("_checkpoints/*/*/*.json"))) < shards:
            if process.poll() is not None:
                raise RuntimeError("our side was done before it could be killed")
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return len(list(pipeline.glob("_checkpoints/*/*/*.json")))


@contextmanager
def _job(world: ScoringWorld) -> Generator[Path]:
    with tempfile.TemporaryDirectory(dir=world.root) as folder:
        out = Path(folder) / "out"
        out.mkdir()
        job = Job(
            root=str(world.root),
            features=str(world.features_file),
            model=str(world.model_file),
            out=str(out),
            rows=world.rows,
            key=KEY,
            columns=FEATURES,
            score=SCORE,
            cores=usable_cores(),
        )
        job.write(Path(folder) / "job.json")
        yield Path(folder) / "job.json"


def _command(side: Side, job: Path) -> list[str]:
    python = str(RIVALS) if side in ELSEWHERE else sys.executable
    return [python, "-m", f"benchmarks.rivals.{MODULES[side]}", str(job)]


def _environment() -> dict[str, str]:
    """Return ours, and where Python's workers find these modules."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT)}


def _answer(side: Side, output: str, errors: str) -> dict[str, Any]:
    answers = [line for line in output.splitlines() if line.startswith(ANSWER)]
    if not answers:
        raise RuntimeError(f"{side} gave no answer:\n{errors[-2_000:]}")
    return json.loads(answers[-1].removeprefix(ANSWER))


def _compare(world: ScoringWorld, files: list[str]) -> tuple[float | None, int | None]:
    """Hold every row that a side wrote against scikit-learn."""
    if not files:
        return None, None
    rows = pa.concat_tables(pq.ParquetFile(path).read(columns=[KEY, SCORE]) for path in files)
    keys, scores = rows.column(KEY).to_numpy(), rows.column(SCORE).to_numpy()
    order = np.argsort(keys, kind="stable")
    if not np.array_equal(keys[order], np.arange(FIRST_KEY, FIRST_KEY + world.rows)):
        raise RuntimeError("a side lost, invented or doubled rows")
    expected, found = reference(world), scores[order]
    flips = int(np.count_nonzero((expected >= DECISION) != (found >= DECISION)))
    return float(np.abs(expected - found).max()), flips


def reference(world: ScoringWorld) -> np.ndarray:
    """Return scikit-learn's own scores of the window, float64, computed once."""
    kept = world.root / "reference.npy"
    if not kept.exists():
        file, model = pq.ParquetFile(world.features_file), load(str(world.model_file))
        parts = [
            probabilities(model, np.column_stack([group.column(name) for name in FEATURES]))
            for group in (file.read_row_group(i) for i in range(file.num_row_groups))
        ]
        np.save(kept, np.concatenate(parts))
    return np.load(kept)
