# SPDX-License-Identifier: Apache-2.0
"""What became of a socket."""

from __future__ import annotations

from dataclasses import dataclass

from graftd.model._net import Address, Verbs
from graftd.model._open_enum import OpenEnum
from graftd.model._reason import Reason


class EventKind(OpenEnum):
    GRAFTED = 1
    NATIVE = 2
    DENIED = 3


@dataclass(frozen=True, slots=True)
class Event:
    """errno is what the program saw, 0 where it saw none; detail is the kernel's sentence; cookie
    is the socket's SO_COOKIE; address and port are those asked for, bound or destination; pid is
    of the initial pid namespace."""

    netns_cookie: int
    kind: EventKind
    reason: Reason
    errno: int
    detail: str
    cookie: int
    endpoint: str
    verb: Verbs
    uid: int
    pid: int
    protocol: int
    address: Address | None
    port: int
