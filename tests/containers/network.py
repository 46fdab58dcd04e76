# SPDX-License-Identifier: Apache-2.0
"""What is around the host: a namespace that it reaches by a veth, with a client and a server that says who asks."""

from __future__ import annotations

import http.client
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from netns import Namespace
from service.place import add_peer, eventually, run

HOST, PEER, UPSTREAM_PORT = "10.9.0.1", "10.9.0.2", 8000
UPSTREAM = f"{PEER}:{UPSTREAM_PORT}"
_SECONDS = 20


class _WhoAsks(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"{self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


class Peer:
    """The other end of the host's link, and a server on it."""

    def __init__(self) -> None:
        add_peer(HOST, PEER)
        self._namespace = Namespace(os.open("/run/netns/peer", os.O_RDONLY | os.O_CLOEXEC))
        with self._namespace:
            self._server = ThreadingHTTPServer((PEER, UPSTREAM_PORT), _WhoAsks)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def ask(self, port: int, path: str = "/") -> str:
        """Ask what listens on a port of the host's; what it answers, without IPv6's prefix of IPv4 addresses."""
        connection = http.client.HTTPConnection(HOST, port, timeout=_SECONDS)
        with self._namespace:
            connection.connect()
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read().decode().strip()
            assert answer.status == 200, f"{HOST}:{port}{path}: {answer.status} {body}"
        finally:
            connection.close()
        return body.removeprefix("::ffff:")

    def answered(self, port: int) -> bool:
        """Tell whether something answers there."""
        try:
            self.ask(port)
        except OSError:
            return False
        return True

    def await_answer(self, port: int) -> None:
        """Wait for something to answer there."""
        eventually(lambda: self.answered(port), f"something answers on {HOST}:{port}")

    def close(self) -> None:
        """Take it all away."""
        self._server.shutdown()
        self._server.server_close()
        self._namespace.close()
        run("ip", "netns", "delete", "peer")
        run("ip", "link", "delete", "to-peer", check=False)
