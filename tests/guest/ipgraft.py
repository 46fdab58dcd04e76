# SPDX-License-Identifier: Apache-2.0
"""ip-graft run inside this process, from any namespace, and named namespaces to run it on.

A fresh process costs seconds in an emulated guest; the installed program is started by a few tests.
"""

import contextlib
import io
import itertools
import json
import os
import shlex
import socket
from dataclasses import dataclass
from typing import Any

import kernelcalls
import rtnl
from graftd.kernel import netns
from ip_graft.main import run
from netns import Namespace

# linux/mount.h
_MS_BIND = 4096
_MNT_DETACH = 2

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Space:
    """A namespace that `ip netns` knows, with lo up and one address on a dummy device.

    It is made as `ip netns add` makes it, but by this process: ten of another cost seconds in an emulated guest.
    """

    def __init__(self, role: str, address: str) -> None:
        self.name = f"{role}-{os.getpid()}-{next(_numbers)}"
        self.address = address
        self._file = netns.NAMED / self.name
        made = Namespace.new(self.name)
        netns.NAMED.mkdir(exist_ok=True)
        self._file.touch()
        with made:
            kernelcalls.call("mount", b"/proc/thread-self/ns/net", bytes(self._file), None, _MS_BIND, None)
            routes = rtnl.Routes()
            routes.up("lo")
            routes.dummy("dummy0")
            routes.address("dummy0", address, 24)
            routes.up("dummy0")
            routes.close()
        made.close()
        self.fd = netns.open_selected(self.name)
        self.cookie = netns.cookie_of(self.fd)

    def close(self) -> None:
        os.close(self.fd)
        kernelcalls.call("umount2", bytes(self._file), _MNT_DETACH)
        self._file.unlink()

    def graft(self, line: str, *, ok: bool = True) -> Answer:
        """`ip-graft LINE` in this namespace."""
        return netns.call_in(self.fd, lambda: graft(line, ok=ok))

    def refused(self, line: str) -> str:
        """The sentence of a command that the kernel or the system refuses, without what was asked for."""
        answer = self.graft(line, ok=False)
        assert (answer.status, answer.out) == (1, ""), answer
        assert answer.err.startswith("ip-graft: ")
        assert answer.err.count("\n") == 1
        sentence = answer.err.removeprefix("ip-graft: ").rstrip("\n")
        _, kernel, refusal = sentence.partition("the kernel refuses")
        return kernel + refusal if kernel else sentence

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """A socket of door 2."""

        def here() -> socket.socket:
            return socket.socket(socket.AF_INET, kind, 254)

        return netns.call_in(self.fd, here)


def graft(line: str, *, ok: bool = True) -> Answer:
    """`ip-graft LINE` in the calling thread's namespace."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(shlex.split(line))
    answer = Answer(status, out.getvalue(), err.getvalue())
    assert not ok or status == 0, answer
    return answer
