# SPDX-License-Identifier: Apache-2.0
"""Two sockets made one, from their first moment on."""

from __future__ import annotations

import asyncio
import socket

from graftd.api.splice import CHUNK_BYTES, _Side, splice


def test_what_comes_before_the_other_side_is_there() -> None:
    """Both sides have sent, and one has ended, before they are spliced. On Python 3.11.2 this is read at once."""

    async def once() -> None:
        (client, front), (server, back) = socket.socketpair(), socket.socketpair()
        for sock in (client, front, server, back):
            sock.setblocking(False)
        client.send(b"early")
        client.shutdown(socket.SHUT_WR)
        server.send(b"server first")
        task = asyncio.create_task(splice(front, back, memoryview(bytearray(CHUNK_BYTES))))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            assert await loop.sock_recv(server, 100) == b"early"
            assert await loop.sock_recv(server, 100) == b""
            assert await loop.sock_recv(client, 100) == b"server first"
            server.close()
            assert await loop.sock_recv(client, 100) == b""
            client.close()
            await task

    async def often() -> None:
        for _ in range(50):
            await once()

    asyncio.run(often())


def test_a_side_that_is_read_too_early_keeps_what_it_read() -> None:
    """As Python before 3.11.4 does, whatever Python this is."""

    async def once() -> None:
        (client, front), (server, back) = socket.socketpair(), socket.socketpair()
        buffer, gone = memoryview(bytearray(CHUNK_BYTES)), asyncio.Event()
        sides = _Side(buffer, gone, is_back=False), _Side(buffer, gone, is_back=True)
        sides[0].other, sides[1].other = sides[1], sides[0]
        loop = asyncio.get_running_loop()
        front.setblocking(False)
        back.setblocking(False)
        server.setblocking(False)
        await loop.connect_accepted_socket(lambda: sides[0], front)
        buffer[:5] = b"early"
        sides[0].buffer_updated(5)
        assert sides[0].eof_received()
        await loop.connect_accepted_socket(lambda: sides[1], back)
        for side in sides:
            side.begin()
        async with asyncio.timeout(10):
            assert await loop.sock_recv(server, 100) == b"early"
            assert await loop.sock_recv(server, 100) == b""
        for side in sides:
            side.abort()
        for sock in (client, server):
            sock.close()
        await gone.wait()

    asyncio.run(once())
