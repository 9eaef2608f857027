"""What one window costs end to end, against the same graph with empty bodies.

All sides are whole processes as an operator starts them: import, load definitions, one run, exit.
They run in turn, A B C A B C, so that a machine whose speed drifts slows all; quoted are medians
and the ratio round by round. Every measured window is new to its lake: nothing is skipped as done.
The last line is a harder comparison than the bound asks for: a graph that imports only Dagster, has
no checks and no `defs.yaml`.

    python -m benchmarks.window_overhead [ROUNDS]
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.spec.load import load_pipeline

FIRST = "2013-07-01"
BOUND = 2.5


def main() -> None:
    """Time all sides and print them."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    windows = load_pipeline("flight_delays").spec.window.between(FIRST, "2013-12-01")
    with tempfile.TemporaryDirectory() as scratch:
        environ = _workplace(Path(scratch))
        measured = [_round(window.key, environ) for window in windows[: rounds + 1]]
    full, empty, bare = zip(*measured[1:], strict=True)  # the first round warms the disk cache
    print(f"one window, end to end         {_figures(full)} s")
    print(f"the same graph, empty bodies   {_figures(empty)} s")
    print(f"a bare graph of Dagster's own  {_figures(bare)} s")
    print(f"end to end / empty bodies      {_ratios(full, empty)}    bound {BOUND}")
    print(f"end to end / bare graph        {_ratios(full, bare)}")


def _round(window: str, environ: dict[str, str]) -> tuple[float, float, float]:
    batchinf = str(Path(sys.executable).with_name("batchinf"))
    module = [sys.executable, "-m"]
    full = _seconds([batchinf, "run", "flight_delays", window], environ)
    empty = _seconds([*module, "benchmarks.empty_bodies", window], environ)
    bare = _seconds([*module, "benchmarks.bare_dagster", window], environ)
    return full, empty, bare


def _ratios(one: tuple[float, ...], other: tuple[float, ...]) -> str:
    return _figures([a / b for a, b in zip(one, other, strict=True)])


def _seconds(command: list[str], environ: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environ, cwd=CHECKOUT, check=True, capture_output=True)
    return time.perf_counter() - started


def _workplace(scratch: Path) -> dict[str, str]:
    project = Project.here(os.environ)
    for part in ("_models", "_registry"):
        shutil.copytree(project.lake / part, scratch / "lake" / part)
    shutil.copytree(project.keys, scratch / "keys")
    (scratch / "dagster").mkdir()
    shutil.copy2(CHECKOUT / "deploy" / "local" / "dagster.yaml", scratch / "dagster")
    return {
        **os.environ,
        "BATCHINF_LAKE": str(scratch / "lake"),
        "BATCHINF_LANDING": str(project.landing),
        "BATCHINF_KEYS": str(scratch / "keys"),
        "DAGSTER_HOME": str(scratch / "dagster"),
    }


def _figures(values: list[float] | tuple[float, ...]) -> str:
    median = statistics.median(values)
    return f"median {median:5.2f}  (min {min(values):5.2f}, max {max(values):5.2f})"


if __name__ == "__main__":
    main()
