"""Leave in good order when the machine is taken away: SIGTERM, then seconds until SIGKILL."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopping_on_sigterm() -> Generator[threading.Event]:
    """Give an event that SIGTERM sets, instead of what the signal did before.

    Only a process's main thread may handle signals; in another one the event stays unset and the
    signal does what it did.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def heard(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before = signal.signal(signal.SIGTERM, heard)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
