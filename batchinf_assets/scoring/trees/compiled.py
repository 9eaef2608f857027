"""How kernels are compiled: by numba on first use, then kept on this machine's disk.

Machine code is kept in `__pycache__` beside the source; where that is read-only, in the user's own
cache folder; or in NUMBA_CACHE_DIR; never in the lake. Its key is the signature, its own
version, the processor with its features, the source file's time and size, the function's bytecode
and the values it closes over. What a kernel calls is not in the key: so only the outermost
functions are kept, and they close over KERNEL_VERSION.

Fused multiply-add and other contractions stay off (`fastmath=False`): scikit-learn rounds after
every operation.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import config, njit

KERNEL_VERSION = 1
"""To be raised with every change of a kernel, of an intrinsic or of what a plan means."""


def kernel_folder() -> Path:
    """Return where this machine's compiled kernels are kept; a sandbox gets a copy of it."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen)
    beside = Path(__file__).parent
    if os.access(beside, os.W_OK):
        return beside / "__pycache__" / "kernels"
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "batchinf" / "kernels"


setattr(config, "CACHE_DIR", str(kernel_folder()))  # noqa: B010 - numba declares it at run time


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on the first call and keep the code; it runs without the interpreter's lock."""
    try:
        return njit(cache=True, nogil=True, fastmath=False)(function)
    except RuntimeError:  # no folder to keep it in can be written: compile in every process
        return njit(nogil=True, fastmath=False)(function)


def part(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as part of the kernels that call it."""
    return njit(nogil=True, fastmath=False)(function)
