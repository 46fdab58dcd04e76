# SPDX-License-Identifier: Apache-2.0
"""The kernel, played: tables that outlive graftd, in this process or in one of their own.

It stands in for the module where graftd is what is tested. Namespaces are those that `Tables.namespaces` names, and
a descriptor of one is its cookie.
"""

from __future__ import annotations

import copyreg
import errno
import multiprocessing
import os
import pickle
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from graftd.errors import KernelError, ModuleNotLoadedError, NamespaceError
from graftd.kernel import netns
from graftd.model import (
    Acl,
    AclRule,
    Counters,
    DeleteEndpoint,
    Endpoint,
    EndpointEntry,
    GraftedSocket,
    ModuleInfo,
    NetnsIdentity,
    PutEndpoint,
    Rule,
    Rules,
    Selector,
    SelectorKind,
    SetAcl,
    SetRules,
    SetTable,
    Step,
    Table,
)
from graftd.ports import StepResult

OWN_COOKIE = netns.cookie_of()  # of the namespace that tests and graftd run in
_FIRST_COOKIE = 2**40
REFUSED_DEVICE = "refused0"  # no endpoint can have it
_SIZE = struct.Struct("=I")


@dataclass
class _Table:
    generation: int = 0
    max_sockets: int = 65536
    max_ephemeral: int = 16384
    max_endpoints: int = 131072
    frozen: bool = False
    endpoints: dict[str, tuple[Endpoint, int]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    acl: tuple[AclRule, ...] = ()


class Tables:
    """All that the kernel holds. boot_id, cookies: as identities have them."""

    def __init__(self) -> None:
        self.boot_id = "played-boot"
        self.namespaces: dict[str, int] = {}  # names of ip netns -> cookies
        self.loaded = True
        self.claimant: str | None = None
        self.slow_steps = 0.0
        self._next = _FIRST_COOKIE
        self._tables: dict[int, _Table] = {}

    # What a test does

    def add_namespace(self, name: str) -> int:
        cookie, self._next = self._next, self._next + 1
        self.namespaces[name] = cookie
        return cookie

    def remove_namespace(self, name: str) -> None:
        cookie = self.namespaces.pop(name)
        self._tables.pop(cookie, None)

    def load(self, loaded: bool) -> None:
        """Load the module, or unload it with all that it holds."""
        self.loaded = loaded
        if not loaded:
            self._tables.clear()

    def claim_for(self, claimant: str | None) -> None:
        """Let another process have the tables."""
        self.claimant = claimant

    # What graftd asks

    def info(self) -> ModuleInfo:
        self._check_loaded()
        return ModuleInfo("played", 4, ipv6=True, sol_socket=True, claimant=self.claimant or "graftd", claimant_pid=7)

    def claim(self) -> None:
        self._check_loaded()
        self._check_claim()

    def tables(self) -> list[Table]:
        self._check_loaded()
        return [self.table(cookie) for cookie in self._tables]

    def table(self, cookie: int) -> Table:
        self._check_loaded()
        one = self._of(cookie)
        return Table(
            cookie,
            one.generation,
            one.max_sockets,
            one.max_ephemeral,
            one.max_endpoints,
            one.frozen,
            len(one.endpoints),
            len(one.rules),
            len(one.acl),
            0,
            0,
            OWN_COOKIE if one.endpoints or one.rules or one.acl else 0,
        )

    def endpoints(self, cookie: int) -> list[EndpointEntry]:
        self._check_loaded()
        return [EndpointEntry(*pair, Counters()) for pair in self._of(cookie).endpoints.values()]

    def endpoint(self, cookie: int, name: str) -> EndpointEntry:
        self._check_loaded()
        found = self._of(cookie).endpoints.get(name)
        if found is None:
            raise KernelError(errno.ENOENT, f"there is no endpoint '{name}'")
        return EndpointEntry(*found, Counters())

    def rules(self, cookie: int) -> Rules:
        self._check_loaded()
        one = self._of(cookie)
        return Rules(one.generation, one.rules)

    def acl(self, cookie: int) -> Acl:
        self._check_loaded()
        one = self._of(cookie)
        return Acl(one.generation, one.acl)

    def sockets(self, cookie: int | None) -> list[GraftedSocket]:
        self._check_loaded()
        return []

    def carry_out(self, cookie: int, steps: Sequence[Step]) -> list[StepResult]:
        self._check_loaded()
        return [self._try(self._of(cookie), step) for step in steps]

    def abort_socket(self, cookie: int, socket_cookie: int) -> int:
        self._check_loaded()
        raise KernelError(errno.ENOENT, "there is no such socket")

    def abort_sockets(self, cookie: int, endpoint: str) -> int:
        self._check_loaded()
        return 0

    def close(self) -> None:
        """As any Kernel."""

    def _of(self, cookie: int) -> _Table:
        return self._tables.setdefault(cookie, _Table())

    def _check_loaded(self) -> None:
        if not self.loaded:
            raise ModuleNotLoadedError(errno.ENOENT, "the kernel has no netlink family graft")

    def _check_claim(self) -> None:
        if self.claimant is not None:
            raise KernelError(errno.EBUSY, f"the tables are claimed by {self.claimant} (pid 7)")

    def _try(self, table: _Table, step: Step) -> StepResult:
        try:
            self._check_claim()
            self._do(table, step)
        except KernelError as error:
            return StepResult(error)
        return StepResult()

    def _do(self, table: _Table, step: Step) -> None:
        match step:
            case SetTable(settings):
                for word in ("max_sockets", "max_ephemeral", "max_endpoints", "frozen"):
                    value = getattr(settings, word)
                    if value is not None:
                        setattr(table, word, value)
            case PutEndpoint(endpoint, target_fd, _):
                if endpoint.device == REFUSED_DEVICE:
                    raise KernelError(errno.ENODEV, f"there is no device {REFUSED_DEVICE}")
                if endpoint.name not in table.endpoints and len(table.endpoints) >= table.max_endpoints:
                    raise KernelError(errno.ENOSPC, "the table has max-endpoints endpoints")
                table.endpoints[endpoint.name] = endpoint, OWN_COOKIE if target_fd is None else target_fd
            case DeleteEndpoint(name, _):
                if table.endpoints.pop(name, None) is None:
                    return
            case SetRules(rules):
                table.rules = rules
            case SetAcl(rules, _):
                table.acl = rules
        table.generation += 1


@dataclass(frozen=True)
class _Found:
    fd: int

    def close(self) -> None:
        """Nothing is held."""


class PlayedFinder:
    """Finds what Tables.namespaces names. tables: a Tables, or who asks one elsewhere."""

    def __init__(self, tables: Tables | Remote) -> None:
        self._tables = tables

    def pin(self, selector: Selector) -> Selector:
        if selector.kind is SelectorKind.PID:
            if selector.value == "404":
                raise NamespaceError("there is no process 404")
            return replace(selector, start_ticks=selector.start_ticks or 1234)
        return selector

    def find(self, selector: Selector) -> _Found | None:
        cookie = self._tables.namespaces.get(selector.value)
        return None if cookie is None else _Found(cookie)

    def identity(self, found: Any) -> NetnsIdentity:
        return NetnsIdentity(self._tables.boot_id, found.fd)

    def own(self) -> NetnsIdentity:
        return NetnsIdentity(self._tables.boot_id, OWN_COOKIE)

    def hints(self, cookies: frozenset[int]) -> dict[int, list[Selector]]:
        found: dict[int, list[Selector]] = {}
        for name, cookie in self._tables.namespaces.items():
            if cookie in cookies:
                found.setdefault(cookie, []).append(Selector(SelectorKind.NETNS, name))
        return found


# In a process of its own


def _reduced(error: KernelError) -> tuple[type[KernelError], tuple[object, ...]]:
    return type(error), (error.errno, error.message, error.attribute)


for _kind in (KernelError, ModuleNotLoadedError):
    copyreg.pickle(_kind, _reduced)


class Remote:
    """Tables in another process: every method of theirs, and their attributes."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(os.fspath(path))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("boot_id", "namespaces", "loaded", "claimant"):
            return self._ask(name, None)
        return lambda *values: self._ask(name, values)

    def close(self) -> None:
        self._socket.close()

    def _ask(self, name: str, values: tuple[Any, ...] | None) -> Any:
        _send(self._socket, (name, values))
        good, value = _receive(self._socket)
        if not good:
            raise value
        return value


def start(path: Path) -> BaseProcess:
    """A process that keeps Tables and serves them at `path`; to be terminated and joined."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(os.fspath(path))
    listener.listen(64)
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(listener,), daemon=True)
    process.start()
    listener.close()
    return process


def _serve(listener: socket.socket) -> None:
    tables, lock = Tables(), threading.Lock()
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=_answer, args=(peer, tables, lock), daemon=True).start()


def _answer(peer: socket.socket, tables: Tables, lock: threading.Lock) -> None:
    with peer:
        while True:
            try:
                name, values = _receive(peer)
            except (EOFError, OSError):
                return
            with lock:
                try:
                    found = getattr(tables, name)
                    answer = True, found if values is None else found(*values)
                except Exception as error:  # noqa: BLE001 the caller's to raise
                    answer = False, error
            try:
                _send(peer, answer)
            except OSError:
                return


def _send(peer: socket.socket, value: object) -> None:
    data = pickle.dumps(value)
    peer.sendall(_SIZE.pack(len(data)) + data)


def _receive(peer: socket.socket) -> Any:
    (size,) = _SIZE.unpack(_exactly(peer, _SIZE.size))
    return pickle.loads(_exactly(peer, size))


def _exactly(peer: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = peer.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
