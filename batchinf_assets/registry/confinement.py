"""What the Linux kernel lets an unprivileged process give up: network, files, other processes.

Best effort: each part that the kernel does not offer is left out and reported. Used by the
launcher of `registry.sandbox`, in a process that has one thread and starts no other before.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

LIBRARIES = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store")
READABLE = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self",  # of the process that restricts itself, not of those that it starts
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/dev/urandom",
)
WRITABLE = ("/dev/null",)
SIGNALLED = 128  # a shell's way to say in an exit code which signal ended a process

# linux/sched.h
_NEW_USER, _NEW_PID, _NEW_NET, _NEW_IPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
# linux/prctl.h
_PARENT_DEATH_SIGNAL, _NO_NEW_PRIVILEGES = 1, 38
_SIGKILL = 9
# linux/landlock.h; the system calls have these numbers on every architecture that Python runs on
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_MAKE_DEVICES = 1 << 6 | 1 << 11
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14 | 1 << 15
# rights that are known by version 1, 2, 3 and 5
_RIGHTS = {1: 1 << 13, 2: 1 << 14, 3: 1 << 15, 5: 1 << 16}
_NOBODY = 65534


def leave_namespaces() -> bool:
    """Move into new user, network, IPC and process namespaces; False where that is not allowed.

    The network namespace holds nothing but a loopback device that is down. Children started from
    here on live in the process namespace, and all of them end when its first process ends.
    """
    user, group = os.getuid(), os.getgid()
    if _call("unshare", _NEW_USER | _NEW_NET | _NEW_IPC | _NEW_PID) != 0:
        return False
    # As nobody: whoever starts a program with another number than 0 keeps no capability.
    for file, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{_NOBODY} {user} 1"),
        ("gid_map", f"{_NOBODY} {group} 1"),
    ):
        with suppress(OSError):
            Path(f"/proc/self/{file}").write_text(text)
    return True


def restrict_files(*, writable: Path, readable: Iterable[Path], listed: Iterable[Path]) -> bool:
    """Leave a folder to write, some paths to read, and some folders to list (Landlock).

    Also forbids TCP, signals and tracing beyond the sandbox where the kernel knows how. Sockets in
    the file system stay as open as their permissions are.

    Returns:
        False where the kernel has no Landlock; nothing is restricted then.
    """
    version = _syscall(_CREATE_RULESET, None, 0, _VERSION)
    if version < 1:
        return False
    rights = max(bound for known, bound in _RIGHTS.items() if known <= version) - 1
    attributes = struct.pack("<QQQ", rights, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _syscall(_CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        return False
    read = _EXECUTE | _READ_FILE | _READ_DIR
    _allow(ruleset, [writable], rights & ~_EXECUTE & ~_MAKE_DEVICES)
    _allow(ruleset, map(Path, WRITABLE), (_READ_FILE | _WRITE_FILE) & rights)
    _allow(ruleset, [*map(Path, (*LIBRARIES, *READABLE)), *readable], read)
    _allow(ruleset, listed, _READ_DIR)
    _keep_own_entry()
    _call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    held = _syscall(_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return held


def die_with_parent() -> None:
    """Let the kernel kill this process when the one that started it ends."""
    if sys.platform == "linux":
        _call("prctl", _PARENT_DEATH_SIGNAL, _SIGKILL, 0, 0, 0)


def fork_below_first_process() -> None:
    """Continue in a child of the new namespace's first process; this process ends as it ends.

    That first process does nothing but wait: the kernel spares it signals that end others, and
    kills everything that was started below it when it ends.
    """
    first = os.fork()
    if first:
        _end_as(os.waitpid(first, 0)[1])
    die_with_parent()
    child = os.fork()
    while child:
        ended, status = os.wait()
        if ended == child:
            _end_as(status)


def _end_as(status: int) -> NoReturn:
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else SIGNALLED - code)


def _allow(ruleset: int, paths: Iterable[Path], rights: int) -> None:
    for path in paths:
        with suppress(OSError):  # not every system has every path
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = rights if path.is_dir() else rights & _FILE_RIGHTS
            _syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("<Qi", allowed, opened), 0)
            os.close(opened)


def _keep_own_entry() -> None:
    """Hold /proc/self open across exec: a rule is lost when the kernel forgets its entry."""
    with suppress(OSError):
        os.set_inheritable(os.open("/proc/self", os.O_PATH), True)  # noqa: FBT003 - os' signature


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    if sys.platform != "linux":
        return -1
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return int(ctypes.CDLL(None).syscall(ctypes.c_long(number), *wide))


def _call(function: str, *arguments: int) -> int:
    found = getattr(ctypes.CDLL(None), function, None)
    return -1 if found is None else int(found(*(ctypes.c_ulong(a) for a in arguments)))
