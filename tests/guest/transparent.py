# SPDX-License-Identifier: Apache-2.0
"""The BPF door: its loader, its map by the one system call that graftd uses as well, and sockets of programs."""

import ctypes
import json
import mmap
import os
import socket
import struct
import subprocess
from collections.abc import Sequence
from errno import ENOPROTOOPT, EOPNOTSUPP
from pathlib import Path
from socket import AF_INET, IPPROTO_TCP, IPPROTO_UDP, SOCK_DGRAM, SOCK_STREAM
from typing import Any

from box import Box, state
from kernelcalls import syscall
from netns import Namespace
from tables import egress, ingress
from uapi import U
from world import HOST4

LOADER = "/usr/sbin/graft-transparent"
FOLDER = Path("/sys/fs/bpf/graft")
_PREEMPT = Path("/sys/kernel/debug/sched/preempt")
PORT = 8080
NOBODY = 65534
DONE, FAILED, WRONG_USAGE, NOT_LOADED, KERNEL_CANNOT = range(5)

_SYS_BPF = 321
_CREATE, _UPDATE, _DELETE, _OBJ_PIN, _OBJ_GET = 0, 2, 3, 6, 7
_ARRAY, _MMAPABLE = 2, 1 << 10

# Types and protocols that the program rewrites.
MPTCP = 262
STREAMS = [(SOCK_STREAM, protocol) for protocol in (0, IPPROTO_TCP, MPTCP)]
DATAGRAMS = [(SOCK_DGRAM, protocol) for protocol in (0, IPPROTO_UDP)]


def loader(*words: str, due: int = DONE, before: Sequence[str] = ()) -> str:
    """Run the loader, behind the words ``before``; return what it printed. ``due`` is its exit status."""
    done = subprocess.run(
        [*before, LOADER, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == due, f"{words} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def status(due: int = DONE) -> dict[str, Any]:
    """What ``status --json`` says."""
    found: dict[str, Any] = json.loads(loader("status", "--json", due=due))
    return found


def links() -> list[str]:
    """The door's links that are at work, by what each is attached as."""
    found = json.loads(subprocess.run(["bpftool", "-j", "link"], stdout=subprocess.PIPE, check=True, timeout=60).stdout)
    return sorted(each["attach_type"] for each in found if each["type"] == "tracing")


def kernel_can() -> bool:
    """Whether the kernel has what the door needs: probed by its symbols, as the loader does not do it."""
    symbols = Path("/proc/kallsyms").read_text()
    hook, mptcp = (f" {name}\n" in symbols for name in ("update_socket_protocol", "mptcp_init_sock"))
    return hook and mptcp and Path("/sys/kernel/btf/vmlinux").exists()


def _bpf(command: int, attributes: bytes) -> int:
    return syscall(_SYS_BPF, ctypes.c_long(command), attributes, ctypes.c_long(len(attributes)))


def preempts() -> bool:
    """Whether the kernel preempts itself, so that there are two of the program that rewrites sockets."""
    if not _PREEMPT.exists():
        return "PREEMPT" in os.uname().version
    mode = _PREEMPT.read_text()
    return "(none)" not in mode and "(voluntary)" not in mode


def pins() -> set[str]:
    """What is pinned while the door serves."""
    return {"transparent", "hints", "link", "link-opens", "link-closes"} | ({"link-too"} if preempts() else set())


def attached() -> list[str]:
    """What links() are then."""
    return ["modify_return"] * (1 + preempts()) + ["trace_fentry", "trace_fexit"]


class Map:
    """The pinned map, and its hints: nobody, the namespace of which there is one, or SEVERAL."""

    SEVERAL = (1 << 64) - 1

    def __init__(self) -> None:
        self._key, self._value = ctypes.c_uint64(), ctypes.c_uint8(1)
        self.added: list[int] = []
        self._fd = _opened("transparent")
        fd = _opened("hints")
        self._memory = mmap.mmap(fd, 8 << 14)
        self.hints = memoryview(self._memory).cast("Q")
        os.close(fd)

    def add(self, cookie: int) -> None:
        """Put a namespace into it, hinted at."""
        self.hints[self.hash(cookie)] = cookie
        self._key.value = cookie
        key, value = ctypes.addressof(self._key), ctypes.addressof(self._value)
        _bpf(_UPDATE, struct.pack("=IIQQQ", self._fd, 0, key, value, 0))
        self.added.append(cookie)

    def remove(self, cookie: int) -> None:
        """Take it out, with its hint."""
        self._key.value = cookie
        _bpf(_DELETE, struct.pack("=IIQQQ", self._fd, 0, ctypes.addressof(self._key), 0, 0))
        self.hints[self.hash(cookie)] = 0

    @staticmethod
    def hash(cookie: int) -> int:
        """The place of its hint, as kmod/bpf has it."""
        return (cookie * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 50

    def close(self) -> None:
        """Close it."""
        self.hints.release()
        self._memory.close()
        os.close(self._fd)


def pin_array(name: str, size: int) -> None:
    """Pin an array of one value of so many bytes, as the hints are one."""
    fd = _bpf(_CREATE, struct.pack("=5I", _ARRAY, 4, size, 1, _MMAPABLE).ljust(64, b"\0"))
    path = ctypes.create_string_buffer(os.fsencode(FOLDER / name))
    _bpf(_OBJ_PIN, struct.pack("=QII", ctypes.addressof(path), fd, 0))
    os.close(fd)


def _opened(name: str) -> int:
    path = ctypes.create_string_buffer(os.fsencode(FOLDER / name))
    return _bpf(_OBJ_GET, struct.pack("=QII", ctypes.addressof(path), 0, 0))


def unloaded() -> bool:
    """Whether nothing of the door is left."""
    return not FOLDER.exists() and not links()


def furnished(box: Box) -> Box:
    """The box, with an endpoint to listen at and one to connect through."""
    box.endpoint("ep-in", HOST4, PORT)
    box.endpoint("ep-out", HOST4)
    box.rules(ingress("ep-in", port=PORT), egress("ep-out", "10.0.0.0/8"))
    return box


def plain(namespace: Namespace, family: int = AF_INET, kind: int = SOCK_STREAM, protocol: int = 0) -> socket.socket:
    """A socket as a program asks for it that knows nothing of grafting."""
    return namespace.open_socket(family, kind, protocol)


def graftable(namespace: Namespace, *how: int) -> bool:
    """Whether a socket that is asked for so is one that rules may graft."""
    with plain(namespace, *how) as sock:
        try:
            return bool(state(sock) == U.STATE_UNDECIDED)
        except OSError as error:
            assert error.errno in {ENOPROTOOPT, EOPNOTSUPP}
            return False
