"""A process, named so that another one can tell whether it still lives; `lake.lease` asks that."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

PROC = Path("/proc")


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("control characters are not allowed")
    return value


Line = Annotated[str, AfterValidator(_printable)]
"""Text that can be shown as it is."""


class Worker(BaseModel):
    """A process, named so that another one can tell whether it still lives.

    Attributes:
        host: The machine's or container's name, for people.
        pid: Its number within `pid_namespace`.
        boot_id: The machine's boot, or None where it is not known.
        pid_namespace: Containers of one machine count their processes apart.
        started: Clock ticks from the boot to its start: a number is given again, this is not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: Line = Field(max_length=255)
    pid: int = Field(ge=1, le=2**22)  # Linux's PID_MAX_LIMIT
    boot_id: Line | None = Field(default=None, max_length=100)
    pid_namespace: Line | None = Field(default=None, max_length=100)
    started: int | None = Field(default=None, ge=0, lt=2**64)

    @classmethod
    def here(cls, proc: Path = PROC) -> Worker:
        """Describe this process; where there is no /proc, by host and number alone."""
        host, pid = socket.gethostname(), os.getpid()
        try:
            boot_id = (proc / "sys/kernel/random/boot_id").read_text().strip()
            namespace = str((proc / "self/ns/pid").readlink())
            _, started = _state_and_start(proc, pid)
        except (OSError, ValueError, IndexError):
            return cls(host=host, pid=pid)
        return cls(host=host, pid=pid, boot_id=boot_id, pid_namespace=namespace, started=started)

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"

    def has_died(self, here: Worker, proc: Path = PROC) -> bool:
        """Say whether the process is known to have ended, as seen from process `here`.

        False also where that cannot be known: another machine, another container, no /proc.
        """
        ours = (here.boot_id, here.pid_namespace)
        if self.started is None or (self.boot_id, self.pid_namespace) != ours:
            return False
        try:
            os.kill(self.pid, 0)
            state, started = _state_and_start(proc, self.pid)
        except ProcessLookupError:
            return True
        except (OSError, ValueError, IndexError):  # another user's, where /proc hides those
            return False
        return started != self.started or state in "ZX"


def _state_and_start(proc: Path, pid: int) -> tuple[str, int]:
    """Read two fields of `/proc/<pid>/stat` (proc_pid_stat(5): fields 3 and 22)."""
    after_the_name = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return after_the_name[0], int(after_the_name[19])
