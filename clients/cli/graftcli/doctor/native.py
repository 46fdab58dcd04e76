# SPDX-License-Identifier: Apache-2.0
"""Servers that stayed native although a rule would have grafted them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, ip_network

from graft_client import messages as m
from graftcli import text
from graftcli.doctor.facts import Facts
from graftcli.doctor.finding import NOTE, WARNING, Finding
from graftcli.doctor.host import Server
from graftcli.doctor.target import on_another_machine, path_of
from graftcli.session import last
from graftd.errors import GraftError

_TCP = 6


def servers(facts: Facts) -> Iterator[Finding]:
    """What listens in each namespace's own stack, where an endpoint waits for it and has nothing."""
    if on_another_machine(facts):
        return
    for name, export in facts.exports.items():
        endpoints = {last(one.name): one for one in export.endpoints.endpoints if one.WhichOneof("kind") == "inet"}
        rules = [one for one in export.rules.rules if one.direction == m.RULE_DIRECTION_INGRESS]
        namespace = facts.namespaces[name]
        if namespace.state != m.NAMESPACE_STATE_PRESENT or not any(one.endpoint in endpoints for one in rules):
            continue
        path = path_of(namespace.selector)
        try:
            found = facts.host.servers(path) if path is not None else None
        except (OSError, GraftError):
            found = None
        if found is None:
            cause = "what listens in its own stack, and so is not grafted, could not be looked at"
            remedy = (
                f"as root: nsenter -t PID -n ss -tlnp, by one of its processes; graftcli doctor {last(name)} --pid PID"
            )
            yield Finding(NOTE, "not-entered", last(name), cause, remedy)
            continue
        yield from _of_namespace(facts, last(name), found, rules, endpoints)


def _of_namespace(
    facts: Facts, where: str, found: Sequence[Server], rules: Sequence[m.Rule], endpoints: dict[str, m.Endpoint]
) -> Iterator[Finding]:
    # One that has a socket serves: a program has several, for IPv4 and for IPv6, and one endpoint is of one of them.
    own = [one for one in facts.sockets if one.name.startswith(f"namespaces/{where}/")]
    if facts.SOCKETS in facts.unasked:
        return
    told = {one.endpoint for one in own if one.protocol == _TCP}
    for server in found:
        rule = _deciding(rules, server)
        endpoint = endpoints.get(rule.endpoint) if rule is not None else None
        if rule is None or endpoint is None or rule.endpoint in told or not _serves(endpoint, server):
            continue
        told.add(rule.endpoint)
        process = facts.host.owner(server.inode) or "a program"
        address = text.address(m.SocketAddress(address=str(server.address), port=server.port))
        cause = (
            f"{process} listens natively at {address}, which rule {last(rule.name)} ({text.rule(rule)}) would graft:"
            " its socket was made before that rule or the BPF door was there, or its program preloads nothing"
        )
        remedy = f"start it anew; what keeps a program from being grafted says: graftcli doctor {where} --pid PID"
        yield Finding(WARNING, "native-server", where, cause, remedy)


def _serves(endpoint: m.Endpoint, server: Server) -> bool:
    """Whether the endpoint gives such a socket. One of IPv6 that is open to all mostly takes IPv4 as well."""
    version = 6 if ":" in endpoint.inet.address else 4
    protocols = endpoint.inet.protocols
    tcp = not protocols or m.PROTOCOL_TCP in protocols
    return tcp and (version == server.address.version or _is_open_to_all(server))


def _is_open_to_all(server: Server) -> bool:
    return server.address.version == 6 and server.address.is_unspecified


def _deciding(rules: Sequence[m.Rule], server: Server) -> m.Rule | None:
    """The rule that the kernel takes: of the longest prefix, then of the narrowest range, then the first."""
    able = [one for one in rules if _matches(one, server)]
    return max(able, key=_rank, default=None)


def _rank(rule: m.Rule) -> tuple[int, int]:
    low, high = text.matched(rule)
    return ip_network(rule.network).prefixlen if rule.network else -1, low - high


def _matches(rule: m.Rule, server: Server) -> bool:
    low, high = text.matched(rule)
    if not low <= server.port <= high or (rule.protocols and m.PROTOCOL_TCP not in rule.protocols):
        return False
    if not rule.network:
        return True
    network = ip_network(rule.network)
    return server.address in network or (_is_open_to_all(server) and IPv4Address(0) in network)
