# SPDX-License-Identifier: Apache-2.0
"""Resources as words, in the form that ip-graft prints."""

from __future__ import annotations

import os
from ipaddress import ip_network
from typing import Protocol

from graft_client import messages as m
from graftcli.forms import word_of, words_of
from graftcli.session import last
from ip_graft.values import safe

EVERY_PORT = (1, 65535)
LIMITS = ("max_sockets", "max_ephemeral", "max_endpoints")


class Range(Protocol):
    """A PortRange or an IdRange."""

    @property
    def low(self) -> int: ...
    @property
    def high(self) -> int: ...


def numbers(value: Range) -> str:
    return str(value.low) if value.low == value.high else f"{value.low}-{value.high}"


def ports(value: m.PortRange) -> str:
    return "any" if value.low == value.high == 0 else numbers(value)


def matched(rule: m.Rule | m.AclRule) -> tuple[int, int]:
    """The ports that a rule matches, lowest and highest; all of them where it names none."""
    return (rule.ports.low, rule.ports.high) if rule.HasField("ports") else EVERY_PORT


def network(prefix: str) -> str:
    """A prefix; of one address, the address alone."""
    try:
        found = ip_network(prefix)
    except ValueError:
        return prefix
    return str(found.network_address) if found.prefixlen == found.max_prefixlen else prefix


def endpoint_type(endpoint: m.Endpoint) -> str:
    if endpoint.WhichOneof("kind") == "unix":
        return "unix"
    return "ipv6" if ":" in endpoint.inet.address else "ipv4"


def path(endpoint: m.Endpoint) -> str:
    return f"@{safe(os.fsdecode(endpoint.unix.path))}"


def set_words(message: m.Endpoint | m.InetTarget | m.Rule | m.AclRule, field: str, both: str) -> str:
    """Protocols or verbs; none are both."""
    return ",".join(words_of(message, field)) or both


def labels(message: m.Namespace | m.Endpoint) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(message.labels.items()))


def sync(value: m.Sync) -> str:
    return word_of(value, "state")


def sync_detail(value: m.Sync) -> str:
    return f"{sync(value)}: {value.detail}" if value.detail else sync(value)


def endpoint(value: m.Endpoint) -> str:
    words = [f"{safe(last(value.name))}: type {endpoint_type(value)}"]
    if value.WhichOneof("kind") == "unix":
        words.append(f"path {path(value)}")
    else:
        inet = value.inet
        words.append(f"addr {inet.address} port {ports(inet.ports)} proto {set_words(inet, 'protocols', 'tcp,udp')}")
    if value.target_namespace:
        words.append(f"target {safe(last(value.target_namespace))}")
    if value.inet.mark:
        words.append(f"mark 0x{value.inet.mark:x}")
    if value.inet.device:
        words.append(f"dev {safe(value.inet.device)}")
    if value.max_sockets:
        words.append(f"max-sockets {value.max_sockets}")
    if value.privileged:
        words.append("privileged")
    return " ".join(words)


def counters(value: m.EndpointCounters) -> str:
    words = [f"active {value.active} binds {value.binds} connects {value.connects} accepts {value.accepts}"]
    if value.denials:
        words.append("denials " + " ".join(f"{word_of(one, 'reason')} {one.count}" for one in value.denials))
    return " ".join(words)


def verdict(rule: m.Rule) -> str:
    found = word_of(rule, "verdict")
    return f"{found} {safe(rule.endpoint)}" if rule.endpoint else found


def rule(value: m.Rule) -> str:
    words = [word_of(value, "direction")]
    if value.network:
        words.append(f"{'addr' if value.direction == m.RULE_DIRECTION_INGRESS else 'to'} {network(value.network)}")
    if len(value.protocols) == 1:
        words.append(f"proto {words_of(value, 'protocols')[0]}")
    if matched(value) != EVERY_PORT:
        words.append(f"port {ports(value.ports)}")
    return " ".join([*words, verdict(value)])


def acl_conditions(value: m.AclRule) -> str:
    """What it matches, but for the endpoint."""
    words = []
    if len(value.verbs) == 1:
        words.append(f"verb {words_of(value, 'verbs')[0]}")
    if value.HasField("uids"):
        words.append(f"uid {numbers(value.uids)}")
    if value.HasField("gids"):
        words.append(f"gid {numbers(value.gids)}")
    if value.own_ids:
        words.append("own-ids")
    if value.network:
        words.append(f"to {network(value.network)}")
    if value.HasField("ports"):
        words.append(f"port {ports(value.ports)}")
    if len(value.protocols) == 1:
        words.append(f"proto {words_of(value, 'protocols')[0]}")
    if value.local:
        words.append("local")
    return " ".join(words)


def acl_rule(value: m.AclRule) -> str:
    words = [word_of(value, "action")]
    if value.endpoint:
        words.append(f"endpoint {safe(value.endpoint)}")
    return " ".join(filter(None, [*words, acl_conditions(value)]))


def selector(value: m.NamespaceSelector) -> str:
    match value.WhichOneof("by"):
        case "iproute2_name":
            return f"netns {value.iproute2_name}"
        case "path":
            return f"path {value.path}"
        case "process":
            return f"pid {value.process.pid}"
        case "container_id":
            return f"container {value.container_id}"
        case "systemd_unit":
            return f"unit {value.systemd_unit}"
    return ""


def namespace(value: m.Namespace) -> str:
    words = [selector(value.selector), limits(value), traits(value)]
    if value.labels:
        words.append(f"labels {labels(value)}")
    return " ".join(filter(None, words))


def traits(value: m.Namespace) -> str:
    return " ".join(name for name in ("transparent", "transient") if getattr(value, name))


def limits_set(value: m.Namespace) -> list[str]:
    return [name for name in LIMITS if value.limits.HasField(name)]


def limits(value: m.Namespace) -> str:
    return " ".join(f"{name.replace('_', '-')} {getattr(value.limits, name)}" for name in limits_set(value))


def address(value: m.SocketAddress) -> str:
    return f"[{value.address}]:{value.port}" if ":" in value.address else f"{value.address}:{value.port}"


_PROTOCOLS = {6: "tcp", 17: "udp"}
# ss(8)'s words, where they are not the contract's.
_STATES = {"established": "estab", "close": "unconn", "fin-wait1": "fin-wait-1", "fin-wait2": "fin-wait-2"}


def protocol(number: int, family: int = 0) -> str:
    return "unix" if family == 1 else _PROTOCOLS.get(number, str(number))


def state(value: m.Socket) -> str:
    found = word_of(value, "state")
    return _STATES.get(found, found).upper()


def event(value: m.SocketEvent) -> str:
    """One line, as ip-graft monitor has it."""
    import errno

    words = [f"netns {safe(last(value.namespace))}", word_of(value, "kind")]
    if value.endpoint:
        words.append(f"endpoint {safe(value.endpoint)}")
    words += [*words_of(value, "verbs"), protocol(value.protocol)]
    words.append(address(value.address) if value.HasField("address") else "-")
    words.append(f"uid {value.uid} pid {value.pid} cookie {value.cookie}")
    if value.error_number:
        words.append(f"error {errno.errorcode.get(value.error_number, str(value.error_number))}")
    if value.reason:
        words.append(f"reason {word_of(value, 'reason')}")
    line = " ".join(words)
    return f"{line}: {value.detail}" if value.detail else line
