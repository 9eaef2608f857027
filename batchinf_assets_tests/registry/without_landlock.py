"""Run a script in a sandbox, or examine a file, where the kernel has no Landlock.

Not a test itself: see test_sandbox and test_examine.

A filter of system calls (seccomp, linux/seccomp.h and linux/filter.h) answers `landlock_*` as an
older kernel does, in this process and in all that it starts. Prints what came of it.
"""

import ctypes
import os
import struct
import sys
from pathlib import Path

import pyarrow as pa

from batchinf_assets.errors import ModelRefused
from batchinf_assets.registry.sandbox import Limits, SandboxReport, run_sandboxed
from batchinf_assets.spec.contract import FeatureSpec
from batchinf_assets.training.examine import Job, examine_model

LIMITS = Limits(wall_seconds=60)
NO_NEW_PRIVILEGES, SET_SECCOMP, MODE_FILTER = 38, 22, 2
LOAD, JUMP_IF_AT_LEAST, RETURN = 0x20, 0x35, 0x06
ALLOW, FAIL, ENOSYS = 0x7FFF0000, 0x00050000, 38
FIRST, AFTER_LAST = 444, 447  # landlock_create_ruleset, _add_rule, _restrict_self


def forbid_landlock() -> bool:
    steps = [
        (LOAD, 0, 0, 0),
        (JUMP_IF_AT_LEAST, 2, 0, AFTER_LAST),
        (JUMP_IF_AT_LEAST, 0, 1, FIRST),
        (RETURN, 0, 0, FAIL | ENOSYS),
        (RETURN, 0, 0, ALLOW),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in steps))
    described = struct.pack("@HP", len(steps), ctypes.addressof(program))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return prctl(SET_SECCOMP, MODE_FILTER, described, 0, 0) == 0


def examine(path: Path, *, must_be_closed: bool) -> SandboxReport:
    rows = pa.table({"distance": [1.0, 2.0]})
    job = Job(columns={"distance": FeatureSpec(type="float64")}, decision=0.5)
    return examine_model(
        path.read_bytes(),
        job=job,
        rows=rows,
        golden=rows,
        limits=LIMITS,
        must_be_closed=must_be_closed,
    ).confinement


def main(script: str, place: str, required: str) -> str:
    if not forbid_landlock():
        return f"no filter: {os.strerror(ctypes.get_errno())}"
    closed = required == "closed"
    try:
        if script == "examine":
            report = examine(Path(place), must_be_closed=closed)
        else:
            report = run_sandboxed(script, Path(place), LIMITS, must_be_closed=closed)
    except ModelRefused as refusal:
        return refusal.reason
    return "closed" if report.files else "open"


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
