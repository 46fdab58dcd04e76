# SPDX-License-Identifier: Apache-2.0
"""Values of the model, generated: whatever the kernel may hold."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

from graftd.model import (
    AclRule,
    Direction,
    Endpoint,
    EndpointType,
    Freeze,
    IdRange,
    Namespace,
    NetnsIdentity,
    Network,
    PortRange,
    Protocols,
    Rule,
    Selector,
    SelectorKind,
    TableLimits,
    TableSettings,
    TargetedEndpoint,
    Verbs,
    Verdict,
)


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
settings = st.builds(
    TableSettings,
    max_sockets=st.none() | numbers,
    max_ephemeral=st.none() | numbers,
    max_endpoints=st.none() | numbers,
    frozen=st.none() | st.booleans(),
)
endpoints = inet_endpoints | unix_endpoints
selectors = (
    st.builds(
        Selector,
        kind=st.just(SelectorKind.NETNS),
        value=words(255).map(lambda word: word.replace("/", "_")).filter(lambda word: word not in (".", "..")),
    )
    | words(4094).map(lambda word: Selector(SelectorKind.PATH, f"/{word}"))
    | st.builds(
        Selector,
        kind=st.just(SelectorKind.PID),
        value=st.integers(1, 2**22).map(str),
        start_ticks=st.integers(0, 2**63 - 1),
    )
    | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True).map(
        lambda name: Selector(SelectorKind.CONTAINER, name)
    )
    | st.from_regex(r"[A-Za-z0-9:_.@-]{1,20}\.(service|scope)", fullmatch=True).map(
        lambda name: Selector(SelectorKind.UNIT, name)
    )
)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
keys = st.from_regex(r"[a-z0-9._/-]{1,20}", fullmatch=True)
labels = st.dictionaries(keys, st.from_regex(r"[A-Za-z0-9._/-]{0,20}", fullmatch=True), max_size=3)
targeted = st.builds(TargetedEndpoint, endpoint=endpoints, target=st.just("") | names, labels=labels)
limits = st.builds(
    TableLimits,
    max_sockets=st.none() | numbers,
    max_ephemeral=st.none() | numbers,
    max_endpoints=st.none() | numbers,
)
namespaces = st.builds(
    Namespace,
    name=names,
    selector=selectors,
    limits=limits,
    labels=labels,
    annotations=st.dictionaries(keys, st.text(max_size=20), max_size=3),
    freeze=st.none() | st.builds(Freeze, reason=st.text(max_size=20)),
    transparent=st.booleans(),
    transient=st.booleans(),
)
identities = st.builds(NetnsIdentity, boot_id=st.uuids().map(str), cookie=st.integers(1, 2**64 - 1))
