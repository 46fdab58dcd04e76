# SPDX-License-Identifier: Apache-2.0
"""SocketService."""

from __future__ import annotations

from collections.abc import AsyncIterator

from graft.v1 import errors_pb2, socket_pb2
from graftd.api import names, pages
from graftd.api.call import Call, Core
from graftd.api.convert import content, socket
from graftd.api.errors import RefusedError, Violations
from graftd.api.hub import Hub, SocketEvent
from graftd.model import GraftedSocket

_NAMES_MAX = 1000
_RECENT_MAX = 1024
_AT_ONCE = 1000  # events in a message


class SocketService:
    """See proto/graft/v1/socket.proto."""

    def __init__(self, core: Core, hub: Hub) -> None:
        self._core = core
        self._hub = hub

    async def GetSocket(self, request: socket_pb2.GetSocketRequest, call: Call) -> socket_pb2.Socket:
        found = Violations()
        namespace, cookie = names.parse_socket(request.name, "name", found)
        found.check()
        for one in await self._core.run(self._core.engine.sockets, namespace):
            if one.cookie == cookie:
                return self._message(one)
        raise RefusedError(
            errors_pb2.ERROR_REASON_SOCKET_NOT_FOUND,
            f"namespace '{namespace}' has no live grafted socket {cookie}: it has gone, or was never grafted",
            resource=request.name,
        )

    async def ListSockets(self, request: socket_pb2.ListSocketsRequest, call: Call) -> socket_pb2.ListSocketsResponse:
        found = Violations()
        parent = names.parse_parent(request.parent, "parent", found)
        size = pages.page_size(request.page_size, "page_size", found)
        found.check()
        cursor = call.cursor(request)
        name = None if parent == names.EVERY else parent
        after = (str(cursor.after[0]), int(cursor.after[1])) if cursor else ("", 0)

        def look() -> socket_pb2.ListSocketsResponse:
            engine = self._core.engine
            named = [
                ((engine.namespace_of(one.netns_cookie), one.cookie), one)
                for one in engine.sockets(name)
                if request.endpoint in ("", one.endpoint)
            ]
            seen = {owner for owner in {owner for (owner, _), _ in named} if owner and (name or call.sees(owner))}
            left = sorted(
                (pair for pair in named if pair[0][0] in seen and pair[0] > after),
                key=lambda pair: pair[0],
            )
            token = call.token(request, pages.Cursor(left[size - 1][0], 0)) if len(left) > size else ""
            return socket_pb2.ListSocketsResponse(
                sockets=[self._message(one) for _, one in left[:size]], next_page_token=token
            )

        return await self._core.run(look)

    async def WatchSockets(
        self, request: socket_pb2.WatchSocketsRequest, call: Call
    ) -> AsyncIterator[socket_pb2.WatchSocketsResponse]:
        found = Violations()
        parent = names.parse_parent(request.parent, "parent", found)
        for index, number in enumerate(request.kinds):
            if number not in socket_pb2.SocketEventKind.values() or not number:
                found.add(f"kinds[{index}]", f"{number} is unknown: say GRAFTED, NATIVE or DENIED")
        if request.recent > _RECENT_MAX:
            found.add("recent", f"{request.recent} is too many: at most {_RECENT_MAX} are kept")
        found.check()
        kinds = frozenset(request.kinds)

        def wanted(event: SocketEvent) -> bool:
            if kinds and event.message.kind not in kinds:
                return False
            if request.endpoint not in ("", event.message.endpoint):
                return False
            return event.namespace == parent if parent != names.EVERY else call.sees(event.namespace)

        with self._hub.socket_events(wanted, request.recent) as stream:
            yield socket_pb2.WatchSocketsResponse()
            while True:
                events, lost, kernel_lost = await stream.next()
                for start in range(0, max(len(events), 1), _AT_ONCE):
                    yield socket_pb2.WatchSocketsResponse(
                        events=[event.message for event in events[start : start + _AT_ONCE]],
                        lost=lost,
                        kernel_lost=kernel_lost,
                    )
                    lost, kernel_lost = 0, False

    async def AbortSockets(
        self, request: socket_pb2.AbortSocketsRequest, call: Call
    ) -> socket_pb2.AbortSocketsResponse:
        found = Violations()
        namespace = names.parse_namespace(request.parent, "parent", found)
        what = request.WhichOneof("what")
        cookies: list[int] = []
        if what == "sockets":
            content.check_size(request.sockets.names, _NAMES_MAX, "sockets.names")
            if not request.sockets.names:
                found.add("sockets.names", "it names nothing: name 1 to 1000 sockets")
            for index, name in enumerate(request.sockets.names):
                at = f"sockets.names[{index}]"
                owner, cookie = names.parse_socket(name, at, found)
                if cookie and namespace and owner != namespace:
                    found.add(at, f"it is of another namespace: all are of {request.parent}")
                cookies.append(cookie)
        elif what == "endpoint":
            names.check_new_id("an endpoint", request.endpoint, "endpoint", found)
        elif what == "all":
            if not request.all:
                found.add("all", "it has to be true: leave it out to end other sockets than all")
        else:
            found.add("what", "nothing is to be ended: set sockets, endpoint or all")
        found.check()
        aborted = await self._core.finish(
            self._core.engine.abort_sockets,
            namespace,
            cookies=cookies,
            endpoint=request.endpoint if what == "endpoint" else None,
            all_of_it=what == "all",
        )
        return socket_pb2.AbortSocketsResponse(aborted_sockets=aborted)

    def _message(self, one: GraftedSocket) -> socket_pb2.Socket:
        engine = self._core.engine
        return socket.to_message(
            one, namespace=engine.namespace_of(one.netns_cookie), target=engine.namespace_of(one.target_cookie)
        )
