"""The child side of `registry.sandbox`: bind the process, then run what must not be trusted.

Started twice, in a fresh Python each time: `launch` gives up what it can and starts `work`, which
runs the module. Nothing of the untrusted files is touched before the second.
"""

from __future__ import annotations

import json
import os
import resource
import runpy
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import batchinf_assets
from batchinf_assets.errors import ModelRefused
from batchinf_assets.registry.confinement import (
    die_with_parent,
    fork_below_first_process,
    leave_namespaces,
    restrict_files,
)
from batchinf_assets.registry.sandbox import NOT_RUN, OUT_OF_MEMORY, REFUSED, report_refusal

_KILL_AFTER = (
    5  # seconds between the signal that the CPU limit sends and the one that cannot be caught
)


def launch(order: Mapping[str, Any]) -> NoReturn:
    """Limit this process, tell the parent what the kernel granted, and become the worker.

    Args:
        order: `module`, `folder`, `must_be_closed`, the four limits, and the file descriptor
            `status`.
    """
    namespaces = leave_namespaces()
    die_with_parent()
    _limit(order)
    if namespaces:
        fork_below_first_process()
    files = _restrict(order["module"], Path(order["folder"]))
    granted = {"network": namespaces, "processes": namespaces, "files": files}
    os.write(order["status"], json.dumps(granted).encode())
    os.close(order["status"])
    if order["must_be_closed"] and not files:
        sys.exit(NOT_RUN)
    command = [sys.executable, "-I", "-m", __spec__.name, "work", order["module"], order["folder"]]
    os.execve(command[0], command, os.environ)  # noqa: S606 - our own Python, no shell


def work(module: str, folder: str) -> int:
    """Run a module, or the script at a path that ends in `.py`, and return the exit code."""
    sys.argv = [module, folder]
    try:
        if module.endswith(".py"):
            runpy.run_path(module, run_name="__main__")
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except ModelRefused as refusal:
        report_refusal(Path(folder), refusal)
        return REFUSED
    except MemoryError:
        traceback.print_exc(limit=-3)
        return OUT_OF_MEMORY
    return 0


def _restrict(module: str, folder: Path) -> bool:
    package = Path(batchinf_assets.__file__).parent
    prefixes = {Path(sys.prefix), Path(sys.base_prefix)}
    folders = {Path(entry) for entry in sys.path if Path(entry).is_dir()}
    installed = {path for path in folders if path.name in ("site-packages", "dist-packages")}
    script = [Path(module)] if module.endswith(".py") else []
    return restrict_files(
        writable=folder,
        readable=[*prefixes, *installed, package, *script],
        listed=folders,
    )


def _limit(order: Mapping[str, Any]) -> None:
    cpu = order["cpu_seconds"]
    for kind, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_CPU, cpu, cpu + _KILL_AFTER),
        (resource.RLIMIT_FSIZE, order["file_bytes"], order["file_bytes"]),
        (resource.RLIMIT_AS, order["memory_bytes"], order["memory_bytes"]),
    ):
        allowed = resource.getrlimit(kind)[1]
        bounded = [
            b if allowed == resource.RLIM_INFINITY else min(b, allowed) for b in (soft, hard)
        ]
        with suppress(ValueError, OSError):  # macOS knows RLIMIT_AS and refuses to set it
            resource.setrlimit(kind, (bounded[0], bounded[1]))


if __name__ == "__main__":
    if sys.argv[1] == "launch":
        launch(json.loads(sys.argv[2]))
    sys.exit(work(sys.argv[2], sys.argv[3]))
