"""A backfill over a range in one run, against the same graph with empty bodies, and a run each.

All sides are whole processes as an operator starts them, on fresh lakes, one after the other, in
turn where there are several rounds. The range and the empty bodies run with the project's
`dagster.yaml`, and both again with the event log that Dagster has by itself. A run per window is
measured on a few windows and scaled to the range: as processes of `batchinf run`, one at a time and
two at a time, and as Dagster does it, a backfill that its daemon cuts into runs. The range is
launched by the daemon too.

    python -m benchmarks.year_backfill [--windows 365] [--rounds 1] [--single 10]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.spec.load import load_pipeline
from batchinf_demo.landing import land
from benchmarks.launched import RUNS_OF

PIPELINE = "flight_delays"
FIRST, LAST = "2013-01-01", "2013-12-31"
OVERHEAD_BOUND, SPEED_BOUND = 2.0, 20.0
DAEMON_SECONDS = 120
OWN_LOG = re.compile(r"^event_log_storage:.*?(?=^\S)", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Time all sides and print them."""
    options = _options()
    keys = [window.key for window in load_pipeline(PIPELINE).spec.window.between(FIRST, LAST)]
    days = keys[-options.windows :]
    with tempfile.TemporaryDirectory() as scratch:
        landing = Path(scratch) / "landing"
        land(landing)
        rounds = [_round(Path(scratch), landing, days) for _ in range(options.rounds)]
        alone = [_alone(Path(scratch), landing, days[: options.single], at) for at in (1, 2)]
        few = _launched(Path(scratch), landing, days[: options.single], 1)
        whole = _launched(Path(scratch), landing, days, len(days))
    full, empty, full_plain, empty_plain = map(statistics.median, zip(*rounds, strict=True))
    print(f"{len(days)} windows in one run              {full:8.1f} s")
    print(f"the same graph, empty bodies        {empty:8.1f} s")
    for at, seconds in zip((1, 2), alone, strict=True):
        _print_scaled(f"a run per window, {at} at a time", seconds, full, options.single, len(days))
    print(f"range / empty bodies                {full / empty:8.2f}     bound {OVERHEAD_BOUND:g}")
    print("With Dagster's own event log:")
    print(f"{len(days)} windows in one run              {full_plain:8.1f} s")
    print(f"the same graph, empty bodies        {empty_plain:8.1f} s")
    ratio = full_plain / empty_plain
    print(f"range / empty bodies                {ratio:8.2f}     bound {OVERHEAD_BOUND:g}")
    print("Launched by Dagster's daemon, from the first run being queued:")
    print(f"{len(days)} windows in one run              {whole:8.1f} s")
    _print_scaled("a run per window", few, whole, options.single, len(days))


def _print_scaled(what: str, seconds: float, full: float, measured: int, windows: int) -> None:
    scaled = seconds * windows / measured
    ratio = f"{scaled / full:.1f} x the range, bound {SPEED_BOUND:g}"
    print(f"{what:36}{scaled:8.1f} s   {ratio}")
    print(f"    ({measured} windows in {seconds:.1f} s, scaled)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=365)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--single", type=int, default=10)
    return parser.parse_args()


def _round(scratch: Path, landing: Path, days: Sequence[str]) -> tuple[float, ...]:
    batchinf = str(Path(sys.executable).with_name("batchinf"))
    ends = ["--from", days[0], "--to", days[-1], "--chunk", str(len(days))]
    empty = [sys.executable, "-m", "benchmarks.empty_bodies", days[0], days[-1]]
    full = [batchinf, "backfill", "run", PIPELINE, *ends]
    return (
        _seconds(full, _workplace(scratch, landing)),
        _seconds(empty, _workplace(scratch, landing)),
        _seconds(full, _workplace(scratch, landing, own_log=False)),
        _seconds(empty, _workplace(scratch, landing, own_log=False)),
    )


def _alone(scratch: Path, landing: Path, days: Sequence[str], at_once: int) -> float:
    environ = _workplace(scratch, landing)
    batchinf = str(Path(sys.executable).with_name("batchinf"))
    commands = [[batchinf, "run", PIPELINE, day] for day in days]
    started = time.perf_counter()
    with ThreadPoolExecutor(at_once) as runs:
        sum(runs.map(_seconds, commands, [environ] * len(commands)))
    return time.perf_counter() - started


def _launched(scratch: Path, landing: Path, days: Sequence[str], per_run: int) -> float:
    """Return the seconds that `benchmarks.launched` prints, under a daemon and code server."""
    environ = {**_workplace(scratch, landing), RUNS_OF: str(per_run)}
    module = "benchmarks.launched"
    dagster = str(Path(sys.executable).with_name("dagster"))
    command = [dagster, "dev", "-m", module, "--host", "127.0.0.1", "--port", str(_free_port())]
    with (scratch / "dagster-dev.log").open("wb") as log:
        running = subprocess.Popen(command, env=environ, cwd=CHECKOUT, stdout=log, stderr=log)
        try:
            _await_daemon(environ)
            asked = [sys.executable, "-m", module, *days]
            return float(_printed(asked, environ).split()[-1])
        finally:
            running.terminate()
            running.wait(DAEMON_SECONDS)


def _await_daemon(environ: Mapping[str, str]) -> None:
    deadline = time.monotonic() + DAEMON_SECONDS
    asked = [str(Path(sys.executable).with_name("dagster-daemon")), "liveness-check"]
    while subprocess.run(asked, env=environ, check=False, capture_output=True).returncode:
        if time.monotonic() > deadline:
            raise SystemExit("Dagster's daemon did not come up.")
        time.sleep(1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _seconds(command: Sequence[str], environ: Mapping[str, str]) -> float:
    started = time.perf_counter()
    _printed(command, environ)
    return time.perf_counter() - started


def _printed(command: Sequence[str], environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, env=environ, cwd=CHECKOUT, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)} failed:\n{done.stdout[-2_000:]}{done.stderr[-2_000:]}"
        )
    return done.stdout


def _workplace(scratch: Path, landing: Path, *, own_log: bool = True) -> dict[str, str]:
    """Make a fresh lake with the registered model, and a fresh history."""
    project, root = Project.here(os.environ), Path(tempfile.mkdtemp(dir=scratch))
    for part in ("_models", "_registry"):
        shutil.copytree(str(project.lake / part), root / "lake" / part)
    shutil.copytree(project.keys, root / "keys")
    settings = (CHECKOUT / "dagster.yaml").read_text(encoding="utf-8")
    (root / "dagster").mkdir()
    (root / "dagster" / "dagster.yaml").write_text(
        settings if own_log else OWN_LOG.sub("", settings), encoding="utf-8"
    )
    return {
        **os.environ,
        "BATCHINF_LAKE": str(root / "lake"),
        "BATCHINF_LANDING": str(landing),
        "BATCHINF_KEYS": str(root / "keys"),
        "DAGSTER_HOME": str(root / "dagster"),
    }


if __name__ == "__main__":
    main()
