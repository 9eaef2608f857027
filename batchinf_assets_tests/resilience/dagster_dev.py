"""The command `dagster dev`, started as users do; webserver, daemon and code server are its own.

It ends with them once its daemon is dead; runs go on, as the code server waits for those it began.
A code server and a daemon apart from each other are in `deployed.py`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from batchinf_assets_tests.resilience.deployed import (
    LOCATION,
    Deployment,
    free_port,
    instance_at,
    processes_of,
)

DAEMON = "dagster._daemon"
PARTS = ("dagster_webserver", DAEMON, "code-server start")
"""What the command lines of its children carry."""


class DagsterDev(Deployment):
    """An instance whose daemon lives and dies with `dagster dev`."""

    def start_daemon(self) -> None:
        where = ("--host", "127.0.0.1", "--port", str(free_port()))
        self.daemon = self.start(
            "daemon", "-m", "dagster", "dev", "--workspace", str(self.workspace), *where
        )

    def kill_daemon(self) -> None:
        """Kill the daemon and nothing else; `dagster dev` has to notice, and to end by itself."""
        (daemon,) = self.parts(DAEMON)
        os.kill(daemon, signal.SIGKILL)
        self.wait_for_daemon_to_die()

    def parts(self, name: str) -> Sequence[int]:
        """Return the processes of `dagster dev` whose command line carries a name."""
        assert self.daemon is not None
        return [pid for pid in processes_of(self.daemon.pid) if name in _command_line(pid)]


@contextmanager
def developed(home: Path, module: str, *changes: dict[str, Any]) -> Generator[DagsterDev]:
    """Make an instance whose workspace names a module; the test starts `dagster dev`.

    Args:
        home: Dagster's home; its `dagster.yaml` is the project's.
        module: Where the definitions are.
        changes: Merged over the settings, in order.
    """
    location = {"python_module": {"module_name": module, "location_name": LOCATION}}
    with instance_at(DagsterDev, home, location, *changes) as made:
        yield made


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""
