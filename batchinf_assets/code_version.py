"""Which code and which libraries are running, as a manifest records it."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

from batchinf_assets import __version__
from batchinf_assets.manifest import CodeRecord

LIBRARIES = (
    "deltalake",
    "duckdb",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "skops",
)
ROOMS_THAT_DECIDE_OUTPUT = ("contracts", "features", "lake", "registry", "scoring", "snapshots")


@cache
def running_code() -> CodeRecord:
    """Describe the running code; `source` digests the rooms that decide what rows come out."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for room in ROOMS_THAT_DECIDE_OUTPUT:
        for path in sorted((package / room).rglob("*.py")):
            digest.update(
                f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes() + b"\0"
            )
    return CodeRecord(
        version=__version__,
        source=digest.hexdigest(),
        python=platform.python_version(),
        libraries={name: version(name) for name in LIBRARIES},
    )
