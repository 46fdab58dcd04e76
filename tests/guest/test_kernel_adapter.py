# SPDX-License-Identifier: Apache-2.0
"""What the service asks of the module and hears from it, against the module: the claim, steps, the module's coming
and going."""

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address
from select import select

import pytest

import module
from expect import eventually, fails
from graftd.errors import KernelError, TablesClaimedError
from graftd.kernel import Client, Finder, Heard, KernelAdapter, Listener, Watcher, netns
from graftd.model import (
    AclRule,
    ClaimNotice,
    DeleteEndpoint,
    Direction,
    Endpoint,
    EndpointGoneNotice,
    EndpointNotice,
    EndpointType,
    Event,
    EventKind,
    NetnsIdentity,
    PortRange,
    PutEndpoint,
    Reason,
    Rule,
    Selector,
    SelectorKind,
    SetAcl,
    SetRules,
    SetTable,
    Step,
    TableNotice,
    TableSettings,
    Verbs,
    Verdict,
)
from ipgraft import Space
from netns import Namespace

INET = Endpoint("e", EndpointType.IPV4, ip_address("10.0.0.2"), PortRange.single(8080))


@pytest.fixture
def host() -> Iterator[Space]:
    space = Space("host", "10.0.0.2")
    yield space
    space.close()


@pytest.fixture
def web() -> Iterator[Space]:
    space = Space("web", "10.9.0.2")
    yield space
    space.close()


@pytest.fixture
def adapter() -> Iterator[KernelAdapter]:
    made = KernelAdapter()
    yield made
    made.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def heard(listener: Listener) -> Heard:
    """What comes next; nothing after half a second."""
    return listener.receive() if select([listener], [], [], 0.5)[0] else Heard((), lost=False)


def test_steps_in_order_and_what_they_ended(adapter: KernelAdapter, host: Space, web: Space) -> None:
    rule = Rule(Direction.INGRESS, Verdict.ENDPOINT, endpoint="e")
    results = adapter.carry_out(
        web.fd,
        [
            SetTable(TableSettings(max_sockets=10)),
            DeleteEndpoint("e"),
            PutEndpoint(INET, target_fd=host.fd),
            PutEndpoint(INET, target_fd=web.fd),
            SetRules((rule,)),
            SetAcl((AclRule(allow=True, endpoint="e"),)),
        ],
    )
    assert [result.error and result.error.errno for result in results] == [None, None, None, errno.EPERM, None, None]
    assert adapter.table(web.fd).max_sockets == 10
    assert adapter.endpoint(web.fd, "e").target_cookie == host.cookie
    assert [entry.endpoint for entry in adapter.endpoints(web.fd)] == [INET]
    assert adapter.rules(web.fd).rules == (rule,)
    assert adapter.acl(web.fd).rules == (AclRule(allow=True, endpoint="e"),)
    assert web.cookie in {table.netns_cookie for table in adapter.tables()}
    with web.socket() as server:
        server.bind((web.address, 80))
        (shown,) = adapter.sockets(web.fd)
        assert (shown.endpoint, shown.target_cookie, shown.local_port) == ("e", host.cookie, 8080)
        assert adapter.sockets(None) == [shown]
        (result,) = adapter.carry_out(web.fd, [SetAcl((AclRule(allow=False, verbs=Verbs.LISTEN),), abort=True)])
        assert (result.error, result.aborted) == (None, 1)
    with pytest.raises(KernelError, match="no endpoint of this name is in the table"):
        adapter.endpoint(web.fd, "other")


def test_cookies_are_the_modules(adapter: KernelAdapter, web: Space) -> None:
    assert adapter.cookie_of(web.fd) == web.cookie == netns.cookie_of(web.fd)


def test_the_claim(web: Space) -> None:
    adapter = KernelAdapter()
    with Client.open() as other:
        other.claim("somebody")
        with pytest.raises(TablesClaimedError) as caught:
            adapter.claim()
        assert (caught.value.claimant, caught.value.pid) == ("somebody", os.getpid())
        (result,) = adapter.carry_out(web.fd, [PutEndpoint(INET)])
        assert isinstance(result.error, TablesClaimedError)
    assert adapter.carry_out(web.fd, [PutEndpoint(INET)])[0].error is None
    with Client.open() as other:
        assert other.info().claimant == "graftd"
        with pytest.raises(KernelError, match="the tables are claimed by graftd") as refused:
            other.put_endpoint(INET, web.fd, replace=True)
        assert refused.value.errno == errno.EBUSY
        adapter.close()
        other.put_endpoint(INET, web.fd, replace=True)


def test_what_is_heard(adapter: KernelAdapter, listener: Listener, host: Space, web: Space) -> None:
    assert heard(listener) == Heard((), lost=False)
    adapter.claim()
    assert heard(listener) == Heard((ClaimNotice("graftd", os.getpid()),), lost=False)
    rule = Rule(Direction.INGRESS, Verdict.ENDPOINT, endpoint="e")
    steps: list[Step] = [SetTable(TableSettings(frozen=True)), PutEndpoint(INET, target_fd=host.fd), SetRules((rule,))]
    assert not any(result.error for result in adapter.carry_out(web.fd, steps))
    table, endpoint, rules = heard(listener).notices
    assert isinstance(table, TableNotice)
    assert (table.table.netns_cookie, table.table.frozen) == (web.cookie, True)
    assert isinstance(endpoint, EndpointNotice)
    assert (endpoint.entry.endpoint, endpoint.entry.target_cookie) == (INET, host.cookie)
    assert rules.table.generation == endpoint.generation + 1  # type: ignore[union-attr]
    with web.socket() as server, fails(errno.EACCES):
        server.bind((web.address, 80))
    (event,) = heard(listener).notices
    assert isinstance(event, Event)
    assert (event.netns_cookie, event.kind, event.reason) == (web.cookie, EventKind.DENIED, Reason.FROZEN)
    adapter.carry_out(web.fd, [DeleteEndpoint("e")])
    (gone,) = heard(listener).notices
    assert isinstance(gone, EndpointGoneNotice)
    assert gone.name == "e"


def test_what_the_kernel_drops(adapter: KernelAdapter, listener: Listener, web: Space) -> None:
    buffer = listener._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert buffer >= 8 * 1024 * 1024
    listener._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
    for _ in range(5):
        adapter.carry_out(web.fd, [SetTable(TableSettings(max_sockets=n)) for n in range(20)])
    found = [heard(listener) for _ in range(3)]
    assert any(one.lost for one in found)
    assert sum(len(one.notices) for one in found) < 100
    listener._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    adapter.carry_out(web.fd, [SetTable(TableSettings(max_sockets=9))])
    after = heard(listener)
    assert not after.lost
    assert len(after.notices) == 1


def test_the_module_comes_and_goes_and_comes(adapter: KernelAdapter, listener: Listener, web: Space) -> None:
    adapter.claim()
    assert len(heard(listener).notices) == 1
    try:
        eventually(module.unload, "the module is unloaded")
        assert heard(listener) == Heard((), lost=True)
        assert heard(listener) == Heard((), lost=False), "a listener does not have it loaded again"
        assert not module.is_loaded()
    finally:
        assert module.load()
    assert heard(listener) == Heard((), lost=True)
    assert adapter.info().claimant == ""
    assert heard(listener) == Heard((ClaimNotice("graftd", os.getpid()),), lost=False)
    assert adapter.info().claimant == "graftd"
    assert adapter.endpoints(web.fd) == []
    adapter.carry_out(web.fd, [PutEndpoint(INET)])
    (notice,) = heard(listener).notices
    assert isinstance(notice, EndpointNotice)


def test_finding_and_hearing_of_namespaces(adapter: KernelAdapter) -> None:
    """In the true places: a name, a process."""
    finder = Finder(cookie_of=adapter.cookie_of)
    boot_id = finder.own().boot_id
    name = f"finder-{os.getpid()}"
    here = Selector(SelectorKind.NETNS, name)

    def told(watcher: Watcher) -> frozenset[Selector]:
        deadline = time.monotonic() + 10
        changed: frozenset[Selector] = frozenset()
        while not changed and time.monotonic() < deadline:
            select([watcher], [], [], 1)
            changed = watcher.read()
        return changed

    with Watcher() as watcher:
        watcher.watch([here])
        assert finder.find(here) is None
        subprocess.run(["ip", "netns", "add", name], check=True)
        try:
            while (found := finder.find(here)) is None:
                assert told(watcher) == {here}
            with found:
                assert finder.identity(found) == NetnsIdentity(boot_id, netns.cookie_of(found.fd)) != finder.own()
            assert watcher.read() <= {here}
        finally:
            subprocess.run(["ip", "netns", "delete", name], check=True)
        while (found := finder.find(here)) is not None:
            found.close()
            assert told(watcher) == {here}
        with Namespace.new("a process's") as of:
            process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
            cookie = of.cookie
        of.close()
        pinned = finder.pin(Selector(SelectorKind.PID, str(process.pid)))
        watcher.watch([pinned])
        found = finder.find(pinned)
        assert found is not None
        with found:
            assert finder.identity(found).cookie == cookie
        process.kill()
        assert told(watcher) == {pinned}
        assert finder.find(pinned) is None
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
