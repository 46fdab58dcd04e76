# SPDX-License-Identifier: Apache-2.0
"""The acceptor in front of a gRPC server, or of a plain one, and those who connect to it."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from graftd.api.acceptor import Acceptor, Limits
from graftd.api.denials import UnauthenticatedError
from graftd.api.listen import Listener, listen, listen_tcp, private_socket
from graftd.api.peer import SO_NETNS_COOKIE, Peer, Peers, SocketName
from graftd.api.status import abort, refusal_of

WAIT_SECONDS = 20
SCENARIO_SECONDS = 45


def own_cookie() -> int:
    with socket.socket(socket.AF_UNIX) as probe:
        return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)


class Service(grpc.GenericRpcHandler):
    """Tells callers who they are; streams until the caller goes."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        self.seen: list[Peer] = []

    def service(self, details: Any) -> Any:
        if details.method.endswith("/Stream"):
            return grpc.unary_stream_rpc_method_handler(self.stream)
        return grpc.unary_unary_rpc_method_handler(self.who)

    async def who(self, request: bytes, context: Any) -> bytes:
        try:
            peer = self.peers.of(context)
        except UnauthenticatedError as error:
            await abort(context, refusal_of(error))
        self.seen.append(peer)
        return f"{peer.socket_name} {peer.uid} {peer.netns_cookie}".encode()

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1024
            await asyncio.sleep(0.01)


@dataclass
class Served:
    """The acceptor in front of something, with its sockets by name."""

    acceptor: Acceptor
    peers: Peers
    paths: dict[SocketName, Path]
    service: Service
    refused: list[tuple[Peer | None, str]] = field(default_factory=list)

    def path(self, name: SocketName = SocketName.ADMIN) -> str:
        return str(self.paths[name])

    def channel(self, name: SocketName = SocketName.ADMIN) -> Any:
        # Channels of one target share their connection unless they are told not to.
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.insecure_channel(f"unix:{self.path(name)}", options=options)


def listeners(folder: Path) -> list[Listener]:
    names = (SocketName.ADMIN, SocketName.READ_WRITE, SocketName.READ_ONLY)
    return [listen(name, folder / f"{name}.sock", mode=0o666) for name in names]


@contextlib.asynccontextmanager
async def accepting(
    folder: Path, backend: Path, limits: Limits, peers: Peers, *secure: Listener, tls_backend: Path | None = None
) -> AsyncIterator[Served]:
    """secure: listeners for TLS, beside those of the unix sockets."""
    made = [*listeners(folder), *secure]
    refused: list[tuple[Peer | None, str]] = []
    acceptor = Acceptor(
        made, backend, peers, tls_backend=tls_backend, limits=limits, refused=lambda *told: refused.append(told)
    )
    acceptor.start()
    paths = {one.name: one.path for one in made if one.path is not None}
    try:
        yield Served(acceptor, peers, paths, Service(peers), refused)
    finally:
        await acceptor.close(0)


def secure_listener(host: str = "127.0.0.1") -> tuple[Listener, int]:
    """One for TLS, and its port, which the kernel chose."""
    (made,) = listen_tcp(host, 0)
    return made, made.sock.getsockname()[1]


@contextlib.asynccontextmanager
async def serving(
    folder: Path,
    limits: Limits | None = None,
    *secure: Listener,
    credentials: grpc.ServerCredentials | None = None,
) -> AsyncIterator[Served]:
    """In front of a gRPC server. credentials: with those of `secure`."""
    backend, tls_backend = private_socket(folder), private_socket(folder, "tls.sock")
    peers = Peers()
    async with accepting(folder, backend, limits or Limits(), peers, *secure, tls_backend=tls_backend) as served:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((served.service,))
        server.add_insecure_port(f"unix:{backend}")
        if credentials is not None:
            server.add_secure_port(f"unix:{tls_backend}", credentials)
        await server.start()
        try:
            yield served
        finally:
            await server.stop(None)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def in_front_of(folder: Path, handler: Handler, limits: Limits | None = None) -> AsyncIterator[Served]:
    """In front of a plain server instead of gRPC."""
    backend = folder / "backend.sock"
    server = await asyncio.start_unix_server(handler, backend)
    async with accepting(folder, backend, limits or Limits(), Peers()) as served:
        try:
            yield served
        finally:
            server.close()


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario, which fails where it hangs."""

    async def limited() -> None:
        async with asyncio.timeout(SCENARIO_SECONDS):
            await scenario()

    asyncio.run(limited())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 conditions of all kinds
            await asyncio.sleep(0.01)


async def ask(channel: Any) -> str:
    """Who the caller is, as the service sees it."""
    answer: bytes = await channel.unary_unary("/test.Peers/Who")(b"", timeout=WAIT_SECONDS)
    return answer.decode()


async def who(served: Served, name: SocketName = SocketName.ADMIN) -> str:
    async with served.channel(name) as channel:
        return await ask(channel)


async def connected(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(0)
    await asyncio.get_running_loop().sock_connect(sock, path)
    return sock


async def is_closed(sock: socket.socket) -> bool:
    """Whether the other end closes it at once."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            return not await asyncio.get_running_loop().sock_recv(sock, 1)
    except ConnectionResetError:
        return True
