# SPDX-License-Identifier: Apache-2.0
"""The notifications of the family "graft", as its listeners hear them."""

import socket
import struct
from typing import Any

from box import Box
from expect import eventually
from graftnl import Graft
from uapi import U

_SO_COOKIE = 57


class Events:
    """Listens in a namespace to one group."""

    def __init__(self, box: Box, group: str) -> None:
        with box.world.host:
            self.kernel = Graft()
        self.kernel.subscribe(group)
        self.seen: list[tuple[int, dict[str, Any]]] = []

    def all_of(self, sock: socket.socket) -> list[dict[str, Any]]:
        """Every event of ``sock`` so far; there must be one."""
        cookie = struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8))[0]

        def found() -> list[dict[str, Any]]:
            self.seen += self.kernel.notices()
            return [message["event"] for _, message in self.seen if message["event"]["cookie"] == cookie]

        eventually(found, "an event with the socket's cookie", 5)
        return found()

    def of(self, sock: socket.socket) -> dict[str, Any]:
        """The only event of ``sock``."""
        (event,) = self.all_of(sock)
        return event

    def denied(self, sock: socket.socket) -> int:
        """The reason of the denial that is the last event of ``sock``."""
        event = self.all_of(sock)[-1]
        assert event["kind"] == U.EVENT_DENIED
        return int(event["reason"])

    def next(self) -> tuple[int, dict[str, Any]]:
        """The next notification."""

        def found() -> bool:
            self.seen += self.kernel.notices()
            return bool(self.seen)

        eventually(found, "a notification", 5)
        return self.seen.pop(0)
