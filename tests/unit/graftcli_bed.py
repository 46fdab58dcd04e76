# SPDX-License-Identifier: Apache-2.0
"""A graftd of graftcli_fake's and command lines run against it."""

from __future__ import annotations

import io
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import grpc

from graft_client import Client, connect
from graft_client import messages as m
from graftcli import main
from unit.graftcli_fake import Fake, serve


class Done(NamedTuple):
    """What a command line came to."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Bed:
    """Works in a folder of its own, whose path is short enough for a socket."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="graftcli-"))
        self.fake = Fake()
        self.path = self.folder / "graftd.sock"
        self.target = f"unix:{self.path}"
        self.server: grpc.Server | None = None

    def start(self) -> None:
        self.fake.end_watches.clear()
        self.server, _ = serve(self.fake, self.path)

    def stop(self) -> None:
        self.fake.end_watches.set()
        if self.server is not None:
            self.server.stop(None).wait()
            self.server = None

    def client(self) -> Client:
        return connect(self.target, timeout=10)

    def run(self, line: str, stdin: str = "", **environment: str) -> Done:
        """A command line, in this process."""
        return self.words(shlex.split(line), stdin, **environment)

    def words(self, words: list[str], stdin: str = "", **environment: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        values = {"GRAFTD_TARGET": self.target, "TERM": "xterm", **environment}
        with (
            mock.patch.dict("os.environ", values),
            mock.patch.object(sys, "stdin", io.StringIO(stdin)),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            status = main.run(words)
        return Done(status, out.getvalue(), err.getvalue())

    def asked(self, method: str) -> Any:
        """The request of the last call of a method."""
        return [request for name, request in self.fake.requests if name == method][-1]

    def fill(self) -> None:
        """A namespace with something of everything."""
        for line in (
            "add-namespace web --netns web --max-sockets 100 --label tier=front",
            "-n web add-endpoint ep-http --address 10.0.0.2 --port 80 --protocol tcp",
            "-n web add-endpoint ep-out --address fd00::2 --port any --label a=b",
            "-n web add-rule http --direction ingress --port 80 --endpoint ep-http",
            "-n web add-rule out --direction egress --network fd00:1::/64 --endpoint ep-out",
            "-n web add-acl-rule a1 --allow --endpoint ep-out --verb connect --network fd00:1::/64 --uid 0-99",
        ):
            done = self.run(line)
            assert (done.status, done.err) == (0, ""), line
        self.fake.sockets = [
            m.Socket(
                name=f"namespaces/web/sockets/{cookie}",
                cookie=cookie,
                endpoint="ep-http",
                family=2,
                type=1,
                protocol=6,
                state=m.SOCKET_STATE_ESTABLISHED,
                uid=33,
                local=m.SocketAddress(address="10.0.0.2", port=80),
                remote=m.SocketAddress(address="192.0.2.9", port=40000),
            )
            for cookie in (11, 12, 13)
        ]


@contextmanager
def running() -> Iterator[Bed]:
    bed = Bed()
    bed.start()
    try:
        yield bed
    finally:
        bed.stop()
        for file in bed.folder.iterdir():
            file.unlink()
        bed.folder.rmdir()
