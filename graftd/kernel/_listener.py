# SPDX-License-Identifier: Apache-2.0
"""The module's notifications for an event loop."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from graftd.errors import ModuleNotLoadedError
from graftd.kernel import _decode
from graftd.kernel._genl import GENL_ID_CTRL, Family, family_news
from graftd.kernel._messages import GROUP_EVENT, GROUP_TABLE
from graftd.kernel._transport import NETLINK_ADD_MEMBERSHIP, NETLINK_GENERIC, SOL_NETLINK, Transport
from graftd.kernel._wire import NLMSG_MIN_TYPE, Frame, decode, frames
from graftd.model import Notice

_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 8 * 1024 * 1024
_DATAGRAM_BYTES = 64 * 1024
_AT_ONCE = 32  # datagrams, so that a storm leaves an event loop time for others


@dataclass(frozen=True, slots=True)
class Heard:
    """notices: in the order in which they came. lost: others may be missing among them: the kernel had to drop
    some, or the module came or went, and its tables with it."""

    notices: tuple[Notice, ...]
    lost: bool


class Listener:
    """Hears of the tables that the calling thread's namespace owns. The module may come and go meanwhile."""

    def __init__(self, groups: Iterable[str] = (GROUP_TABLE, GROUP_EVENT)) -> None:
        self._groups = tuple(groups)
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_GENERIC
        )
        try:
            self._socket.bind((0, 0))
            # Takes CAP_NET_ADMIN, as the groups do; where that is missing the groups say so.
            with contextlib.suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            # The controller's own group has its family's number.
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, GENL_ID_CTRL)
            # Its coming is told from here on. Asking for it makes the kernel load it, where it is installed.
            with contextlib.closing(Transport()) as asker, contextlib.suppress(ModuleNotLoadedError):
                self._join(asker.family())
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """Readable when there is something to receive."""
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> Heard:
        """What has come so far, or the first of it; does not wait."""
        notices: list[Notice] = []
        lost = False
        for _ in range(_AT_ONCE):
            try:
                data = self._socket.recv(_DATAGRAM_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                lost = True
                continue
            for frame in frames(data):
                if frame.type == GENL_ID_CTRL:
                    lost |= self._module(frame)
                elif (notice := _notice(frame)) is not None:
                    notices.append(notice)
        return Heard(tuple(notices), lost)

    def _module(self, frame: Frame) -> bool:
        """Whether this tells that the module came or went. The groups of one that went are left by then."""
        news = family_news(frame)
        if news is not None and news.family is not None:
            self._join(news.family)
        return news is not None

    def _join(self, family: Family) -> None:
        for group in self._groups:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, family.group(group))


def _notice(frame: Frame) -> Notice | None:
    return _decode.notice(*decode(frame)) if frame.type >= NLMSG_MIN_TYPE else None
