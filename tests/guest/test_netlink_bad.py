# SPDX-License-Identifier: Apache-2.0
"""Malformed netlink of every kind: an errno, a sentence, the place of the fault, and nothing half done."""

import os
import random
import socket
import struct
from errno import E2BIG, EBADF, EINVAL, EOPNOTSUPP, EPERM, ERANGE
from typing import Any

import pytest

from box import Box
from expect import fails
from graftnl import encode
from netlink import CREATE, NlError, attr, nest
from tables import allow, egress, ingress
from uapi import U
from world import HOST4

GOOD: dict[str, Any] = {
    "name": "ep",
    "type": U.EP_IPV4,
    "address": socket.inet_aton(HOST4),
    "port_lo": 80,
    "port_hi": 80,
}
UNIX: dict[str, Any] = {"name": "ep", "type": U.EP_UNIX, "path": b"x"}
BAD_ENDPOINTS: dict[str, dict[str, Any]] = {
    "no name": GOOD | {"name": None},
    "an empty name": GOOD | {"name": ""},
    "a name of 64 bytes": GOOD | {"name": "n" * 64},
    "a name of 1000 bytes": GOOD | {"name": "n" * 1000},
    "no type": GOOD | {"type": None},
    "type 0": GOOD | {"type": 0},
    "type 4": GOOD | {"type": 4},
    "type 255": GOOD | {"type": 255},
    "no address": GOOD | {"address": None},
    "an empty address": GOOD | {"address": b""},
    "three bytes of address": GOOD | {"address": b"\1\2\3"},
    "five bytes of address": GOOD | {"address": b"\1\2\3\4\5"},
    "an IPv6 address for ipv4": GOOD | {"address": b"\0" * 16},
    "an IPv4 address for ipv6": GOOD | {"type": U.EP_IPV6},
    "seventeen bytes of address": GOOD | {"type": U.EP_IPV6, "address": b"\0" * 17},
    "ports the wrong way round": GOOD | {"port_lo": 81},
    "protocols 0": GOOD | {"protocols": 0},
    "protocols 4": GOOD | {"protocols": 4},
    "protocols 255": GOOD | {"protocols": 255},
    "a device name of 16 bytes": GOOD | {"device": "d" * 16},
    "unix without a path": UNIX | {"path": None},
    "unix with an empty path": UNIX | {"path": b""},
    "unix with a path of 108 bytes": UNIX | {"path": b"p" * 108},
    "unix with an address": UNIX | {"address": socket.inet_aton(HOST4)},
    "a path for ipv4": GOOD | {"path": b"x"},
}
BAD_RULES: dict[str, dict[str, Any]] = {
    "no direction": ingress("ep") | {"direction": None},
    "direction 0": ingress("ep") | {"direction": 0},
    "direction 3": ingress("ep") | {"direction": 3},
    "no verdict": ingress("ep") | {"verdict": None},
    "verdict 0": ingress("ep") | {"verdict": 0},
    "verdict 4": ingress("ep") | {"verdict": 4},
    "no endpoint": ingress("ep") | {"endpoint": None},
    "an empty endpoint": ingress("ep") | {"endpoint": ""},
    "an endpoint's name of 64 bytes": ingress("ep") | {"endpoint": "n" * 64},
    "prefix length 33": ingress("ep", "10.0.0.0/33"),
    "prefix length 129": ingress("ep", "fd00::/129"),
    "prefix length 255": ingress("ep", "10.0.0.0/255"),
    "a prefix length without an address": ingress("ep") | {"prefixlen": 8},
    "three bytes of address": ingress("ep") | {"address": b"\1\2\3"},
    "an empty address": ingress("ep") | {"address": b""},
    "ports the wrong way round": ingress("ep", port=(81, 80)),
    "protocols 0": ingress("ep") | {"protocols": 0},
    "protocols 8": ingress("ep") | {"protocols": 8},
}
BAD_ACLS: dict[str, dict[str, Any]] = {
    "neither allow nor deny": allow("ep") | {"allow": None},
    "allow 2": allow("ep") | {"allow": 2},
    "verbs 0": allow("ep") | {"verbs": 0},
    "verbs 4": allow("ep") | {"verbs": 4},
    "an empty endpoint": allow(""),
    "an endpoint's name of 64 bytes": allow("n" * 64),
    "users the wrong way round": allow("ep", uid_lo=2, uid_hi=1),
    "groups the wrong way round": allow("ep", gid_lo=2, gid_hi=1),
    "the last user alone": allow("ep", uid_hi=5),
    "prefix length 33": allow("ep", net="10.0.0.0/33"),
    "a prefix length without an address": allow("ep") | {"prefixlen": 8},
    "seventeen bytes of address": allow("ep") | {"address": b"\0" * 17},
    "ports the wrong way round": allow("ep", port=(2, 1)),
    "protocols 0": allow("ep") | {"protocols": 0},
}


def refused(box: Box, command: int, payload: bytes, flags: int = 0) -> NlError:
    """The refusal of a request; the table is as it was."""
    before = box.writer.dump(U.CMD_ENDPOINT_GET, netns_fd=box.ns.fd), counts(box)
    with pytest.raises(NlError) as caught:
        box.writer.raw(command, payload, flags)
    after = box.writer.dump(U.CMD_ENDPOINT_GET, netns_fd=box.ns.fd), counts(box)
    assert after == before
    return caught.value


def counts(box: Box) -> tuple[object, ...]:
    answer = box.writer.call(U.CMD_TABLE_GET, netns_fd=box.ns.fd)[0]
    shown = answer["table"]
    return answer["generation"], shown["endpoints"], shown["rules"], shown["acls"], shown["frozen"]


def table_of(box: Box) -> bytes:
    return encode({"netns_fd": box.ns.fd})


@pytest.mark.parametrize("fields", BAD_ENDPOINTS.values(), ids=BAD_ENDPOINTS.keys())
def test_endpoints(box: Box, fields: dict[str, Any]) -> None:
    box.endpoint("there")
    request = {"netns_fd": box.ns.fd, "endpoint": fields | {"target_fd": box.world.host.fd}}
    refusal = refused(box, U.CMD_ENDPOINT_NEW, encode(request), CREATE)
    assert refusal.errno in {EINVAL, ERANGE}
    assert refusal.sentence


@pytest.mark.parametrize("bad", BAD_RULES.values(), ids=BAD_RULES.keys())
def test_rules(box: Box, bad: dict[str, Any]) -> None:
    """One bad rule among good ones: none is taken."""
    box.endpoint("ep")
    box.rules(egress("native"))
    request = encode({"netns_fd": box.ns.fd, "rule": [ingress("ep"), bad, egress("ep")]})
    refusal = refused(box, U.CMD_RULES_SET, request)
    assert refusal.errno in {EINVAL, ERANGE}
    assert refusal.sentence


@pytest.mark.parametrize("bad", BAD_ACLS.values(), ids=BAD_ACLS.keys())
def test_acls(box: Box, bad: dict[str, Any]) -> None:
    box.endpoint("ep")
    box.acl(allow("ep"))
    refusal = refused(box, U.CMD_ACL_SET, encode({"netns_fd": box.ns.fd, "acl": [allow("ep"), bad, allow("ep")]}))
    assert refusal.errno in {EINVAL, ERANGE}
    assert refusal.sentence


def test_the_offset_points_at_the_fault(box: Box) -> None:
    bad = encode({"endpoint": GOOD | {"target_fd": box.world.host.fd, "type": 9}})
    request = table_of(box) + bad
    refusal = refused(box, U.CMD_ENDPOINT_NEW, request, CREATE)
    assert refusal.offset is not None
    place = request[refusal.offset - 20 :]
    assert struct.unpack_from("=HH", place) == (5, U.EP_A_TYPE)


def test_namespace_descriptors(box: Box) -> None:
    file = os.open("/dev/null", os.O_RDONLY)
    user = os.open("/proc/self/ns/user", os.O_RDONLY)
    try:
        for descriptor, codes in (
            (9999, {EBADF}),
            (0xFFFFFFFF, {EBADF}),
            (file, {EINVAL, EBADF}),
            (user, {EINVAL, EBADF}),
        ):
            refusal = refused(box, U.CMD_RULES_SET, encode({"netns_fd": descriptor}))
            assert refusal.errno in codes
            assert refusal.sentence
            target = encode({"netns_fd": box.ns.fd, "endpoint": GOOD | {"target_fd": descriptor}})
            refusal = refused(box, U.CMD_ENDPOINT_NEW, target, CREATE)
            assert refusal.errno in codes
            assert refusal.sentence
    finally:
        os.close(file)
        os.close(user)


def test_a_target_must_be_named(box: Box) -> None:
    refusal = refused(box, U.CMD_ENDPOINT_NEW, encode({"netns_fd": box.ns.fd, "endpoint": GOOD}), CREATE)
    assert refusal.errno == EINVAL
    assert "target" in refusal.sentence.lower()


def test_without_what_it_is_about(box: Box) -> None:
    for command in (U.CMD_ENDPOINT_NEW, U.CMD_ENDPOINT_DEL, U.CMD_ENDPOINT_GET, U.CMD_TABLE_SET, U.CMD_SOCKET_ABORT):
        refusal = refused(box, command, table_of(box), CREATE)
        assert refusal.errno == EINVAL, command
        assert refusal.sentence, command
    with fails(EINVAL):
        box.writer.raw(U.CMD_ENDPOINT_DEL, encode({"netns_fd": box.ns.fd, "endpoint": {"type": 1}}))


def test_unknown_commands_and_attributes(box: Box) -> None:
    for command in (U.CMD_UNSPEC, U.CMD_MAX + 1, 255, U.CMD_EVENT_NTF, U.CMD_TABLE_NTF):
        with fails(EOPNOTSUPP):
            box.writer.raw(command, table_of(box))
    for payload in (attr(U.A_MAX + 1, b"\0" * 4), attr(0x3FFF, b""), nest(U.A_ENDPOINT, attr(U.EP_A_MAX + 1, b"x"))):
        refusal = refused(box, U.CMD_ENDPOINT_NEW, table_of(box) + payload, CREATE)
        assert refusal.errno == EINVAL
        assert refusal.sentence


def test_attributes_of_wrong_lengths(box: Box) -> None:
    name = attr(U.EP_A_NAME, b"ep\0")
    bodies = [
        attr(U.A_NETNS_FD, b""),
        attr(U.A_NETNS_FD, b"\0\0"),
        attr(U.A_NETNS_FD, b"\0" * 8),
        attr(U.A_GENERATION, b"\0" * 4),
        attr(U.A_ENDPOINT, b"\0\0\0"),
        nest(U.A_ENDPOINT, name + attr(U.EP_A_TYPE, b"")),
        nest(U.A_ENDPOINT, name + attr(U.EP_A_TYPE, b"\1\0\0\0")),
        nest(U.A_ENDPOINT, name + attr(U.EP_A_PORT_LO, b"\0")),
        nest(U.A_ENDPOINT, name + attr(U.EP_A_MARK, b"\0" * 8)),
        nest(U.A_ENDPOINT, attr(U.EP_A_NAME, b"no end")),
        nest(U.A_ENDPOINT, name + attr(U.EP_A_PRIVILEGED, b"\1")),
        nest(U.A_ENDPOINT, b"\xff\xff\1\0"),
        nest(U.A_ENDPOINT, b"\3\0\1\0"),
        nest(U.A_ENDPOINT, b"\0\0\0\0"),
        attr(U.A_ENDPOINT, name),
        b"\xff\xff\2\0",
        b"\1\0",
    ]
    for body in bodies:
        refusal = refused(box, U.CMD_ENDPOINT_NEW, body, CREATE)
        assert refusal.errno in {EINVAL, ERANGE, EBADF, EPERM}, body


def test_table_settings(box: Box) -> None:
    for fields in ({"frozen": 2}, {"frozen": 255}, {"sockets": 5}, {"owner_cookie": 5}, {"endpoints": 1}):
        refusal = refused(box, U.CMD_TABLE_SET, encode({"netns_fd": box.ns.fd, "table": fields}))
        assert refusal.errno in {EINVAL, ERANGE}, fields
        assert refusal.sentence, fields


def test_answers_only_attributes_in_requests(box: Box) -> None:
    for fields in ({"active": 5}, {"target_cookie": 5}, {"binds": 1}):
        request = {"netns_fd": box.ns.fd, "endpoint": GOOD | {"target_fd": box.world.host.fd} | fields}
        assert refused(box, U.CMD_ENDPOINT_NEW, encode(request), CREATE).errno == EINVAL


def test_more_rules_than_there_may_be(box: Box) -> None:
    """A size that the kernel refuses is refused whole, and what is accepted is complete."""
    box.writer.sock.setsockopt(socket.SOL_SOCKET, 32, 8 << 20)
    rules = [egress("native", f"10.{number >> 8 & 255}.{number & 255}.0/24") for number in range(5000)]
    try:
        box.rules(*rules)
    except NlError as refusal:
        assert refusal.errno in {E2BIG, EINVAL}
        assert refusal.sentence
    else:
        assert counts(box)[2] == 5000


def test_two_rules_that_say_different_things_of_the_same(box: Box) -> None:
    """Either it is refused, or one of them is what holds; never both by turns."""
    box.endpoint("ep")
    try:
        box.rules(ingress("ep", port=80), ingress("deny", port=80))
    except NlError as refusal:
        assert refusal.sentence
        return
    ended = set()
    for _ in range(3):
        with box.ns.open_socket(socket.AF_INET, socket.SOCK_STREAM, U.IPPROTO_GRAFT) as sock:
            try:
                sock.bind(("0.0.0.0", 80))
                ended.add(0)
            except OSError as error:
                ended.add(error.errno or 0)
    assert len(ended) == 1


def test_garbage(box: Box) -> None:
    """Good messages with bytes changed, cut or doubled: always an answer, and a table that can still be read."""
    dice = random.Random(20261123)
    box.endpoint("ep")
    good = [
        (U.CMD_ENDPOINT_NEW, encode({"netns_fd": box.ns.fd, "endpoint": GOOD | {"target_fd": box.world.host.fd}})),
        (
            U.CMD_RULES_SET,
            encode({"netns_fd": box.ns.fd, "rule": [ingress("ep", port=80), egress("ep", "10.0.0.0/8")]}),
        ),
        (U.CMD_ACL_SET, encode({"netns_fd": box.ns.fd, "acl": [allow("ep", "connect", "10.0.0.0/8", uid_lo=1)]})),
        (U.CMD_TABLE_SET, encode({"netns_fd": box.ns.fd, "table": {"max_sockets": 5, "frozen": 0}})),
        (U.CMD_SOCKET_ABORT, encode({"netns_fd": box.ns.fd, "socket": {"endpoint": "ep"}})),
    ]
    answered = 0
    for _ in range(1500):
        command, payload = dice.choice(good)
        body = bytearray(payload)
        for _ in range(dice.randint(1, 4)):
            kind = dice.random()
            place = dice.randrange(8, len(body)) if len(body) > 8 else 0
            if kind < 0.7 and body:
                body[place] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            elif kind < 0.85:
                del body[place:]
            else:
                body += body[place:]
        try:
            box.writer.raw(command, bytes(body[:60000]), dice.choice((0, CREATE, 0x500)))
        except NlError as refusal:
            assert refusal.errno
            answered += 1
    assert answered > 500
    counts(box)
    box.rules()
    box.acl()


def test_a_message_too_short_to_be_one(box: Box) -> None:
    box.writer.sequence += 1
    header = struct.pack("=IHHII", 18, box.writer.family, 5, box.writer.sequence, 0)
    box.writer.sock.send(header + b"\6\1")
    with fails(EINVAL):
        box.writer.answers()
