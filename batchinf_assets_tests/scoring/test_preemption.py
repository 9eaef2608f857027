"""SIGTERM: heard while a window is scored, and at no other time."""

from __future__ import annotations

import os
import signal
import threading

from batchinf_assets.scoring.preemption import stopping_on_sigterm


def test_the_signal_sets_the_event() -> None:
    with stopping_on_sigterm() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)


def test_afterwards_the_signal_does_what_it_did_before() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with stopping_on_sigterm():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_beside_the_main_thread_the_event_is_simply_never_set() -> None:
    found: list[bool] = []

    def run() -> None:
        with stopping_on_sigterm() as stop:
            found.append(stop.is_set())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]
