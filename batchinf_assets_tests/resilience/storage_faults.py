"""Let the disk fail under a run of a small window: full, or broken, at one file after the other.

    python -m batchinf_assets_tests.resilience.storage_faults WORLD FOLDER

It prints one JSON line per fault; `test_storage_faults` knows what is to come of each.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batchinf_assets.errors import BatchinfError
from batchinf_assets_tests.resilience.chaos import LANES, NOT_HERE
from batchinf_assets_tests.resilience.crash_scenes import Scene, temporary_files
from batchinf_assets_tests.resilience.folder_faults import (
    KILL,
    Change,
    Decide,
    run_stopped,
    unsupported,
)
from batchinf_assets_tests.resilience.forks import Fork
from batchinf_assets_tests.resilience.rehearsal import Rehearsal
from batchinf_assets_tests.resilience.window_run import finished_shards

NEED_ROOM = frozenset(
    {"write", "writev", "pwrite64", "openat", "mkdir", "mkdirat", "link", "linkat", "fallocate"}
)
REACH_THE_DISK = frozenset({"write", "writev", "pwrite64", "fsync", "fdatasync"})


@dataclass(frozen=True, kw_only=True)
class StorageFault:
    """How the storage fails.

    Attributes:
        at: A regular expression for the path of the first change that fails.
        error: Its error number, or KILL.
        calls: Which calls fail.
        spreads: Whether from then on the calls fail for every file, as on a full disk.
        once: Whether only the first one fails.
    """

    at: str
    error: int
    calls: frozenset[str]
    spreads: bool = False
    once: bool = False


FILES = {
    "lease": r"_leases/",
    "snapshot": r"snapshot/window=.*parquet",
    "snapshot log": r"snapshot/.*_delta_log/",
    "features": r"features/window=.*parquet",
    "shard": r"predictions/.*part-00001",
    "checkpoint": r"_checkpoints/.*00001",
    "draft": r"_manifests/.*draft",
    "evaluation": r"evaluation/window=.*parquet",
    "signature": r"_manifests/.*\.sig",
    "manifest": r"_manifests/.*[0-9a-f]{16}\.json",
    "predictions log": r"predictions/.*_delta_log/",
}
FULL = ("snapshot", "shard", "checkpoint", "manifest", "predictions log")
BROKEN = ("lease", "snapshot log", "features", "shard", "draft", "signature", "predictions log")


def full_at(name: str) -> StorageFault:
    return StorageFault(at=FILES[name], error=errno.ENOSPC, calls=NEED_ROOM, spreads=True)


def broken_at(name: str) -> StorageFault:
    return StorageFault(at=FILES[name], error=errno.EIO, calls=REACH_THE_DISK)


FAULTS = {
    **{f"full at {name}": full_at(name) for name in FULL},
    **{f"broken at {name}": broken_at(name) for name in BROKEN},
    "a moment's failure at shard": replace(broken_at("shard"), once=True),
    "broken at ledger": StorageFault(at=r"_ledger/", error=errno.EIO, calls=REACH_THE_DISK),
    "killed between shard and checkpoint": StorageFault(
        at=FILES["checkpoint"], error=KILL, calls=frozenset({"openat"})
    ),
}


def suffer(rehearsal: Rehearsal, scene: Scene, fault: StorageFault, root: Path) -> dict[str, Any]:
    """Run a scene on failing storage, then again on whole storage, and report both."""
    scene.copy_to(root)
    struck: list[str] = []

    def decide(_number: int, change: Change) -> int | None:
        spread = fault.spreads and struck
        hit = change.syscall in fault.calls and (spread or re.search(fault.at, change.path))
        if not hit or (fault.once and struck):
            return None
        struck.append(f"{change.syscall} {change.path}")
        return fault.error

    ending = _ending(rehearsal, scene, root, decide)
    expected, project = rehearsal.expected[scene.name], scene.project(root)
    visible, _ = Fork(lambda: rehearsal.seen(scene, root)).result()
    revision = expected.outputs[0]
    report = {
        **ending,
        "struck": struck,
        "visible": {expected.before: "old", expected.after: "new"}.get(visible, "mixed"),
        "temporary": temporary_files(root),
        "unwritten_attempts": len(list(root.glob("dagster/unwritten_attempts/*/*.json"))),
        "finished": finished_shards(project, rehearsal.pipeline, rehearsal.window, revision),
        "problems": Fork(lambda: list(rehearsal.recovery(scene, root, expected))).result(),
    }
    shutil.rmtree(root)
    return report


def _ending(rehearsal: Rehearsal, scene: Scene, root: Path, decide: Decide) -> dict[str, Any]:
    """Run under faults; return the exit code, and the error where there was one."""
    answers, answering = os.pipe()

    def run() -> None:
        answer: dict[str, Any] = {}
        try:
            rehearsal.run(scene, root, "struck")
        except (BatchinfError, OSError) as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        os.write(answering, json.dumps(answer).encode())

    code = run_stopped(run, root, decide)
    os.close(answering)
    with os.fdopen(answers, encoding="utf-8") as answer:
        return {"code": code, **json.loads(answer.read() or "{}")}


def _lane(rehearsal: Rehearsal, lane: int, names: Sequence[str]) -> None:
    rehearsal.own_stage()
    for name in names:
        root = rehearsal.folder / f"struck-{lane}"
        report = suffer(rehearsal, rehearsal.scenes["correction"], FAULTS[name], root)
        os.write(1, json.dumps({"fault": name, **report}).encode() + b"\n")


def main() -> None:
    """Go through all faults."""
    parser = ArgumentParser()
    parser.add_argument("world", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    if reason := unsupported(failing=True):
        print(reason)
        raise SystemExit(NOT_HERE)
    rehearsal = Rehearsal(given.world, given.folder)
    names = [name for name in FAULTS if given.only in name]
    lanes = [
        Fork(lambda lane=lane: _lane(rehearsal, lane, names[lane::LANES])) for lane in range(LANES)
    ]
    for lane in lanes:
        lane.result()


if __name__ == "__main__":
    main()
