# SPDX-License-Identifier: Apache-2.0
"""Calls that Python does not offer (3.11 is the oldest here), straight from libc."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNET, CLONE_NEWUSER, CLONE_NEWPID = 0x40000000, 0x10000000, 0x20000000


def call(name: str, *arguments: object) -> int:
    """Call ``name`` of libc; raise OSError where it returns -1."""
    result = int(getattr(_libc, name)(*arguments))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def disconnect(descriptor: int) -> None:
    """connect() with AF_UNSPEC."""
    call("connect", descriptor, b"\0" * 16, 16)


def syscall(number: int, *arguments: object) -> int:
    """A system call that libc has no name for."""
    return call("syscall", ctypes.c_long(number), *arguments)
