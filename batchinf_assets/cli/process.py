"""The command `batchinf` as a process of its own."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import Never

from batchinf_assets.cli.entry import main as commands


def main() -> Never:
    """Run the command and end the process.

    What Python does at the end is done but for the last of it: to free a million objects one by one
    takes a fourth of a one-window run. The processes of `multiprocessing` end likewise.
    """
    try:
        commands()
    except SystemExit as ended:
        if not isinstance(ended.code, int):
            raise
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue] - waits for them
        atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
        os._exit(ended.code if _flushed() else 1)
    raise AssertionError("a command ends its process")


def _flushed() -> bool:
    """Hand over all that was said; False where the reader has left, as `head` does."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        return False
    return True
