# SPDX-License-Identifier: Apache-2.0
"""Assertions on errno, and on what did not arrive."""

import errno
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from netns import Namespace


@contextmanager
def fails(*codes: int) -> Iterator[None]:
    """The block raises OSError with one of ``codes``."""
    due = " or ".join(errno.errorcode[code] for code in codes)
    try:
        yield
    except OSError as error:
        assert error.errno in codes, f"{errno.errorcode.get(error.errno or 0)} where {due} is due: {error}"
    else:
        raise AssertionError(f"success where {due} is due")


def eventually(true: Callable[[], object], what: str, patience: float = 10.0) -> None:
    """``true()`` becomes true within ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        time.sleep(0.01)


def readable(sock: socket.socket, patience: float = 10.0) -> bool:
    """Whether ``sock`` becomes readable within ``patience`` seconds."""
    return bool(select.select([sock], [], [], patience)[0])


def receive(sock: socket.socket, size: int = 2048) -> bytes:
    """What arrives next; an assertion fails where nothing does."""
    assert readable(sock), "nothing arrived"
    return sock.recv(size)


def asleep(thread: threading.Thread) -> None:
    """Wait until a thread waits in the kernel."""

    def waits() -> bool:
        with open(f"/proc/self/task/{thread.native_id}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "S"

    eventually(waits, "the thread sleeps in the kernel")


class Sentinel:
    """A TCP listener and a UDP socket of ``namespace`` at ``address``, by default every one, that nothing may reach.

    With a ``device``, nothing may reach them through that.

    ``check`` does not wait for what may never come: it sends one connection and one datagram of its own through the
    same queues, and they must be the first to arrive.
    """

    def __init__(self, namespace: Namespace, port: int, address: str = "::", device: str = "") -> None:
        self.namespace, self.port = namespace, port
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.tcp = namespace.open_socket(family, socket.SOCK_STREAM)
        self.udp = namespace.open_socket(family, socket.SOCK_DGRAM)
        for sock in (self.tcp, self.udp):
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
            sock.bind((address, port))
            sock.setblocking(False)
        self.tcp.listen(16)

    def check(self, sender: Namespace, address: str) -> None:
        """Nothing has arrived; ``address`` is how ``sender`` reaches this namespace lawfully."""
        fence = struct.pack("=d", time.monotonic())
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with (
            sender.open_socket(family, socket.SOCK_DGRAM) as udp,
            sender.open_socket(family, socket.SOCK_STREAM) as tcp,
        ):
            udp.sendto(fence, (address, self.port))
            tcp.connect((address, self.port))
            assert receive(self.udp) == fence, "a datagram reached an address that is not granted"
            assert readable(self.tcp), "the sentinel's own connection did not arrive"
            child, source = self.tcp.accept()
            child.close()
            name, client_port = tcp.getsockname()[:2]
            mapped = f"::ffff:{name}" if self.tcp.family != family else name
            assert source[:2] == (mapped, client_port), (
                f"a connection from {source[:2]} reached an address that is not granted"
            )

    def close(self) -> None:
        self.tcp.close()
        self.udp.close()
