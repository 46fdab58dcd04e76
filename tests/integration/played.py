# SPDX-License-Identifier: Apache-2.0
"""The kernel, played: tables that outlive graftd, in this process or in one of their own.

It stands in for the module where graftd is what is tested. Namespaces are those that `Tables.namespaces` names, and
a descriptor of one is its cookie.
"""

from __future__ import annotations

import copyreg
import ctypes
import errno
import multiprocessing
import os
import pickle
import signal
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from graftd.errors import GraftError, KernelError, ModuleNotLoadedError, NamespaceError, TablesClaimedError
from graftd.kernel import netns
from graftd.model import (
    Acl,
    AclRule,
    Counters,
    DeleteEndpoint,
    Door,
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
    Verbs,
)
from graftd.ports import StepResult

OWN_COOKIE = netns.cookie_of()  # of the namespace that tests and graftd run in
_FIRST_COOKIE = 2**40
REFUSED_DEVICE = "refused0"  # no endpoint can have it
_PR_SET_PDEATHSIG = 1
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
    owner: int | None = None  # None: whose graftd is
    sockets: dict[int, str] = field(default_factory=dict)  # cookies -> endpoints


class Tables:
    """All that the kernel holds. boot_id, cookies: as identities have them."""

    def __init__(self) -> None:
        self.boot_id = "played-boot"
        self.namespaces: dict[str, int] = {}  # names of ip netns -> cookies
        self.loaded = True
        self.claimant: str | None = None
        self.slow_steps = 0.0  # seconds, for each carry_out
        self.steps: list[Step] = []  # that were tried
        self.door: set[int] | None = None  # the BPF door's map; None: its program is not loaded
        self.door_refusal = ""  # why the map cannot be written
        self.kernel_has_door = True
        self._next = _FIRST_COOKIE
        self._tables: dict[int, _Table] = {}

    # What a test does

    def add_namespace(self, name: str, cookie: int = 0) -> int:
        """cookie: of one that there is, which is played no more than its table; 0: one is made up."""
        if not cookie:
            cookie, self._next = self._next, self._next + 1
        self.namespaces[name] = cookie
        return cookie

    def remove_namespace(self, name: str) -> None:
        cookie = self.namespaces.pop(name)
        self._tables.pop(cookie, None)
        for table in self._tables.values():
            gone = {name: (one, 0) for name, (one, target) in table.endpoints.items() if target == cookie}
            table.endpoints.update(gone)

    def set_name(self, name: str, cookie: int) -> None:
        """Let a name select a namespace that is there."""
        self.namespaces[name] = cookie

    def unset_name(self, name: str) -> None:
        """Take a name away from a namespace that goes on to be."""
        del self.namespaces[name]

    def own_by(self, cookie: int, owner: int | None) -> None:
        """Let the table be one that another namespace writes; None: graftd's."""
        self._of(cookie).owner = owner

    def add_socket(self, cookie: int, socket_cookie: int, endpoint: str) -> None:
        self._of(cookie).sockets[socket_cookie] = endpoint

    def load(self, loaded: bool) -> None:
        """Load the module, or unload it with all that it holds."""
        self.loaded = loaded
        if not loaded:
            self._tables.clear()

    def claim_for(self, claimant: str | None) -> None:
        """Let another process have the tables."""
        self.claimant = claimant

    def load_door(self, loaded: bool) -> None:
        """Load the BPF door's program, with a map that is empty, or unload it."""
        self.door = set() if loaded else None

    def refuse_door(self, sentence: str) -> None:
        self.door_refusal = sentence

    # What graftd asks

    def equalize_door(self, cookies: frozenset[int]) -> bool:
        if self.door is None:
            return False
        if self.door_refusal:
            raise KernelError(errno.EACCES, self.door_refusal)
        self.door = set(cookies)
        return True

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
            one.owner or (OWN_COOKIE if one.endpoints or one.rules or one.acl else 0),
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
        tables = self._tables if cookie is None else {cookie: self._of(cookie)}
        return [_socket(where, *one) for where, table in tables.items() for one in table.sockets.items()]

    def slow(self, seconds: float) -> None:
        self.slow_steps = seconds

    def carry_out(self, cookie: int, steps: Sequence[Step]) -> list[StepResult]:
        self._check_loaded()
        if self.slow_steps:  # to sleep for 0 seconds takes 60 µs
            time.sleep(self.slow_steps)
        return [self._try(self._of(cookie), step) for step in steps]

    def abort_socket(self, cookie: int, socket_cookie: int) -> int:
        self._check_loaded()
        if self._of(cookie).sockets.pop(socket_cookie, None) is None:
            raise KernelError(errno.ENOENT, "there is no such socket")
        return 1

    def abort_sockets(self, cookie: int, endpoint: str) -> int:
        self._check_loaded()
        table = self._of(cookie)
        aborted = _abort(table, {endpoint})
        if not aborted and endpoint not in table.endpoints:
            raise KernelError(errno.ENOENT, f"there is no endpoint '{endpoint}'")
        return aborted

    def close(self) -> None:
        """As any Kernel."""

    def _of(self, cookie: int) -> _Table:
        return self._tables.setdefault(cookie, _Table())

    def _check_loaded(self) -> None:
        if not self.loaded:
            raise ModuleNotLoadedError(errno.ENOENT, "the kernel has no netlink family graft")

    def _check_claim(self) -> None:
        if self.claimant is not None:
            sentence = f"the tables are claimed by {self.claimant} (pid 7)"
            raise TablesClaimedError(sentence, claimant=self.claimant, pid=7)

    def _try(self, table: _Table, step: Step) -> StepResult:
        self.steps.append(step)
        try:
            self._check_claim()
            return StepResult(aborted=self._do(table, step))
        except KernelError as error:
            return StepResult(error)

    def _do(self, table: _Table, step: Step) -> int:
        """How many sockets it ended."""
        aborted = 0
        match step:
            case SetTable(settings):
                found = {one.name: getattr(settings, one.name) for one in fields(settings)}
                for word, value in found.items():
                    if value is not None:
                        setattr(table, word, value)
            case PutEndpoint(endpoint, target_fd, abort):
                aborted = _put(table, endpoint, OWN_COOKIE if target_fd is None else target_fd, abort=abort)
            case DeleteEndpoint(name, abort):
                if table.endpoints.pop(name, None) is None:
                    return 0
                aborted = _abort(table, {name} if abort else set())
            case SetRules(rules):
                table.rules = rules
            case SetAcl(rules, abort):
                table.acl = rules
                aborted = _abort(table, {rule.endpoint for rule in rules if abort and not rule.allow})
        table.generation += 1
        return aborted


def _put(table: _Table, endpoint: Endpoint, target: int, *, abort: bool) -> int:
    there = endpoint.name in table.endpoints
    if endpoint.device == REFUSED_DEVICE:
        raise KernelError(errno.ENODEV, f"there is no device {REFUSED_DEVICE}")
    if not there and len(table.endpoints) >= table.max_endpoints:
        raise KernelError(errno.ENOSPC, "the table has max-endpoints endpoints")
    table.endpoints[endpoint.name] = endpoint, target
    return _abort(table, {endpoint.name}) if there and abort else 0


def _abort(table: _Table, endpoints: set[str]) -> int:
    """End the sockets of these; "" is every one."""
    ended = [one for one, endpoint in table.sockets.items() if endpoint in endpoints or "" in endpoints]
    for one in ended:
        del table.sockets[one]
    return len(ended)


def _socket(netns_cookie: int, cookie: int, endpoint: str) -> GraftedSocket:
    return GraftedSocket(
        netns_cookie=netns_cookie,
        target_cookie=OWN_COOKIE,
        cookie=cookie,
        inode=cookie,
        endpoint=endpoint,
        family=socket.AF_INET,
        type=socket.SOCK_STREAM,
        protocol=socket.IPPROTO_TCP,
        state=1,
        uid=0,
        cgroup_id=1,
        local_address=None,
        local_port=0,
        remote_address=None,
        remote_port=0,
        door=Door.AF_GRAFT,
        verb=Verbs.CONNECT,
    )


class _Found:
    """fd: the cookie."""

    def __init__(self, fd: int, held: list[int]) -> None:
        self.fd = fd
        self._held = held
        held.append(fd)

    def close(self) -> None:
        self._held.remove(self.fd)


class PlayedFinder:
    """Finds what Tables.namespaces names. tables: a Tables, or who asks one elsewhere."""

    def __init__(self, tables: Tables | Remote) -> None:
        self._tables = tables
        self.held: list[int] = []  # what was found and not closed yet
        self.doubts: dict[str, GraftError] = {}  # why it cannot be seen what a value selects

    def pin(self, selector: Selector) -> Selector:
        if selector.kind is SelectorKind.PID:
            if selector.value == "404":
                raise NamespaceError("there is no process 404")
            return replace(selector, start_ticks=selector.start_ticks or 1234)
        return selector

    def find(self, selector: Selector) -> _Found | None:
        if (doubt := self.doubts.get(selector.value)) is not None:
            raise doubt
        cookie = self._tables.namespaces.get(selector.value)
        return None if cookie is None else _Found(cookie, self.held)

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


class PlayedMap:
    """The BPF door's map. tables: as PlayedFinder's."""

    def __init__(self, tables: Tables | Remote) -> None:
        self._tables = tables

    def can_be_served(self) -> bool:
        return bool(self._tables.kernel_has_door)

    def equalize(self, cookies: frozenset[int], *, whole: bool) -> bool:
        return bool(self._tables.equalize_door(cookies))


# In a process of its own


def _reduced(error: KernelError) -> tuple[type[KernelError], tuple[object, ...]]:
    return type(error), (error.errno, error.message, error.attribute)


def _claimed(message: str, claimant: str, pid: int) -> TablesClaimedError:
    return TablesClaimedError(message, claimant=claimant, pid=pid)


def _claimed_reduced(error: TablesClaimedError) -> tuple[object, tuple[object, ...]]:
    return _claimed, (error.message, error.claimant, error.pid)


for _kind in (KernelError, ModuleNotLoadedError):
    copyreg.pickle(_kind, _reduced)
copyreg.pickle(TablesClaimedError, _claimed_reduced)  # type: ignore[arg-type]


class Remote:
    """Tables in another process: every method of theirs, and their attributes."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(os.fspath(path))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("boot_id", "namespaces", "loaded", "claimant", "steps", "door", "kernel_has_door"):
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
    # Whoever is killed leaves no kernel behind.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
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
