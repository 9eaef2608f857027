"""Run a module on files that nobody vouched for: no credentials, and bounds on what it uses.

The child side is `registry.sandbox_launcher`, what the kernel takes away `registry.confinement`.
Whatever the child leaves behind was possibly written by the files: it is read as such.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.untrusted_text import one_line

REFUSED_FILE = "refused.json"
# Exit codes of worker and launcher, beyond those that Python and shells use.
REFUSED, OUT_OF_MEMORY, NOT_RUN = 64, 65, 66

GiB = 2**30
STDERR_BYTES = 4096
REPORT_BYTES = 64 * 1024
TEXT_LENGTH = 2000
CACHE = ".numba"
THREADS = "2"
_SIGNALLED = 128
_SIGNALS = frozenset(map(int, signal.valid_signals()))
_POLL_SECONDS = 0.02
_READER_SECONDS = 1


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of a sandboxed run.

    Attributes:
        memory_bytes: Address space of each process (RLIMIT_AS).
        cpu_seconds: Processor time of each process.
        wall_seconds: Time until everything is killed.
        file_bytes: Size of each file that is written.
    """

    memory_bytes: int = 4 * GiB
    cpu_seconds: int = 600
    wall_seconds: float = 900
    file_bytes: int = GiB


@dataclass(frozen=True, kw_only=True)
class SandboxReport:
    """What the kernel granted beyond limits, an empty environment and a session of its own.

    Attributes:
        network: There was no network but a loopback device that is down.
        files: Only the folder could be written; of the rest only Python and its libraries read.
        processes: Everything that was started ended with the run, whatever it did to stay.
    """

    network: bool = False
    files: bool = False
    processes: bool = False


def run_sandboxed(
    module: str,
    folder: Path,
    limits: Limits,
    *,
    environ: Mapping[str, str] = os.environ,
    must_be_closed: bool = False,
) -> SandboxReport:
    """Run `module folder` in a subprocess and wait for its end.

    The child gets an environment of its own, no open file, no standard input, and `folder` as
    working directory and home. It gets a copy of the compiled kernels in `NUMBA_CACHE_DIR`, not
    the cache itself: numba unpickles what it finds there.

    Args:
        module: A module's dotted name, or the path of a script that ends in `.py`.
        folder: What the module works in; the only place that it should write to.
        limits: Bounds of the run.
        environ: Where `NUMBA_CACHE_DIR` is looked up.
        must_be_closed: Whether nothing may run where the kernel cannot close off files.

    Returns:
        What the kernel granted beyond the limits.

    Raises:
        ModelRefused: The child reported a refusal, reached a limit (TIME_LIMIT, MEMORY_LIMIT) or
            ended otherwise than by itself (CRASHED); or it was not run (OPEN_SANDBOX).
        OSError: The folder does not exist or no process can be started.
    """
    home = folder.resolve(strict=True)
    (home / REFUSED_FILE).unlink(missing_ok=True)
    _copy_kernels(environ.get("NUMBA_CACHE_DIR"), home / CACHE)
    # Opened before the child runs: it could put another folder in its place.
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        code, stderr, report = _run(module, home, limits, must_be_closed=must_be_closed)
        refusal = _read_refusal(descriptor)
    finally:
        os.close(descriptor)
    if must_be_closed and code == NOT_RUN and not report.files:
        raise _open_sandbox()
    if code is None:
        raise _time_limit(f"{limits.wall_seconds:g} seconds", "wall_seconds")
    if refusal is not None:
        raise refusal
    _require_success(code, stderr, limits)
    return report


def report_refusal(folder: Path, error: ModelRefused) -> None:
    """Leave a refusal for the parent; the child's side, also done for a refusal that it raises."""
    report = {"reason": error.reason, "message": error.message, "next_step": error.next_step}
    (folder / REFUSED_FILE).write_text(json.dumps(report))


def read_left_behind(folder: Path, name: str, *, max_bytes: int) -> bytes:
    """Read a file that a sandboxed run was to leave, as what it is: possibly hostile.

    Args:
        folder: The folder of the run.
        name: The file in it.
        max_bytes: The most that it may hold.

    Raises:
        ModelRefused: CRASHED: it is missing, larger, a link, or no plain file.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        return _read_plain_file(descriptor, name, max_bytes)
    except OSError as error:
        raise _crashed(f"left no {name} that can be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _environment(home: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home),
        "NUMBA_CACHE_DIR": str(home / CACHE),
        **dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"),
            THREADS,
        ),
    }


def _copy_kernels(source: str | None, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    if source and Path(source).is_dir():
        with suppress(shutil.Error, OSError):  # another process is writing: the child compiles
            shutil.copytree(source, target, symlinks=True)
    target.mkdir(exist_ok=True)


def _run(
    module: str, home: Path, limits: Limits, *, must_be_closed: bool
) -> tuple[int | None, str, SandboxReport]:
    """Return the exit code, None for a run that was killed for its time; stderr; what held."""
    status, child_status = os.pipe()
    asked = {"module": module, "folder": str(home), "must_be_closed": must_be_closed}
    order = {**asked, "status": child_status, **asdict(limits)}
    launcher = f"{__package__}.sandbox_launcher"
    try:
        process = subprocess.Popen(  # noqa: S603 - our own Python, no shell
            [sys.executable, "-I", "-m", launcher, "launch", json.dumps(order)],
            cwd=home,
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(child_status,),
            start_new_session=True,
        )
    except OSError:
        os.close(status)
        raise
    finally:
        os.close(child_status)
    with os.fdopen(status, "rb") as granted, process:
        in_time, stderr = _watch(process, limits.wall_seconds)
        report = _granted(granted.read(STDERR_BYTES))
    return process.returncode if in_time else None, stderr, report


def _watch(process: subprocess.Popen[bytes], seconds: float) -> tuple[bool, str]:
    """Wait for the end or for the limit, then kill the whole session; keep the end of stderr."""
    tail = bytearray()
    reader = threading.Thread(target=_keep_tail, args=(process.stderr, tail), daemon=True)
    reader.start()
    deadline = time.monotonic() + seconds
    try:
        while not (ended := _ended(process)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    finally:
        with suppress(ProcessLookupError, PermissionError):  # macOS says so of a zombie's group
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    reader.join(_READER_SECONDS)  # what escaped the session may hold the pipe open
    return ended, tail.decode("utf-8", "replace")


def _keep_tail(stream: IO[bytes], tail: bytearray) -> None:
    while chunk := os.read(stream.fileno(), REPORT_BYTES):
        tail += chunk
        del tail[:-STDERR_BYTES]


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell without reaping it where that is possible: its number must stay taken until killpg."""
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, options) is not None


def _granted(status: bytes) -> SandboxReport:
    """Read what the launcher wrote before anything untrusted ran, or nothing if it failed."""
    return SandboxReport(**json.loads(status)) if status else SandboxReport()


def _read_refusal(folder: int) -> ModelRefused | None:
    """Read the child's refusal as what it is: the words of someone who may be hostile."""
    try:
        text = _read_plain_file(folder, REFUSED_FILE, REPORT_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        return _crashed(f"left a {REFUSED_FILE} that is no plain file: {error.strerror}")
    try:
        report = json.loads(text)
        reason = Refusal(report["reason"])
        message, next_step = (_told(report[key]) for key in ("message", "next_step"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return _crashed(f"left a {REFUSED_FILE} that is no report of a refusal")
    return ModelRefused(message, reason=reason, next_step=next_step)


def _read_plain_file(folder: int, name: str, max_bytes: int) -> bytes:
    # Neither through a link to a file of ours, nor waiting at a pipe that nobody writes to.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_size > max_bytes:
            raise OSError(errno.EINVAL, f"no plain file of at most {max_bytes} bytes")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(max_bytes)
    finally:
        os.close(descriptor)


def _told(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError("a report says something")
    return one_line(text, TEXT_LENGTH)


def _require_success(code: int, stderr: str, limits: Limits) -> None:
    number = -code if code < 0 else code - _SIGNALLED
    last = one_line(stderr[-STDERR_BYTES:].strip().rpartition("\n")[2], TEXT_LENGTH)
    said = f"; its last words: {last}" if last else ""
    if code == 0:
        return
    if number == signal.SIGXCPU:
        raise _time_limit(f"{limits.cpu_seconds} seconds of processor time", "cpu_seconds")
    if code == OUT_OF_MEMORY or "bad_alloc" in last:
        raise ModelRefused(
            f"Loading the model needed more than {limits.memory_bytes / GiB:.3g} GiB of memory.",
            reason=Refusal.MEMORY_LIMIT,
            next_step="Train a smaller model, or raise memory_bytes of the sandbox's limits.",
        )
    if number in _SIGNALS:
        raise _crashed(f"was ended by {signal.Signals(number).name}{said}")
    raise _crashed(f"ended with exit code {code}{said}")


def _time_limit(spent: str, limit: str) -> ModelRefused:
    return ModelRefused(
        f"Loading the model took more than {spent}.",
        reason=Refusal.TIME_LIMIT,
        next_step=f"Train a smaller model, or raise {limit} of the sandbox's limits.",
    )


def _open_sandbox() -> ModelRefused:
    return ModelRefused(
        "The model was not loaded: this kernel cannot close off files from it (no Landlock).",
        reason=Refusal.OPEN_SANDBOX,
        next_step="Register it on a Linux whose kernel has Landlock enabled (5.13 or newer); in an "
        "open sandbox it could read what you can read.",
    )


def _crashed(what: str) -> ModelRefused:
    return ModelRefused(
        f"The process that loaded the model {what}.",
        reason=Refusal.CRASHED,
        next_step="Do not use this file; store the model again: "
        "`batchinf model register <pipeline>`.",
    )
