# SPDX-License-Identifier: Apache-2.0
"""Servers that stayed native although a rule would have grafted them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_network

from graft_client import messages as m
from graftcli import text
from graftcli.doctor.facts import Facts
from graftcli.doctor.finding import WARNING, Finding
from graftcli.doctor.host import Server
from graftcli.doctor.target import on_another_machine, path_of
from graftcli.session import last
from graftd.errors import GraftError


def servers(facts: Facts) -> Iterator[Finding]:
    """What is served in each namespace's own stack, where none of it should be."""
    if on_another_machine(facts):
        return
    for name, export in facts.exports.items():
        rules = [one for one in export.rules.rules if one.direction == m.RULE_DIRECTION_INGRESS]
        namespace = facts.namespaces[name]
        path = path_of(namespace.selector)
        if path is None or namespace.state != m.NAMESPACE_STATE_PRESENT or not rules:
            continue
        try:
            found = facts.host.servers(path)
        except (OSError, GraftError):
            continue  # Who may not look has been told so, or it went meanwhile.
        for server in found:
            rule = _grafting(rules, server)
            if rule is not None:
                yield _finding(facts, last(name), server, rule)


def _finding(facts: Facts, where: str, server: Server, rule: m.Rule) -> Finding:
    process = facts.host.owner(server.inode) or "a program"
    address = text.address(m.SocketAddress(address=str(server.address), port=server.port))
    cause = (
        f"{process} has {'tcp' if server.stream else 'udp'} {address} natively, which rule {last(rule.name)}"
        f" ({text.rule(rule)}) would graft: its socket was made before that rule or the BPF door was there, or its"
        " program preloads nothing"
    )
    remedy = f"start it anew; what keeps a program from being grafted says: graftcli doctor {where} --pid PID"
    return Finding(WARNING, "native-server", where, cause, remedy)


def _grafting(rules: Sequence[m.Rule], server: Server) -> m.Rule | None:
    """A rule that gives the server's socket to an endpoint; none where one leaves it native or refuses it."""
    able = [one for one in rules if _matches(one, server)]
    return able[0] if able and all(one.endpoint for one in able) else None


def _matches(rule: m.Rule, server: Server) -> bool:
    low, high = text.matched(rule)
    protocol = m.PROTOCOL_TCP if server.stream else m.PROTOCOL_UDP
    # A client's datagram socket has some port as well.
    if not low <= server.port <= high or (not server.stream and not rule.HasField("ports")):
        return False
    if rule.protocols and protocol not in rule.protocols:
        return False
    return not rule.network or server.address in ip_network(rule.network)
