"""Run something in a forked process and stop it at its n-th change of a folder.

There it is killed, or the change fails with an error number of the caller's choice. The kernel
counts over all threads together (`strace -e inject=…:when=N` counts each thread by itself, and
would never reach the commits that delta-rs writes in threads of its own): a seccomp filter stops
the calls below, ptrace asks what they are about. seccomp(2), ptrace(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

KILL = -1
"""What `decide` returns instead of an error number, to kill the process before the call."""
PATIENCE_SECONDS = 30
"""After which a run that hangs is killed by SIGALRM."""

_TABLES = {  # asm/unistd_64.h, asm-generic/unistd.h
    "x86_64": """write 1 pwrite64 18 writev 20 sendfile 40 fsync 74 fdatasync 75 ftruncate 77
        rename 82 mkdir 83 rmdir 84 link 86 unlink 87 openat 257 mkdirat 258 unlinkat 263
        renameat 264 linkat 265 fallocate 285 renameat2 316 copy_file_range 326""",
    "aarch64": """mkdirat 34 unlinkat 35 linkat 37 renameat 38 ftruncate 46 fallocate 47 openat 56
        write 64 writev 66 pwrite64 68 sendfile 71 fsync 82 fdatasync 83 renameat2 276
        copy_file_range 285""",
}
_WORDS = _TABLES.get(platform.machine(), "").split()
_NAMES = dict(zip(map(int, _WORDS[1::2]), _WORDS[::2], strict=True))
_PLACES: dict[str, tuple[str, int]] = {  # how to find the path: which argument, and what it is
    **dict.fromkeys(("write", "pwrite64", "writev", "fsync", "fdatasync"), ("file", 0)),
    **dict.fromkeys(("ftruncate", "fallocate", "sendfile"), ("file", 0)),
    "copy_file_range": ("file", 2),
    **dict.fromkeys(("mkdir", "rmdir", "unlink"), ("path", 0)),
    **dict.fromkeys(("rename", "link"), ("path", 1)),
    **dict.fromkeys(("openat", "mkdirat", "unlinkat"), ("at", 0)),
    **dict.fromkeys(("renameat", "renameat2", "linkat"), ("at", 2)),
}

_TRACE_ME, _CONTINUE, _SET_OPTIONS, _POKE_USER, _SYSCALL_INFO = 0, 7, 0x4200, 6, 0x420E
_OPTIONS = 1 << 20 | 1 << 7 | 1 << 3  # kill the traced with us; stop at seccomp; follow threads
_SECCOMP_EVENT = signal.SIGTRAP | 7 << 8
_ALL_THREADS = 0x40000000  # __WALL
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # linux/bpf_common.h
_TRACE, _ALLOW = 0x7FF00000, 0x7FFF0000  # linux/seccomp.h
_NO_NEW_PRIVILEGES, _SECCOMP = 38, 22  # linux/prctl.h
_RAX, _ORIGINAL_RAX = 80, 120  # offsets in sys/user.h's user_regs_struct


@dataclass(frozen=True, kw_only=True)
class Change:
    """One call that would change the folder.

    Attributes:
        syscall: Its name.
        path: What it would change, from the folder.
    """

    syscall: str
    path: str


Decide = Callable[[int, Change], int | None]
"""Called with each change and its number from 0: None lets it happen, else KILL or an errno."""


def unsupported(*, failing: bool = False) -> str | None:
    """Say why this machine cannot kill at a change, or let one fail; None where it can."""
    if failing and platform.machine() != "x86_64":
        return f"to let a call fail needs to know the registers of {platform.machine()}"
    if sys.platform != "linux" or not _NAMES:
        return f"no system call numbers for {sys.platform} {platform.machine()}"
    try:
        code = run_stopped(lambda: None, Path("/nonexistent"), lambda _number, _change: None)
    except OSError as error:
        return f"ptrace is not permitted here ({error.strerror}); docker needs --cap-add SYS_PTRACE"
    return None if code == 0 else "seccomp filters are not permitted here"


def run_stopped(body: Callable[[], object], folder: Path, decide: Decide) -> int:
    """Run `body` in a fork; every change below `folder` waits for what `decide` says.

    Returns:
        Its exit code, or the negative number of the signal that killed it.

    Raises:
        OSError: Tracing is not permitted.
    """
    process = os.fork()
    if process == 0:
        _run_traced(body)
    _attach(process)
    _continue(process)
    number = 0
    while True:
        thread, status = os.waitpid(-process, _ALL_THREADS)  # its process group
        if os.WIFSTOPPED(status):
            if status >> 8 == _SECCOMP_EVENT and (change := _change(thread, folder)):
                _do(decide(number, change), process, thread)
                number += 1
            _continue(thread, _signal(status))
        elif thread == process:
            return os.waitstatus_to_exitcode(status)


def _do(fault: int | None, process: int, thread: int) -> None:
    if fault == KILL:
        os.kill(process, signal.SIGKILL)
    elif fault:
        _fail(thread, fault)


def _signal(status: int) -> int:
    """Return the signal that the thread stopped for; ptrace's own stops are none."""
    stopped_by = os.WSTOPSIG(status)
    return 0 if stopped_by in (signal.SIGSTOP, signal.SIGTRAP) else stopped_by


def _continue(thread: int, passed_on: int = 0) -> None:
    with suppress(ProcessLookupError):  # killed meanwhile
        _ptrace(_CONTINUE, thread, 0, passed_on)


def _run_traced(body: Callable[[], object]) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)
        _ptrace(_TRACE_ME, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        _stop_at_changes()
        signal.alarm(PATIENCE_SECONDS)
        body()
        code = 0
    except BaseException:  # noqa: BLE001 - the fork must never run on into its parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _attach(process: int) -> None:
    _, status = os.waitpid(process, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    _ptrace(_SET_OPTIONS, process, 0, _OPTIONS)


def _change(thread: int, folder: Path) -> Change | None:
    info = ctypes.create_string_buffer(88)  # struct ptrace_syscall_info
    try:
        _ptrace(_SYSCALL_INFO, thread, len(info), ctypes.addressof(info))
        number, *arguments = struct.unpack_from("7Q", info, 24)
        name = _NAMES[number]
        path = _path(thread, name, arguments)
    except OSError:  # killed meanwhile, or the call names nothing that is open: it fails by itself
        return None
    inside = path.startswith(f"{folder}/")
    return Change(syscall=name, path=path[len(f"{folder}/") :]) if inside else None


def _path(thread: int, name: str, arguments: list[int]) -> str:
    kind, which = _PLACES[name]
    if kind == "file":
        return _link(thread, f"fd/{arguments[which]}")
    if kind == "path":
        return _text(thread, arguments[which])
    start = ctypes.c_int(arguments[which] & 0xFFFFFFFF).value
    path = _text(thread, arguments[which + 1])
    return path if path.startswith("/") else f"{_link(thread, f'fd/{start}')}/{path}"


def _link(thread: int, name: str) -> str:
    return str(Path(f"/proc/{thread}/{name}").readlink())


def _text(thread: int, address: int) -> str:
    with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(4096).split(b"\0", 1)[0].decode(errors="replace")


def _fail(thread: int, error: int) -> None:
    _ptrace(_POKE_USER, thread, _ORIGINAL_RAX, -1)  # no system call has this number
    _ptrace(_POKE_USER, thread, _RAX, -error)


def _ptrace(request: int, thread: int, address: int, data: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    wide = [ctypes.c_long(value) for value in (request, thread, address, data)]
    library.ptrace.restype = ctypes.c_long
    if library.ptrace(*wide) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _stop_at_changes() -> None:
    """Install the filter: stop at every call above, at openat only where it may create a file."""
    others = [number for number, name in _NAMES.items() if name != "openat"]
    (creating,) = {*_NAMES} - {*others}
    steps = [(_LOAD, 0, 0, 0)]  # the call's number
    steps += [(_EQUAL, len(others) - at + 2, 0, number) for at, number in enumerate(others)]
    steps += [
        (_EQUAL, 0, 3, creating),
        (_LOAD, 0, 0, 16 + 2 * 8),  # the low half of the third argument: its flags
        (_ANY_BIT, 0, 1, os.O_CREAT),
        (_RETURN, 0, 0, _TRACE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(program)))
    for request in ((_NO_NEW_PRIVILEGES, 1, 0), (_SECCOMP, 2, ctypes.addressof(head))):
        if ctypes.CDLL(None).prctl(*map(ctypes.c_ulong, (*request, 0, 0))):
            raise OSError(errno.EPERM, "prctl refused a seccomp filter")
