# SPDX-License-Identifier: Apache-2.0
"""graftd.kernel against the module: batches, dumps that change underfoot, and what a refusal names."""

import errno
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from graftd.errors import KernelError
from graftd.kernel import Client, _requests, _wire, netns
from graftd.kernel._requests import Request
from graftd.kernel._transport import Transport
from graftd.model import (
    AclRule,
    Direction,
    Endpoint,
    EndpointType,
    PortRange,
    Reason,
    Rule,
    TableSettings,
    Verdict,
)
from ipgraft import Space


@pytest.fixture
def host() -> Iterator[Space]:
    space = Space("host", "10.0.0.2")
    yield space
    space.close()


@pytest.fixture
def web(host: Space) -> Iterator[Space]:
    space = Space("web", "10.9.0.2")
    yield space
    space.close()


@pytest.fixture
def client(host: Space) -> Iterator[Client]:
    with Client.open(host.fd) as opened:
        yield opened


@pytest.fixture
def second(host: Space) -> Iterator[Client]:
    with Client.open(host.fd) as opened:
        yield opened


def unix(number: int) -> Endpoint:
    return Endpoint(f"e{number}", EndpointType.UNIX, path=b"path" * 20)


def fill(client: Client, web: Space, count: int) -> None:
    outcomes = client.batch([client.endpoint_request(unix(number), web.fd) for number in range(count)])
    assert not any(outcome.error for outcome in outcomes)


def test_a_batch_carries_out_what_is_not_refused(client: Client, web: Space) -> None:
    client.set_table(TableSettings(max_endpoints=250), web.fd)
    requests = [client.endpoint_request(unix(number), web.fd) for number in (*range(240), 5, *range(240, 260))]
    outcomes = client.batch(requests)
    refused = {index: outcome.error.errno for index, outcome in enumerate(outcomes) if outcome.error is not None}
    assert refused == {240: errno.EEXIST, **dict.fromkeys(range(251, 261), errno.ENOSPC)}
    assert {entry.endpoint.name for entry in client.endpoints(web.fd)} == {f"e{number}" for number in range(250)}


def test_a_set_larger_than_the_send_buffer(client: Client, web: Space) -> None:
    netlink = client._transport._socket
    netlink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)
    room = netlink.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    rules = [
        Rule(Direction.EGRESS, Verdict.ENDPOINT, ports=PortRange.single(port), endpoint="e" * 63)
        for port in range(1, 201)
    ]
    assert len(_wire.encode(_requests.rules_set(None, rules), 40, 1)) > room
    client.set_rules(rules, web.fd)
    assert list(client.rules(web.fd).rules) == rules
    acl = [AclRule(allow=True, endpoint="e" * 63, ports=PortRange.single(port)) for port in range(1, 101)]
    client.set_acl(acl, web.fd)
    assert list(client.acl(web.fd).rules) == acl


def test_compare_and_swap(client: Client, second: Client, web: Space) -> None:
    read = client.rules(web.fd)
    second.set_rules([Rule(Direction.EGRESS, Verdict.DENY)], web.fd)
    with pytest.raises(KernelError) as caught:
        client.set_rules([], web.fd, generation=read.generation)
    assert caught.value.errno == errno.ESTALE
    assert caught.value.attribute == ("GRAFT_A_GENERATION",)
    assert len(client.rules(web.fd).rules) == 1


def interrupted(host: Space, request: Request, change: Iterator[None]) -> bool:
    """Whether a dump tells of a change that is made after its first datagram."""
    transport = netns.call_in(host.fd, Transport)
    try:
        exchange = _wire.Exchange([request], transport.family().id, 1000)
        transport._send(exchange.data)
        exchange.feed(transport._receive())
        assert not exchange.finished, "the dump is too short to change underfoot"
        next(change)
        while not exchange.finished:
            exchange.feed(transport._receive())
        (reply,) = exchange.replies
        assert reply.error is None
        return reply.interrupted
    finally:
        transport.close()


def test_a_dump_of_endpoints_that_changes_underfoot(host: Space, web: Space, client: Client, second: Client) -> None:
    fill(client, web, 500)

    def change() -> Iterator[None]:
        second.put_endpoint(Endpoint("one-more", EndpointType.UNIX, path=b"x"), web.fd)
        yield

    assert interrupted(host, _requests.endpoints_dump(web.fd), change())
    assert len(client.endpoints(web.fd)) == 501


@pytest.mark.parametrize("left", [0, 800])
def test_a_dump_of_rules_that_changes_underfoot(
    host: Space, web: Space, client: Client, second: Client, left: int
) -> None:
    def some(count: int) -> list[Rule]:
        return [Rule(Direction.EGRESS, Verdict.DENY, ports=PortRange.single(port)) for port in range(1, count + 1)]

    client.set_rules(some(800), web.fd)

    def change() -> Iterator[None]:
        second.set_rules(some(left), web.fd)
        yield

    assert interrupted(host, _requests.rules_dump(web.fd), change())


def refusal(client: Client, request: Request) -> KernelError:
    (outcome,) = client.batch([request])
    assert outcome.error is not None
    return outcome.error


INET = Endpoint("e", EndpointType.IPV4, ip_address("10.0.0.2"), PortRange.single(80))


def altered(web: Space, own_fd: int, name: str, value: object) -> Request:
    """A request for INET with one attribute of the endpoint put, or, None, left out."""
    request = _requests.endpoint_new(web.fd, INET, own_fd, create=True, replace=False)
    scope, (nest, inner) = request.pairs
    pairs = [pair for pair in inner["attrs"] if pair[0] != name]
    if value is not None:
        pairs.append((name, value))
    return Request(request.command, (scope, (nest, {"attrs": pairs})), request.flags)


@pytest.mark.parametrize(
    ("name", "value", "number"),
    [
        ("GRAFT_EP_A_NAME", b"n" * 64 + b"\0", errno.EINVAL),
        ("GRAFT_EP_A_NAME", b"not terminated", errno.EINVAL),
        ("GRAFT_EP_A_TYPE", 9, errno.ERANGE),
        ("GRAFT_EP_A_ADDRESS", b"12345", errno.EINVAL),
        ("GRAFT_EP_A_ADDRESS", b"1" * 17, errno.ERANGE),
        ("GRAFT_EP_A_PROTOCOLS", 4, errno.ERANGE),
        ("GRAFT_EP_A_TARGET_FD", 9999, errno.EBADF),
        ("GRAFT_EP_A_TARGET_FD", 0, errno.EINVAL),
        ("GRAFT_EP_A_DEVICE", b"d" * 16 + b"\0", errno.EINVAL),
        ("GRAFT_EP_A_TARGET_COOKIE", 5, errno.EINVAL),
        ("GRAFT_EP_A_BINDS", 5, errno.EINVAL),
        ("GRAFT_EP_A_PATH", b"x", errno.EINVAL),
    ],
)
def test_a_refusal_names_the_attribute(client: Client, web: Space, name: str, value: object, number: int) -> None:
    error = refusal(client, altered(web, client._own_fd, name, value))
    assert (error.errno, error.attribute) == (number, ("GRAFT_A_ENDPOINT", name)), error
    assert error.message
    assert client.endpoints(web.fd) == []


@pytest.mark.parametrize("name", ["NAME", "TYPE", "ADDRESS", "PORT_LO", "TARGET_FD"])
def test_what_an_endpoint_cannot_be_without(client: Client, web: Space, name: str) -> None:
    error = refusal(client, altered(web, client._own_fd, f"GRAFT_EP_A_{name}", None))
    assert error.errno == errno.EINVAL
    assert "an endpoint" in error.message or "endpoint needs" in error.message


def test_a_target_that_is_not_the_sockets_own(client: Client, web: Space) -> None:
    error = refusal(client, altered(web, web.fd, "GRAFT_EP_A_TARGET_FD", web.fd))
    assert (error.errno, error.attribute) == (errno.EPERM, ("GRAFT_A_ENDPOINT", "GRAFT_EP_A_TARGET_FD"))


def test_messages_that_are_no_messages(host: Space, web: Space, client: Client) -> None:
    """Each is answered, and none changes the table."""
    client.put_endpoint(INET, web.fd)
    before = client.table(web.fd)
    transport = netns.call_in(host.fd, Transport)
    family = transport.family().id
    good = _wire.encode(_requests.endpoint_new(web.fd, INET, client._own_fd, create=True, replace=False), family, 1)

    def length(data: bytes) -> bytes:
        return struct.pack("=I", len(data)) + data[4:]

    bad = {
        "no generic header": length(good[:16]),
        "half a generic header": length(good[:18]),
        "no attributes": length(good[:20]),
        "half an attribute's header": length(good[:22]),
        "an attribute beyond the end": length(good[:20] + struct.pack("=HH", 400, 9) + good[24:]),
        "an attribute shorter than its header": length(good[:20] + struct.pack("=HH", 3, 2) + good[24:]),
        "an unknown attribute": length(good + struct.pack("=HHI", 8, 200, 1)),
        "an unknown command": good[:16] + b"\xfa" + good[17:],
        "a nest that is not marked as one": good.replace(struct.pack("=H", 0x8009), struct.pack("=H", 9)),
        "bytes left over": length(good + b"xx"),
        "a dump of what has none": length(good[:6] + struct.pack("=H", 0x305) + good[8:16] + b"\x01" + good[17:20]),
        "a do of what has only a dump": length(good[:16] + b"\x0a" + good[17:20]),
    }
    try:
        for what, data in bad.items():
            transport._send(data[:8] + struct.pack("=I", 77) + data[12:])
            (frame,) = [frame for frame in transport.receive() if frame.sequence == 77]
            assert frame.type == _wire.NLMSG_ERROR, what
            assert struct.unpack_from("=i", frame.data, 16)[0] < 0, what
    finally:
        transport.close()
    assert client.table(web.fd) == before


def test_counts_of_denials(host: Space, web: Space, client: Client) -> None:
    client.put_endpoint(INET, web.fd)
    client.set_rules([Rule(Direction.INGRESS, Verdict.ENDPOINT, endpoint="e")], web.fd)
    client.set_acl([AclRule(allow=False)], web.fd)
    with web.socket() as refused, pytest.raises(PermissionError):
        refused.bind((web.address, 80))
    assert client.endpoint("e", web.fd).counters.denials == {Reason.ACL: 1}
