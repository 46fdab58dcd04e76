# SPDX-License-Identifier: Apache-2.0
"""Netlink's framing: which reply belongs to which request, and what a refusal says."""

import errno
import ipaddress
import struct

import pytest

from graftd.errors import KernelError
from graftd.kernel import _extack, _requests, _wire
from graftd.kernel._requests import Request
from graftd.kernel._wire import NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, Exchange
from graftd.model import Endpoint, EndpointType, PortRange, Protocols

FAMILY = 40
NOTICE = 0


def frame(kind: int, sequence: int, payload: bytes, flags: int = 0) -> bytes:
    head = _wire.HEADER.pack(_wire.HEADER.size + len(payload), kind, flags, sequence, 0)
    return (head + payload).ljust(_wire.HEADER.size + (len(payload) + 3) // 4 * 4, b"\0")


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload.ljust((len(payload) + 3) // 4 * 4, b"\0")


def acknowledgement(sequence: int, number: int = 0, tlvs: bytes = b"") -> bytes:
    payload = struct.pack("=i", -number) + _wire.HEADER.pack(36, FAMILY, 5, sequence, 0) + tlvs
    return frame(NLMSG_ERROR, sequence, payload)


def message(request: Request, sequence: int, flags: int = 0) -> bytes:
    data = bytearray(_wire.encode(request, FAMILY, sequence))
    struct.pack_into("=H", data, 6, flags)
    return bytes(data)


def endpoint_request() -> Request:
    address = ipaddress.ip_address("10.0.0.2")
    endpoint = Endpoint("ep", EndpointType.IPV4, address, PortRange.single(80), Protocols.TCP)
    return _requests.endpoint_new(3, endpoint, 4, create=True, replace=False)


def test_replies_find_their_requests_in_whatever_order() -> None:
    exchange = Exchange([_requests.unclaim(), _requests.info_get(), _requests.claim("x")], FAMILY, 10)
    assert [f.sequence for f in _wire.frames(exchange.data)] == [10, 11, 12]
    exchange.feed(acknowledgement(12, errno.EBUSY) + acknowledgement(10))
    assert not exchange.finished
    exchange.feed(message(_requests.claim("someone"), 11) + acknowledgement(11))
    assert exchange.finished
    first, second, third = exchange.replies
    assert (first.error, first.messages) == (None, [])
    assert second.messages[0].text("CLAIMANT") == "someone"
    assert third.error is not None
    assert third.error.errno == errno.EBUSY


def test_notifications_and_others_answers_pass_by() -> None:
    exchange = Exchange([_requests.info_get()], FAMILY, 5)
    exchange.feed(message(_requests.claim("x"), NOTICE) + acknowledgement(4) + acknowledgement(6))
    assert not exchange.finished
    assert exchange.replies[0].messages == []


@pytest.mark.parametrize("where", ["message", "done"])
def test_an_interrupted_dump_is_seen(where: str) -> None:
    exchange = Exchange([_requests.endpoints_dump(None)], FAMILY, 1)
    exchange.feed(message(endpoint_request(), 1, NLM_F_DUMP_INTR if where == "message" else 0))
    assert not exchange.finished
    done = frame(NLMSG_DONE, 1, struct.pack("=i", 0), NLM_F_DUMP_INTR if where == "done" else 0)
    exchange.feed(done)
    (reply,) = exchange.replies
    assert (reply.finished, reply.interrupted, reply.error) == (True, True, None)


def test_a_dump_that_fails_says_so_in_its_end() -> None:
    exchange = Exchange([_requests.rules_dump(None)], FAMILY, 1)
    tlvs = attribute(1, b"no such thing\0")
    exchange.feed(frame(NLMSG_DONE, 1, struct.pack("=i", -errno.EPERM) + tlvs))
    error = exchange.replies[0].error
    assert error is not None
    assert (error.errno, error.message) == (errno.EPERM, "no such thing")


def test_a_torn_datagram_ends_the_walk() -> None:
    whole = acknowledgement(1)
    assert len(list(_wire.frames(whole + whole[:7]))) == 1
    endless = struct.pack("=IHHII", 0, NLMSG_ERROR, 0, 1, 0)
    assert len(list(_wire.frames(endless * 3))) == 3


def refusal(request: Request, number: int, tlvs: bytes) -> KernelError:
    exchange = Exchange([request], FAMILY, 1)
    exchange.feed(acknowledgement(1, number, tlvs))
    error = exchange.replies[0].error
    assert error is not None
    return error


@pytest.mark.parametrize(
    ("needle", "path"),
    [
        (struct.pack("=HHI", 8, 2, 3), ("GRAFT_A_NETNS_FD",)),
        (b"ep\0", ("GRAFT_A_ENDPOINT", "GRAFT_EP_A_NAME")),
        (struct.pack("=HHH", 6, 7, 80), ("GRAFT_A_ENDPOINT", "GRAFT_EP_A_PORT_HI")),
    ],
)
def test_the_attribute_at_fault_is_named(needle: bytes, path: tuple[str, ...]) -> None:
    offset = _wire.encode(endpoint_request(), FAMILY, 1).index(needle)
    tlvs = attribute(1, b"this is why\0") + attribute(2, struct.pack("=I", offset))
    error = refusal(endpoint_request(), errno.EINVAL, tlvs)
    assert (error.message, error.attribute, str(error)) == ("this is why", path, "this is why")


def test_an_offset_outside_the_request_names_nothing() -> None:
    error = refusal(endpoint_request(), errno.EINVAL, attribute(2, struct.pack("=I", 9999)))
    assert error.attribute == ()


def test_a_missing_attribute_is_named() -> None:
    error = refusal(endpoint_request(), errno.EINVAL, attribute(5, struct.pack("=I", 9)))
    assert error.attribute == ("GRAFT_A_ENDPOINT",)
    nest = _wire.encode(endpoint_request(), FAMILY, 1).index(struct.pack("=H", 0x8009)) - 2
    tlvs = attribute(5, struct.pack("=I", 2)) + attribute(6, struct.pack("=I", nest))
    error = refusal(endpoint_request(), errno.EINVAL, tlvs)
    assert error.attribute == ("GRAFT_A_ENDPOINT", "GRAFT_EP_A_NAME")
    assert error.message == "an attribute that this request needs is missing"


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EPERM, "this needs CAP_NET_ADMIN"),
        (errno.ESTALE, "the table changed in the meantime"),
        (errno.EXDEV, "Invalid cross-device link (EXDEV)"),
    ],
)
def test_a_refusal_without_a_sentence_gets_one(number: int, sentence: str) -> None:
    assert refusal(_requests.info_get(), number, b"").message.startswith(sentence)


def test_a_sentence_that_is_no_text_does_no_harm() -> None:
    error = refusal(_requests.info_get(), errno.EINVAL, attribute(1, b"\xff\xfe\0"))
    assert error.message == "\ufffd\ufffd"


def test_what_pads_a_sentence_is_no_part_of_it() -> None:
    error = refusal(_requests.info_get(), errno.EBUSY, attribute(1, b"claimed by graftd (pid 5)        \0"))
    assert error.message == "claimed by graftd (pid 5)"


def test_a_truncated_acknowledgement_is_no_refusal() -> None:
    assert _extack.error_of(frame(NLMSG_DONE, 1, b""), b"", done=True) is None
