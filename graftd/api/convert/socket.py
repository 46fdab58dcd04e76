# SPDX-License-Identifier: Apache-2.0
"""Live grafted sockets, and what becomes of sockets."""

from __future__ import annotations

from datetime import datetime

from graft.v1 import socket_pb2
from graftd.api import names
from graftd.api.convert import values
from graftd.api.text import utf8
from graftd.model import Address, Event, GraftedSocket


def to_message(socket: GraftedSocket, *, namespace: str, target: str = "") -> socket_pb2.Socket:
    """namespace, target: the ids of those that made it and that it lives in; target "" for graftd's own and for one
    that is not registered."""
    return socket_pb2.Socket(
        name=names.child(namespace, names.Collection.SOCKETS, socket.cookie),
        cookie=socket.cookie,
        inode=socket.inode,
        endpoint=utf8(socket.endpoint),
        target_namespace=names.namespace(target) if target else "",
        target_netns_cookie=socket.target_cookie,
        door=values.enum_number(socket.door),
        verbs=values.VERBS[socket.verb & 3],
        family=socket.family,
        type=socket.type,
        protocol=socket.protocol,
        state=values.enum_number(socket.state),
        uid=socket.uid,
        cgroup_id=socket.cgroup_id,
        local=_address(socket.local_address, socket.local_port),
        remote=_address(socket.remote_address, socket.remote_port),
    )


def event_message(event: Event, *, namespace: str, time: datetime) -> socket_pb2.SocketEvent:
    """namespace: the id of the one that made the socket. time: when the event was read."""
    return socket_pb2.SocketEvent(
        time=values.timestamp(time),
        namespace=names.namespace(namespace),
        kind=values.enum_number(event.kind),
        reason=values.enum_number(event.reason),
        error_number=event.errno,
        detail=utf8(event.detail),
        cookie=event.cookie,
        endpoint=utf8(event.endpoint),
        verbs=values.VERBS[event.verb & 3],
        uid=event.uid,
        pid=event.pid,
        protocol=event.protocol,
        address=_address(event.address, event.port),
    )


def _address(address: Address | None, port: int) -> socket_pb2.SocketAddress | None:
    if address is None:
        return None
    return socket_pb2.SocketAddress(address=values.address_text(address), port=port)
