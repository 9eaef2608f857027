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
import signal
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
    with tempfile.TemporaryDirectory() as root:
        scratch, landing = Path(root), Path(root) / "landing"
        land(landing)
        full = _compare("With the project's event log", scratch, landing, days, options.rounds)
        for at in (1, 2):
            alone = _alone(scratch, landing, days[: options.single], at)
            _print_scaled(
                f"a run per window, {at} at a time", alone, full, options.single, len(days)
            )
        own_log = "With Dagster's own event log"
        _compare(own_log, scratch, landing, days, options.rounds, own_log=False)
        _say("Launched by Dagster's daemon, from the first run being queued")
        whole = _launched(scratch, landing, days, len(days))
        _say(f"{f'{len(days)} windows in one run':36}{whole:8.1f} s")
        few = _launched(scratch, landing, days[: options.single], 1)
        _print_scaled("a run per window", few, whole, options.single, len(days))


def _compare(
    what: str,
    scratch: Path,
    landing: Path,
    days: Sequence[str],
    rounds: int,
    *,
    own_log: bool = True,
) -> float:
    """Time the range and the empty bodies in turn, print both and return the range's median."""
    _say(what)
    batchinf = str(Path(sys.executable).with_name("batchinf"))
    ends = ["--from", days[0], "--to", days[-1], "--chunk", str(len(days))]
    empty = [sys.executable, "-m", "benchmarks.empty_bodies", days[0], days[-1]]
    commands = [[batchinf, "backfill", "run", PIPELINE, *ends], empty]
    sides = [
        [_seconds(command, _workplace(scratch, landing, own_log=own_log)) for command in commands]
        for _ in range(rounds)
    ]
    full, nothing = map(statistics.median, zip(*sides, strict=True))
    _say(f"{f'{len(days)} windows in one run':36}{full:8.1f} s")
    _say(f"{'the same graph, empty bodies':36}{nothing:8.1f} s")
    _say(f"{'range / empty bodies':36}{full / nothing:8.2f}     bound {OVERHEAD_BOUND:g}")
    return full


def _say(line: str) -> None:
    print(line, flush=True)  # the next side takes minutes


def _print_scaled(what: str, seconds: float, full: float, measured: int, windows: int) -> None:
    scaled = seconds * windows / measured
    ratio = f"{scaled / full:.1f} x the range, bound {SPEED_BOUND:g}"
    _say(f"{what:36}{scaled:8.1f} s   {ratio}")
    _say(f"    ({measured} windows in {seconds:.1f} s, scaled)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=365)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--single", type=int, default=10)
    return parser.parse_args()


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
    # Who asks for the daemon and the code server would else both make Dagster's databases.
    _printed([dagster, "instance", "info"], environ)
    with (scratch / "dagster-dev.log").open("wb") as log:
        running = subprocess.Popen(
            command, env=environ, cwd=CHECKOUT, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _await_daemon(environ, Path(log.name))
            asked = [sys.executable, "-m", module, *days]
            return float(_printed(asked, environ).split()[-1])
        finally:  # its runs have ended, and what it works with is thrown away
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def _await_daemon(environ: Mapping[str, str], log: Path) -> None:
    deadline = time.monotonic() + DAEMON_SECONDS
    asked = [str(Path(sys.executable).with_name("dagster-daemon")), "liveness-check"]
    while subprocess.run(asked, env=environ, check=False, capture_output=True).returncode:
        if time.monotonic() > deadline:
            raise SystemExit(f"Dagster's daemon did not come up:\n{log.read_text()[-2_000:]}")
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
    settings = (CHECKOUT / "deploy" / "local" / "dagster.yaml").read_text(encoding="utf-8")
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
