"""How many cores this process may keep busy."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return how many cores to use: this process's share of those it may, within its quota.

    Args:
        quota: Control group v2's limit, `<microseconds> <period>` or `max <period>`.
    """
    if hasattr(os, "sched_getaffinity"):
        bound = len(os.sched_getaffinity(0))
    else:
        bound = os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        limit = bound if allowed == "max" else math.ceil(int(allowed) / int(period))
    except (OSError, ValueError):
        limit = bound
    return max(1, min(bound, limit) // _sharing)


_sharing = 1


def share_cores(processes: int) -> None:
    """Take only this process's share of the cores from now on.

    Args:
        processes: How many have the same to do, this one included.
    """
    global _sharing
    _sharing = processes
