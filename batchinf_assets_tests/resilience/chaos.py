"""The crash matrix: kill a window's run at one change of its lake after the other, and look.

    python -m batchinf_assets_tests.resilience.chaos WORLD FOLDER --kills N --seed S [--twice]

One process imports and warms up everything; every run and every look is a fork of it. It prints
one JSON line per kill.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import shutil
import signal
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from batchinf_assets_tests.resilience.crash_scenes import Expected, Scene
from batchinf_assets_tests.resilience.folder_faults import KILL, Change, run_stopped, unsupported
from batchinf_assets_tests.resilience.forks import Fork, ForkFailed
from batchinf_assets_tests.resilience.power_loss import PageCache
from batchinf_assets_tests.resilience.rehearsal import Rehearsal
from batchinf_assets_tests.resilience.window_run import STAGES, fingerprint, visible_rows

LANES = 2
NOT_HERE = 77
"""Exit code where this machine cannot trace; what is printed says why."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """Where to kill.

    Attributes:
        scene: In which scene.
        change: At which of its changes, from 0.
        power: Whether the machine dies with the process, and forgets what was not fsynced.
        again: At which change to kill the rerun too; None to let it finish.
    """

    scene: str
    change: int
    power: bool
    again: int | None = None


@dataclass(frozen=True, kw_only=True)
class Chaos:
    """What happens to one kill, and which to do."""

    rehearsal: Rehearsal

    def kill(self, kill: Kill, root: Path) -> dict[str, Any]:
        """Kill one run of a scene, run it again, and report every broken promise."""
        scene, expected = self.rehearsal.scenes[kill.scene], self.rehearsal.expected[kill.scene]
        scene.copy_to(root)
        stop = mmap.mmap(-1, 1)
        reader = Fork(lambda: self._read_until(stop, scene, root, expected))
        try:
            stages, problems = self._kills(kill, scene, root, expected)
            problems += _named(lambda: self.rehearsal.recovery(scene, root, expected))
        finally:
            stop[0] = 1
        reads, mixed = reader.result()
        shutil.rmtree(root)
        return {
            **asdict(kill),
            "at": " ".join(expected.changes[kill.change]),
            "stages": stages,
            "problems": [*problems, *(f"mixed: a reader saw {what}" for what in mixed)],
            "reads": reads,
        }

    def plan(self, count: int, seed: int, *, twice: bool) -> Iterator[Kill]:
        """Spread kills evenly over the steps of both scenes.

        Args:
            count: How many.
            seed: Decides which change within a step, and where the rerun is killed.
            twice: Kill every third rerun too.
        """
        chance = random.Random(seed)
        steps = [
            (name, step) for name, it in self.rehearsal.expected.items() for step in it.steps()
        ]
        offset = chance.random()
        for number in range(count):
            name, step = steps[int((number + offset) * len(steps) / count) % len(steps)]
            again = chance.randrange(len(self.rehearsal.expected[name].changes))
            yield Kill(
                scene=name,
                change=chance.choice(step),
                power=number % 2 == 1,
                again=again if twice and number % 3 == 0 else None,
            )

    def _kills(
        self, kill: Kill, scene: Scene, root: Path, expected: Expected
    ) -> tuple[list[str], list[str]]:
        stages: list[str] = []
        problems: list[str] = []
        for change in (kill.change, kill.again):
            if change is not None and self._killed(scene, root, change, power=kill.power):
                stages.append(self.rehearsal.stage)
                if kill.again is not None:
                    problems += Fork(
                        lambda: list(self.rehearsal.state(scene, root, expected))
                    ).result()
        return stages, problems

    def _killed(self, scene: Scene, root: Path, change: int, *, power: bool) -> bool:
        cache, due = PageCache(root), self.rehearsal.expected[scene.name].place(change)
        seen: Counter[str] = Counter()

        def decide(_number: int, found: Change) -> int | None:
            stage = self.rehearsal.stage
            if (STAGES.index(stage), seen[stage]) >= due:
                return KILL
            seen[stage] += 1
            cache.follow(found)
            return None

        code = run_stopped(
            lambda: self.rehearsal.run(scene, root, f"killed-at-{change}"), root, decide
        )
        if code not in (0, -signal.SIGKILL):
            raise SystemExit(f"A run of {scene.name} ended with {code} before change {change}.")
        if code and power:
            cache.lose()
        return code != 0

    def _read_until(
        self, stop: mmap.mmap, scene: Scene, root: Path, expected: Expected
    ) -> tuple[int, list[str]]:
        reads, mixed, last = 0, list[str](), False
        while not last:
            last = bool(stop[0])
            try:
                found = fingerprint(visible_rows(scene.project(root), self.rehearsal.pipeline))
            except Exception as error:  # noqa: BLE001 - whatever a reader meets is reported
                found = f"{type(error).__name__}: {error}"
            reads += 1
            if found not in (expected.before, expected.after) and len(mixed) < 3:
                mixed.append(found)
            time.sleep(0.02)  # the cores belong to the runs
        return reads, mixed


def _named(problems: Callable[[], Iterator[str]]) -> list[str]:
    """Collect problems in a fork; that it cannot be done is one too."""
    try:
        return Fork(lambda: list(problems())).result()
    except ForkFailed as failure:
        return [f"failed: {str(failure).strip().splitlines()[-1]}"]


def _lane(chaos: Chaos, lane: int, kills: Sequence[Kill]) -> None:
    chaos.rehearsal.own_stage()
    for number, kill in enumerate(kills):
        began = time.monotonic()
        report = chaos.kill(kill, chaos.rehearsal.folder / f"lane-{lane}-{number}")
        report["seconds"] = round(time.monotonic() - began, 3)
        os.write(1, json.dumps(report).encode() + b"\n")  # whole lines: the lanes share the pipe


def main() -> None:
    """Run the matrix."""
    parser = ArgumentParser()
    parser.add_argument("world", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--twice", action="store_true")
    given = parser.parse_args()
    if reason := unsupported():
        print(reason)
        raise SystemExit(NOT_HERE)
    chaos = Chaos(rehearsal=Rehearsal(given.world, given.folder))
    kills = list(chaos.plan(given.kills, given.seed, twice=given.twice))
    lanes = [
        Fork(lambda lane=lane: _lane(chaos, lane, kills[lane::LANES])) for lane in range(LANES)
    ]
    for lane in lanes:
        lane.result()


if __name__ == "__main__":
    main()
