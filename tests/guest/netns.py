# SPDX-License-Identifier: Apache-2.0
"""Network namespaces, held by a descriptor, and proof that they are gone."""

import itertools
import os
import socket
import time
from typing import Self

import kernelcalls
import rtnl

_SO_NETNS_COOKIE = 71
_alive: dict[int, str] = {}
_ids = itertools.count(100)


def _here() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(descriptor: int) -> None:
    kernelcalls.call("setns", descriptor, kernelcalls.CLONE_NEWNET)


class Namespace:
    """A network namespace. ``with namespace:`` runs the calling thread inside it."""

    def __init__(self, descriptor: int) -> None:
        self.fd = descriptor
        self._left: list[int] = []

    @classmethod
    def initial(cls) -> Self:
        """The one that the tests were started in."""
        return cls(_here())

    @classmethod
    def new(cls, name: str = "unnamed") -> Self:
        """A fresh one. Its end can be waited for with ``assert_gone``."""
        before = _here()
        try:
            kernelcalls.call("unshare", kernelcalls.CLONE_NEWNET)
            created = cls(_here())
        finally:
            _enter(before)
            os.close(before)
        created.id = next(_ids)
        _alive[created.id] = name
        routes = rtnl.Routes()
        routes.number(created.fd, created.id)
        routes.close()
        return created

    id = 0

    def __enter__(self) -> Self:
        self._left.append(_here())
        _enter(self.fd)
        return self

    def __exit__(self, *_: object) -> None:
        before = self._left.pop()
        _enter(before)
        os.close(before)

    @property
    def cookie(self) -> int:
        """The kernel's number for it, never used again."""
        with self, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")

    def open_socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of this namespace."""
        with self:
            return socket.socket(family, kind, protocol)

    def close(self) -> None:
        """Let go of it; it ends when nothing else holds it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def assert_gone(patience: float = 20.0, keep: frozenset[int] = frozenset()) -> None:
    """Every namespace made here, but for those of the ids ``keep``, has ended, within ``patience`` seconds."""
    routes = rtnl.Routes()
    deadline = time.monotonic() + patience
    try:
        while True:
            left = {_alive[number] for number in routes.numbers() & _alive.keys() - keep}
            if not left:
                break
            assert time.monotonic() < deadline, f"namespaces that something still holds: {sorted(left)}"
            time.sleep(0.05)
    finally:
        routes.close()
    for number in _alive.keys() - keep:
        del _alive[number]
