"""What a span took, as the operating system tells it; unknown is None."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from batchinf_assets.telemetry.resources import measure

MEGABYTE = 1_000_000
TICKS = os.sysconf("SC_CLK_TCK")

linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
BURN = "sum(i for i in range(2_000_000))"


def burn() -> None:
    assert sum(number for number in range(1_000_000)) > 0


def test_cpu_time_of_threads_and_children_counts() -> None:
    with measure() as idle:
        pass
    with measure() as thread:
        worker = threading.Thread(target=burn)
        worker.start()
        worker.join()
    with measure() as child:
        subprocess.run([sys.executable, "-c", BURN], check=True)
    assert 0.0 <= idle.use.cpu_seconds < thread.use.cpu_seconds
    assert idle.use.cpu_seconds < child.use.cpu_seconds


def test_a_span_that_is_over_stays_as_it_is() -> None:
    with measure() as span:
        burn()
        during = span.use
    after = span.use
    burn()
    assert span.use == after
    assert 0 < during.wall_seconds <= after.wall_seconds


def test_a_span_that_failed_is_measured_too() -> None:
    with pytest.raises(ZeroDivisionError), measure() as span:
        sum(1 / (99_999 - number) for number in range(100_000))
    assert span.use.cpu_seconds > 0


@linux
def test_the_peak_is_that_of_the_span_and_not_of_the_process() -> None:
    with measure() as large:
        np.ones(200 * MEGABYTE, dtype=np.uint8)
    with measure() as small:
        np.ones(MEGABYTE, dtype=np.uint8)
    if not small.use.peak_since_start:
        assert large.use.peak_memory_bytes > small.use.peak_memory_bytes + 100 * MEGABYTE
    assert small.use.peak_memory_bytes > MEGABYTE


@linux
def test_a_span_inside_hides_no_peak_of_the_span_around_it() -> None:
    with measure() as outer:
        np.ones(200 * MEGABYTE, dtype=np.uint8)
        with measure() as inner:
            np.ones(MEGABYTE, dtype=np.uint8)
    with measure() as after:
        pass
    assert outer.use.peak_memory_bytes >= inner.use.peak_memory_bytes
    if not after.use.peak_since_start:
        assert outer.use.peak_memory_bytes > after.use.peak_memory_bytes + 100 * MEGABYTE


@pytest.mark.skipif(not os.access("/proc/self/io", os.R_OK), reason="needs a readable /proc")
def test_what_this_kernel_tells_of_devices_is_known() -> None:
    with measure() as span:
        burn()
    assert isinstance(span.use.io_read_bytes, int)
    assert isinstance(span.use.io_write_bytes, int)


def test_a_system_that_tells_nothing_gives_none_and_the_peak_of_the_process(tmp_path: Path) -> None:
    with measure(tmp_path) as span:
        burn()
    use = span.use
    assert (use.io_read_bytes, use.io_write_bytes, use.io_seconds) == (None, None, None)
    assert use.peak_since_start
    assert use.peak_memory_bytes > 10 * MEGABYTE


def write_proc(proc: Path, *, read: int, waits: dict[int, tuple[int, int]], counted: str) -> None:
    """Write what the kernel shows; `waits` gives each thread's start time and ticks waited."""
    (proc / "sys" / "kernel").mkdir(parents=True, exist_ok=True)
    (proc / "sys" / "kernel" / "task_delayacct").write_text(f"{counted}\n")
    (proc / "self" / "task").mkdir(parents=True, exist_ok=True)
    (proc / "self" / "status").write_text("Name:\tpython\nVmHWM:\t  2048 kB\nVmRSS:\t 1024 kB\n")
    (proc / "self" / "io").write_text(f"rchar: 1\nread_bytes: {read}\nwrite_bytes: 7\n")
    for thread, (started, ticks) in waits.items():
        fields = ["R", *["0"] * 18, str(started), *["0"] * 19, str(ticks), "0", "0"]
        (proc / "self" / "task" / str(thread)).mkdir(exist_ok=True)
        line = f"{thread} (a) strange) name) {' '.join(fields)}\n"
        (proc / "self" / "task" / str(thread) / "stat").write_text(line)


def test_figures_are_differences_over_the_span(tmp_path: Path) -> None:
    write_proc(tmp_path, read=100, waits={1: (5, 40)}, counted="1")
    with measure(tmp_path) as span:
        write_proc(tmp_path, read=350, waits={1: (5, 42), 2: (6, 3)}, counted="1")
    assert (span.use.io_read_bytes, span.use.io_write_bytes) == (250, 0)
    assert span.use.io_seconds == 5 / TICKS


def test_a_thread_id_used_again_is_another_thread(tmp_path: Path) -> None:
    write_proc(tmp_path, read=0, waits={1: (5, 40)}, counted="1")
    with measure(tmp_path) as span:
        write_proc(tmp_path, read=0, waits={1: (9, 2)}, counted="1")
    assert span.use.io_seconds == 2 / TICKS


def test_waits_that_the_kernel_does_not_count_are_unknown(tmp_path: Path) -> None:
    write_proc(tmp_path, read=0, waits={1: (5, 0)}, counted="0")
    with measure(tmp_path) as span:
        pass
    assert span.use.io_seconds is None
    assert span.use.peak_memory_bytes == 2048 * 1024
