# SPDX-License-Identifier: Apache-2.0
"""From the model to attributes, as pyroute2 takes them: [name, value] pairs, a nest as
{"attrs": pairs}."""

from typing import Any, TypeAlias

from graftd.model import (
    AclRule,
    Endpoint,
    EndpointType,
    Network,
    PortRange,
    Protocols,
    Rule,
    TableSettings,
    Verbs,
)

Pair: TypeAlias = tuple[str, Any]


def nest(name: str, pairs: list[Pair]) -> Pair:
    return name, {"attrs": pairs}


def text(value: str) -> bytes:
    """As a C string. Bytes that are no UTF-8 travel as surrogates, as in file names."""
    return value.encode("utf-8", "surrogateescape") + b"\0"


def settings(value: TableSettings) -> Pair:
    numbers = (
        ("GRAFT_TABLE_A_MAX_SOCKETS", value.max_sockets),
        ("GRAFT_TABLE_A_MAX_EPHEMERAL", value.max_ephemeral),
        ("GRAFT_TABLE_A_MAX_ENDPOINTS", value.max_endpoints),
        ("GRAFT_TABLE_A_FROZEN", None if value.frozen is None else int(value.frozen)),
    )
    return nest("GRAFT_A_TABLE", [(name, number) for name, number in numbers if number is not None])


def endpoint(value: Endpoint, target_fd: int) -> Pair:
    pairs: list[Pair] = [
        ("GRAFT_EP_A_NAME", text(value.name)),
        ("GRAFT_EP_A_TYPE", int(value.type)),
        ("GRAFT_EP_A_TARGET_FD", target_fd),
    ]
    if value.type is EndpointType.UNIX:
        pairs.append(("GRAFT_EP_A_PATH", value.path))
    elif value.address is not None and value.ports is not None:
        pairs += [
            ("GRAFT_EP_A_ADDRESS", value.address.packed),
            ("GRAFT_EP_A_PORT_LO", value.ports.low),
            ("GRAFT_EP_A_PORT_HI", value.ports.high),
            ("GRAFT_EP_A_PROTOCOLS", int(value.protocols)),
        ]
    if value.mark:
        pairs.append(("GRAFT_EP_A_MARK", value.mark))
    if value.device:
        pairs.append(("GRAFT_EP_A_DEVICE", text(value.device)))
    if value.max_sockets:
        pairs.append(("GRAFT_EP_A_MAX_SOCKETS", value.max_sockets))
    if value.privileged:
        pairs.append(("GRAFT_EP_A_PRIVILEGED", True))
    return nest("GRAFT_A_ENDPOINT", pairs)


def endpoint_name(name: str) -> Pair:
    return nest("GRAFT_A_ENDPOINT", [("GRAFT_EP_A_NAME", text(name))])


def _network(prefix: str, value: Network | None) -> list[Pair]:
    if value is None:
        return []
    return [
        (f"{prefix}_ADDRESS", value.network_address.packed),
        (f"{prefix}_PREFIXLEN", value.prefixlen),
    ]


def _ports(prefix: str, value: PortRange) -> list[Pair]:
    return [(f"{prefix}_PORT_LO", value.low), (f"{prefix}_PORT_HI", value.high)]


def rule(value: Rule) -> Pair:
    pairs: list[Pair] = [("GRAFT_RULE_A_DIRECTION", int(value.direction))]
    pairs += _network("GRAFT_RULE_A", value.network)
    if value.protocols is not Protocols.BOTH:
        pairs.append(("GRAFT_RULE_A_PROTOCOLS", int(value.protocols)))
    if value.ports != PortRange.EVERY:
        pairs += _ports("GRAFT_RULE_A", value.ports)
    pairs.append(("GRAFT_RULE_A_VERDICT", int(value.verdict)))
    if value.endpoint:
        pairs.append(("GRAFT_RULE_A_ENDPOINT", text(value.endpoint)))
    return nest("GRAFT_A_RULE", pairs)


def acl(value: AclRule) -> Pair:
    pairs: list[Pair] = [("GRAFT_ACL_A_ALLOW", int(value.allow))]
    if value.endpoint:
        pairs.append(("GRAFT_ACL_A_ENDPOINT", text(value.endpoint)))
    if value.verbs is not Verbs.BOTH:
        pairs.append(("GRAFT_ACL_A_VERBS", int(value.verbs)))
    for word, ids in (("UID", value.uids), ("GID", value.gids)):
        if ids is not None:
            pairs += [(f"GRAFT_ACL_A_{word}_LO", ids.low), (f"GRAFT_ACL_A_{word}_HI", ids.high)]
    if value.own_ids:
        pairs.append(("GRAFT_ACL_A_OWN_IDS", True))
    pairs += _network("GRAFT_ACL_A", value.network)
    if value.ports is not None:
        pairs += _ports("GRAFT_ACL_A", value.ports)
    if value.protocols is not Protocols.BOTH:
        pairs.append(("GRAFT_ACL_A_PROTOCOLS", int(value.protocols)))
    if value.local:
        pairs.append(("GRAFT_ACL_A_LOCAL", True))
    return nest("GRAFT_A_ACL", pairs)
