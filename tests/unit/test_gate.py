# SPDX-License-Identifier: Apache-2.0
"""Room for calls that wait, and the methods that there are."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from graftd.api.errors import RefusedError
from graftd.api.gate import Gate
from graftd.api.peer import Peer, SocketName


def peer(uid: int, name: SocketName = SocketName.READ_ONLY) -> Peer:
    return Peer(socket_name=name, pid=1, uid=uid, gid=uid, netns_cookie=1)


def gate(most: int) -> Gate:
    core = SimpleNamespace(access=SimpleNamespace(identity=lambda peer: f"group of {peer.uid // 100}"))
    return Gate(cast(Any, core), cast(Any, None), cast(Any, None), most_pending=most, most_bytes=1)


def test_one_caller_leaves_room_for_others() -> None:
    made = gate(8)
    with contextlib.ExitStack() as held:
        for uid in (1000, 1001):
            held.enter_context(made.room(peer(uid)))
        with pytest.raises(RefusedError, match="allows 8, 2 of one caller"), made.room(peer(1002)):
            pass
        held.enter_context(made.room(peer(1100)))
        for _ in range(5):
            held.enter_context(made.room(peer(0, SocketName.ADMIN)))
        with pytest.raises(RefusedError, match="8 requests wait"), made.room(peer(1202)):
            pass
    with made.room(peer(1000)):
        assert made._pending.total() == 1
    assert not made._pending


def test_methods() -> None:
    """Each is made once, of whichever service has it; others are none."""
    made = gate(8)
    for word in ("first", "second"):
        handlers: Any = {word: grpc.unary_unary_rpc_method_handler(lambda *_: None)}
        made.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(word, handlers),))
        made.add_registered_method_handlers(word, handlers)

    def found(method: str) -> Any:
        return made.service(cast(Any, SimpleNamespace(method=method)))

    assert found("/first/first").unary_unary is not None
    assert found("/second/second") is found("/second/second")
    assert found("/second/second") is not found("/first/first")
    assert found("/second/first") is None
    assert found("/third/third") is None
