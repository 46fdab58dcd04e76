# SPDX-License-Identifier: Apache-2.0
"""What can be seen on this machine, without graftd."""

from __future__ import annotations

import errno
import mmap
import os
import platform
import socket
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple, TypeVar

from graftd.errors import GraftError

Result = TypeVar("Result")
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
_PT_INTERP = 3
# How /proc/net writes that a socket listens.
_LISTENS = "0A"


class Trial(NamedTuple):
    """What became of a bind: 0, or an errno; `device` names a device that is not there."""

    error: int = 0
    device: str = ""


class Module(NamedTuple):
    """A build of the kernel module. source: the kernel's checksum of what it was built from."""

    version: str
    source: str


class Process(NamedTuple):
    """What is known of a process; None where it could not be read."""

    command: str
    cookie: int | None
    has_library: bool | None
    is_static: bool | None
    is_go: bool
    is_privileged: bool
    can_configure: bool


class Server(NamedTuple):
    """A socket that listens, or a datagram socket. stream: TCP, otherwise UDP."""

    stream: bool
    address: IPv4Address | IPv6Address
    port: int
    inode: str


class Host:
    """This machine. Tests have another one."""

    proc = Path("/proc")
    netns = Path("/run/netns")
    modules = Path("/sys/module")

    def kernel(self) -> str:
        return platform.release()

    def module_loaded(self) -> bool:
        return (self.modules / "graft").is_dir()

    def loaded_module(self) -> Module | None:
        """The module that the kernel has; None for none."""
        try:
            return Module(*((self.modules / "graft" / name).read_text().strip() for name in ("version", "srcversion")))
        except OSError:
            return None

    def installed_module(self) -> Module | None:
        """The module that modprobe would load; None for none."""
        try:
            return Module(*(_modinfo(field) for field in ("version", "srcversion")))
        except (OSError, subprocess.CalledProcessError):
            return None

    def has_netns(self, name: str) -> bool:
        return (self.netns / name).exists()

    def in_namespace(self, path: str | None, function: Callable[[], Result]) -> Result:
        """What `function` returns in the namespace of a file; in this one without. OSError, GraftError."""
        if path is None:
            return function()
        from graftd.kernel import netns

        fd = netns.open_selected(path)
        try:
            return netns.call_in(fd, function)
        finally:
            os.close(fd)

    def cookie(self, path: str | None) -> int | None:
        """SO_NETNS_COOKIE of a namespace file; None where it may not be entered."""
        try:
            return self.in_namespace(path, _cookie)
        except (OSError, GraftError):
            return None

    def try_bind(self, path: str | None, address: str, port: int, device: str, *, stream: bool) -> Trial:
        """Bind as an endpoint would, and let go. OSError, GraftError where the namespace may not be entered."""
        return self.in_namespace(path, lambda: _try_bind(address, port, device, stream=stream))

    def holder(self, path: str | None, port: int, *, stream: bool) -> str:
        """Which process has the port, as `nginx (pid 12)`; "" where that is not to be seen."""
        try:
            found = self.in_namespace(path, _servers)
        except (OSError, GraftError):
            return ""
        return self.owner(*(one.inode for one in found if (one.stream, one.port) == (stream, port)))

    def servers(self, path: str) -> list[Server]:
        """What listens in the own stack of a namespace's file, but at loopback. OSError, GraftError."""
        found = [one for one in self.in_namespace(path, _servers) if one.stream]
        return [one for one in found if not one.address.is_loopback]

    def owner(self, *inodes: str) -> str:
        """The process that has one of these sockets, as `nginx (pid 12)`; "" where that is not to be seen."""
        wanted = {f"socket:[{inode}]" for inode in inodes}
        for folder in self.proc.iterdir() if wanted else ():
            if not folder.name.isdecimal():
                continue
            # A process may end, or close a file, while it is looked at.
            with suppress(OSError):
                if any(_link(file) in wanted for file in (folder / "fd").iterdir()):
                    return f"{(folder / 'comm').read_text().strip()} (pid {folder.name})"
        return ""

    def process(self, pid: int) -> Process | None:
        """A process; None where there is none."""
        folder = self.proc / str(pid)
        try:
            command = (folder / "comm").read_text().strip()
        except OSError:
            return None
        executable = _executable(folder / "exe")
        return Process(
            command=command,
            cookie=self.cookie(str(folder / "ns/net")),
            has_library=_has_library(folder / "maps"),
            is_static=executable[0],
            is_go=executable[1],
            is_privileged=_is_privileged(folder / "status"),
            can_configure=self._can_configure(folder),
        )

    def _can_configure(self, folder: Path) -> bool:
        """Whether it has in its bounding set what the module asks about, in the host's user namespace."""
        try:
            own = os.readlink(folder / "ns/user") == os.readlink(self.proc / "1/ns/user")
            bounding = int(_status(folder / "status")["CapBnd"], 16)
        except (OSError, KeyError, ValueError):
            return False
        return own and bool(bounding >> _CAP_NET_ADMIN & 1) and not bounding >> _CAP_SYS_ADMIN & 1


def _link(file: Path) -> str:
    try:
        return os.readlink(file)
    except OSError:
        return ""


def _modinfo(field: str) -> str:
    command = ["modinfo", "--field", field, "graft"]
    path = f"/usr/sbin:/sbin:{os.environ.get('PATH', '')}"
    done = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=True)  # noqa: S603 all ours
    return done.stdout.strip()


def _cookie() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, 71, 8), "little")


def _try_bind(address: str, port: int, device: str, *, stream: bool) -> Trial:
    index = 0
    if device:
        try:
            index = socket.if_nametoindex(device)
        except OSError:
            return Trial(errno.ENODEV, device)
    six = ":" in address
    kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
    try:
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind) as probe:
            if stream:
                # What waits in TIME_WAIT holds nobody up.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port, 0, index) if six else (address, port))
    except OSError as error:
        return Trial(error.errno or errno.EIO)
    return Trial()


def _servers() -> list[Server]:
    """Those of this thread's namespace."""
    found = []
    for name in ("tcp", "tcp6", "udp", "udp6"):
        stream = name.startswith("tcp")
        try:
            lines = Path("/proc/thread-self/net", name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *_, inode = line.split()[:10]
            if not stream or state == _LISTENS:
                address, _, port = local.partition(":")
                found.append(Server(stream, _address(address), int(port, 16), inode))
    return found


def _address(words: str) -> IPv4Address | IPv6Address:
    """Of words of 32 bits, each written as a number of this machine's."""
    raw = b"".join(struct.pack("=I", int(words[i : i + 8], 16)) for i in range(0, len(words), 8))
    found = ip_address(raw)
    return found if found.version == 4 else found.ipv4_mapped or found


def _status(file: Path) -> dict[str, str]:
    lines = (line.partition(":") for line in file.read_text().splitlines())
    return {key: value.strip() for key, _, value in lines}


def _is_privileged(file: Path) -> bool:
    """Whether it runs with more rights than its user: real and effective ids differ."""
    try:
        status = _status(file)
        return any(len(set(status[key].split()[:2])) > 1 for key in ("Uid", "Gid"))
    except (OSError, KeyError):
        return False


def _has_library(file: Path) -> bool | None:
    try:
        return "libgraft.so" in file.read_text()
    except OSError:
        return None


def _executable(file: Path) -> tuple[bool | None, bool]:
    """Whether a program is static, and whether it is Go's."""
    try:
        with file.open("rb") as program, mmap.mmap(program.fileno(), 0, prot=mmap.PROT_READ) as content:
            return _is_static(content), content.find(b"\xff Go buildinf:") >= 0
    except (OSError, ValueError):
        return None, False


def _is_static(content: mmap.mmap) -> bool | None:
    """An ELF program without an interpreter. None: no ELF of 64 bits."""
    if content[:5] != b"\x7fELF\x02":
        return None
    order = "<" if content[5] == 1 else ">"
    (start,) = struct.unpack_from(f"{order}Q", content, 32)
    size, count = struct.unpack_from(f"{order}HH", content, 54)
    kinds = (struct.unpack_from(f"{order}I", content, start + size * number)[0] for number in range(count))
    return _PT_INTERP not in kinds
