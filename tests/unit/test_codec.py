# SPDX-License-Identifier: Apache-2.0
"""What the codec writes, it reads: the model through pyroute2's messages and back."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from graftd.kernel import _decode, _encode, _requests, _wire
from graftd.kernel._decode import Nest
from graftd.kernel._messages import Command
from graftd.kernel._requests import NLM_F_ACK, NLM_F_REQUEST, Request
from graftd.model import (
    AclRule,
    Direction,
    Endpoint,
    EndpointType,
    IdRange,
    Network,
    PortRange,
    Protocols,
    Reason,
    Rule,
    TableSettings,
    Verbs,
    Verdict,
)

FAMILY = 40


def words(most: int) -> st.SearchStrategy[str]:
    """Names of at most that many bytes, such as the kernel may hold: no NUL, any other byte."""
    return st.binary(min_size=1, max_size=most).map(
        lambda data: data.replace(b"\0", b"0").decode("utf-8", "surrogateescape")
    )


numbers = st.integers(0, 2**32 - 1)
protocols = st.sampled_from([Protocols.TCP, Protocols.UDP, Protocols.BOTH])
verbs = st.sampled_from([Verbs.LISTEN, Verbs.CONNECT, Verbs.BOTH])


def networks_of(addresses: st.SearchStrategy[IPv4Address | IPv6Address]) -> st.SearchStrategy[Network]:
    return st.tuples(addresses, st.integers(0, 128)).map(
        lambda pair: ipaddress.ip_network((pair[0], min(pair[1], pair[0].max_prefixlen)), strict=False)
    )


ipv4 = st.ip_addresses(v=4)
ipv6 = st.ip_addresses(v=6)
networks = st.none() | networks_of(ipv4) | networks_of(ipv6)


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    number = st.integers(low, high)
    return st.tuples(number, number).map(lambda pair: (min(pair), max(pair)))


fixed_ports = pairs(1, 65535).map(lambda pair: PortRange(*pair))
every_port = pairs(0, 65535).map(lambda pair: PortRange(*pair))
ids = st.none() | pairs(0, 2**32 - 1).map(lambda pair: IdRange(*pair))

inet_endpoints = st.sampled_from([(ipv4, EndpointType.IPV4), (ipv6, EndpointType.IPV6)]).flatmap(
    lambda kind: st.builds(
        Endpoint,
        name=words(63),
        type=st.just(kind[1]),
        address=kind[0],
        ports=st.just(PortRange.ANY) | fixed_ports,
        protocols=protocols,
        mark=numbers,
        device=st.just("") | words(15),
        max_sockets=numbers,
        privileged=st.booleans(),
    )
)
unix_endpoints = st.builds(
    Endpoint,
    name=words(63),
    type=st.just(EndpointType.UNIX),
    path=st.binary(min_size=1, max_size=107),
    max_sockets=numbers,
    privileged=st.booleans(),
)
verdicts = st.tuples(st.just(Verdict.ENDPOINT), words(63)) | st.tuples(
    st.sampled_from([Verdict.NATIVE, Verdict.DENY]), st.just("")
)
rules = st.tuples(st.sampled_from(Direction), verdicts).flatmap(
    lambda pair: st.builds(
        Rule,
        direction=st.just(pair[0]),
        verdict=st.just(pair[1][0]),
        endpoint=st.just(pair[1][1]),
        network=networks,
        protocols=protocols,
        ports=every_port,
    )
)
acl_rules = st.booleans().flatmap(
    lambda allow: st.builds(
        AclRule,
        allow=st.just(allow),
        endpoint=st.just("") | words(63),
        verbs=verbs,
        uids=ids,
        gids=ids,
        own_ids=st.booleans(),
        network=networks,
        ports=st.none() | every_port,
        protocols=protocols,
        local=st.booleans() if allow else st.just(False),
    )
)


def carried(request: Request) -> Nest:
    """What the other end of the socket sees of a request."""
    (frame,) = _wire.frames(_wire.encode(request, FAMILY, 7))
    assert (frame.type, frame.sequence, frame.flags) == (FAMILY, 7, request.flags)
    command, nest = _wire.decode(frame)
    assert command == request.command
    return nest


@given(inet_endpoints | unix_endpoints)
def test_endpoints(endpoint: Endpoint) -> None:
    seen = carried(_requests.endpoint_new(3, endpoint, 4, create=True, replace=False))
    (entry,) = _decode.endpoints(seen)
    assert entry.endpoint == endpoint
    assert seen.number("NETNS_FD") == 3
    assert seen.nest("ENDPOINT", "GRAFT_EP_A_").number("TARGET_FD") == 4


@given(st.lists(rules, max_size=5), st.none() | st.integers(0, 2**64 - 1))
def test_rules(some: list[Rule], generation: int | None) -> None:
    seen = carried(_requests.rules_set(None, some, generation))
    assert list(_decode.rules(seen)) == some
    assert ("GENERATION" in seen, seen.number("GENERATION")) == (generation is not None, generation or 0)
    assert "NETNS_FD" not in seen


@given(st.lists(acl_rules, max_size=5), st.booleans())
def test_acl(some: list[AclRule], abort: bool) -> None:
    seen = carried(_requests.acl_set(0, some, abort=abort))
    assert list(_decode.acls(seen)) == some
    assert ("ABORT" in seen) == abort


@given(
    st.builds(
        TableSettings,
        max_sockets=st.none() | numbers,
        max_ephemeral=st.none() | numbers,
        max_endpoints=st.none() | numbers,
        frozen=st.none() | st.booleans(),
    )
)
def test_settings_carry_what_is_to_change_alone(settings: TableSettings) -> None:
    nest = carried(_requests.table_set(None, settings)).nest("TABLE", "GRAFT_TABLE_A_")
    for name in ("max_sockets", "max_ephemeral", "max_endpoints", "frozen"):
        wanted = getattr(settings, name)
        assert (name.upper() in nest) == (wanted is not None)
        assert nest.number(name.upper()) == int(wanted or 0)


def test_counters_of_an_answer() -> None:
    pairs_of_answer = [
        *_encode.endpoint(Endpoint("e", EndpointType.UNIX, path=b"p"), 0)[1]["attrs"],
        ("GRAFT_EP_A_TARGET_COOKIE", 9),
        ("GRAFT_EP_A_ACTIVE", 2**40),
        ("GRAFT_EP_A_DENIALS", {"attrs": [("GRAFT_REASON_NONE", b""), ("GRAFT_REASON_ACL", 3)]}),
    ]
    answer = carried(Request(Command.ENDPOINT_NTF, (("GRAFT_A_ENDPOINT", {"attrs": pairs_of_answer}),), 0))
    (entry,) = _decode.endpoints(answer)
    assert entry.target_cookie == 9
    assert entry.counters.active == 2**40
    assert entry.counters.denials == {Reason.ACL: 3}


def test_a_name_ends_at_its_nul_and_a_path_does_not() -> None:
    endpoint = Endpoint("e", EndpointType.UNIX, path=b"\0a\0")
    data = _wire.encode(_requests.endpoint_new(None, endpoint, 0, create=True, replace=False), FAMILY, 1)
    assert b"e\0" in data
    (frame,) = _wire.frames(data)
    (entry,) = _decode.endpoints(_wire.decode(frame)[1])
    assert entry.endpoint.path == b"\0a\0"


def test_flags_of_the_three_ways_to_put_an_endpoint() -> None:
    endpoint = Endpoint("e", EndpointType.UNIX, path=b"p")

    def flags(*, create: bool, replace: bool) -> int:
        request = _requests.endpoint_new(None, endpoint, 0, create=create, replace=replace)
        assert not request.dump
        return request.flags & ~(NLM_F_REQUEST | NLM_F_ACK)

    assert flags(create=True, replace=False) == 0x600  # NLM_F_CREATE | NLM_F_EXCL
    assert flags(create=False, replace=True) == 0x100  # NLM_F_REPLACE
    assert flags(create=True, replace=True) == 0x500


def test_an_unknown_reason_keeps_its_number() -> None:
    assert Reason(200).value == 200
    assert Reason(200).word == "unknown-200"
    assert Reason(4) is Reason.TARGET_GONE


def test_what_a_newer_module_has_can_be_read() -> None:
    endpoint = {
        "attrs": [
            ("GRAFT_EP_A_NAME", b"e\0"),
            ("GRAFT_EP_A_TYPE", 9),
            ("GRAFT_EP_A_ADDRESS", b"twelve bytes"),
            ("GRAFT_EP_A_PORT_LO", 80),
        ]
    }
    rule = {
        "attrs": [
            ("GRAFT_RULE_A_DIRECTION", 1),
            ("GRAFT_RULE_A_VERDICT", 9),
            ("GRAFT_RULE_A_ENDPOINT", b"e\0"),
        ]
    }
    answer = carried(Request(Command.ENDPOINT_NTF, (("GRAFT_A_ENDPOINT", endpoint), ("GRAFT_A_RULE", rule)), 0))
    (entry,) = _decode.endpoints(answer)
    assert (entry.endpoint.name, entry.endpoint.type.word, entry.endpoint.ports) == ("e", "unknown-9", None)
    (found,) = _decode.rules(answer)
    assert (found.verdict.word, found.endpoint) == ("unknown-9", "e")
