"""What a process that opens foreign files gives up before it does so: memory, time, the network, all other files.

Everything here only takes away. What a kernel does not know (Landlock came with Linux 5.13, user namespaces may be
switched off) is left out; the drivers' allow-list holds without it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parents[2]

# Rights of Landlock, include/uapi/linux/landlock.h.
READ_FILE, READ_FOLDER = 1 << 2, 1 << 3
FIRST, REFER, TRUNCATE = (1 << 13) - 1, 1 << 13, 1 << 14
EXECUTE = 1 << 0
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
NO_NEW_PRIVILEGES = 38
SYSTEM = ("/usr", "/lib", "/lib64", "/nix", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom")
"""Where shared libraries and what they need stand; nobody's data."""


def bound(memory: int, seconds: int, file_size: int) -> None:
    """Bound address space (bytes), processor time (s) and the size of a file (bytes); no core is dumped."""
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (value, value))


def leave_network() -> bool:
    """Enter an empty network namespace where the kernel allows it."""
    if not hasattr(os, "unshare"):
        return False
    for flags in (os.CLONE_NEWNET, os.CLONE_NEWUSER | os.CLONE_NEWNET):
        try:
            os.unshare(flags)
            return True
        except OSError:
            continue
    return False


def kept() -> tuple[str, ...]:
    """What a process that opens foreign files keeps on this machine, because the kernel does not take it: `network`,
    `files`, both or nothing. Tried in a process of its own."""
    words = (
        "from sdi.ingest import confinement as c\n"
        "print(*['network'] * (not c.leave_network()), *['files'] * (not c.leave_files([])))"
    )
    # As the reading process is started: without our environment, which may hold secrets.
    environment = {"PYTHONPATH": str(PACKAGE_ROOT), "PATH": os.defpath}
    done = subprocess.run(
        [sys.executable, "-c", words], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    return tuple(done.stdout.split()) if done.returncode == 0 else ("network", "files")


def leave_files(folders: Iterable[str | Path]) -> bool:
    """Keep `folders` for reading and writing and Python with its libraries for reading; no other file can be opened,
    and from Landlock's fourth version no TCP connection be made. Returns whether the kernel did it."""
    if not sys.platform.startswith("linux"):
        return False
    kernel = ctypes.CDLL(None, use_errno=True)
    version = kernel.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return False
    rights = FIRST & ~EXECUTE | (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    attributes = struct.pack("=QQ", rights, 3 if version >= 4 else 0)[: 16 if version >= 4 else 8]
    rules = kernel.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if rules < 0:
        return False
    try:
        _allow(kernel, rules, PACKAGE_ROOT, READ_FOLDER)
        for known in {*SYSTEM, *_python()}:
            _allow(kernel, rules, known, READ_FILE | READ_FOLDER)
        for path in folders:
            _allow(kernel, rules, path, rights)
        kernel.prctl(NO_NEW_PRIVILEGES, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
        done: bool = kernel.syscall(RESTRICT_SELF, rules, ctypes.c_uint32(0)) == 0
        return done
    finally:
        os.close(rules)


def _python() -> set[str]:
    """Where this interpreter, its packages and our own stand; not the folder that we were started in."""
    here = {str(PACKAGE_ROOT), str(Path.cwd()), ""}
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    return {*prefixes, *(path for path in sys.path if path not in here), str(PACKAGE_ROOT / "sdi")}


def _allow(kernel: ctypes.CDLL, rules: int, path: str | Path, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):  # noqa: PTH112 - a link that leads nowhere is no folder
            rights &= READ_FILE
        rule = struct.pack("=Qi", rights, handle)
        kernel.syscall(ADD_RULE, rules, ctypes.c_int(1), rule, ctypes.c_uint32(0))
    finally:
        os.close(handle)
