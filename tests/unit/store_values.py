# SPDX-License-Identifier: Apache-2.0
"""Short ways to say what the store's tests put into it."""

from ipaddress import IPv4Address, ip_network

from graftd.model import (
    AclRule,
    Direction,
    Endpoint,
    EndpointType,
    Namespace,
    NamespaceContent,
    PortRange,
    Rule,
    Selector,
    SelectorKind,
    TargetedEndpoint,
    Verdict,
)


def namespace(name: str = "web", **labels: str) -> Namespace:
    return Namespace(name, Selector(SelectorKind.NETNS, name), labels=labels)


def endpoint(name: str, mark: int = 0) -> TargetedEndpoint:
    address = IPv4Address("10.0.0.2")
    return TargetedEndpoint(Endpoint(name, EndpointType.IPV4, address=address, ports=PortRange.single(80), mark=mark))


def rule(port: int, to: str = "", direction: Direction = Direction.INGRESS) -> Rule:
    """Of its own selector for each port."""
    verdict = Verdict.ENDPOINT if to else Verdict.DENY
    return Rule(direction, verdict, ports=PortRange.single(port), endpoint=to)


def acl(number: int, *, allow: bool = True) -> AclRule:
    return AclRule(allow=allow, network=ip_network(f"10.0.{number}.0/24"))


def content(mark: int, size: int = 20) -> NamespaceContent:
    """All of one mark, so that half of it shows."""
    return NamespaceContent(
        endpoints=tuple(endpoint(f"e{number:02}", mark) for number in range(size)),
        ingress=tuple(rule(port, f"to-{mark}") for port in range(1, 4)),
        egress=tuple(rule(port, f"to-{mark}", Direction.EGRESS) for port in range(1, 4)),
        acl=tuple(AclRule(allow=True, endpoint=f"to-{mark}", network=acl(number).network) for number in range(3)),
    )


def marks(found: NamespaceContent) -> set[int]:
    """The marks of which a content is made."""
    names = [rule.endpoint for rule in (*found.ingress, *found.egress)] + [rule.endpoint for rule in found.acl]
    return {one.endpoint.mark for one in found.endpoints} | {int(name.removeprefix("to-")) for name in names}
