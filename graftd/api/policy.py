# SPDX-License-Identifier: Apache-2.0
"""What may be mapped in a namespace, by whoever is no admin, or of what others wrote."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, collapse_addresses
from typing import NoReturn

from graftd.access import EVERY, Policy, matches
from graftd.api.denials import PolicyDeniedError, PolicyLimitError
from graftd.model import (
    AclRule,
    Address,
    Direction,
    Endpoint,
    EndpointType,
    Network,
    PortRange,
    Rule,
    TableLimits,
    Verbs,
    Verdict,
)

_IPV4 = IPv4Network("0.0.0.0/0")
_IPV6 = IPv6Network("::/0")
_HOST_IPV4 = IPv4Network("0.0.0.0/32")
_HOST_IPV6 = IPv6Network("::/128")
# What the module has where nothing was said.
_DEFAULTS = {"max_sockets": 65536, "max_ephemeral": 16384, "max_endpoints": 131072}
_EVERYTHING = Policy(
    name="everything",
    namespaces=(EVERY,),
    addresses=(_IPV4, _IPV6),
    ports=(PortRange.EVERY,),
    unix_names=(EVERY,),
    target_namespaces=(EVERY,),
    privileged=True,
    marks=None,
    devices=(EVERY,),
    egress=(_IPV4, _IPV6),
    local=True,
)


class Bounds:
    """What a policy allows in a namespace; policy None: no policy covers it, and nothing may be mapped.

    Every method raises PolicyDeniedError for what is not allowed.
    """

    def __init__(self, namespace: str, policy: Policy | None) -> None:
        self._namespace = namespace
        self._policy = policy

    @classmethod
    def none(cls, namespace: str) -> Bounds:
        """An admin's."""
        return cls(namespace, _EVERYTHING)

    @property
    def closes(self) -> bool:
        """Whether `check_closed` can refuse anything."""
        return self._policy is None or not _all_inside(None, self._policy.egress)

    @property
    def counts(self) -> bool:
        """Whether `check_count` can refuse anything."""
        return self._policy is None or self._policy.max_endpoints is not None

    def check_endpoint(self, endpoint: Endpoint, target: str) -> None:
        """target: the id of the target namespace, "" for graftd's own."""
        policy = self._covering("name")
        if target and not matches(policy.target_namespaces, target):
            self._deny(policy, "target_namespace", f"'{target}' as a target namespace", policy.target_namespaces)
        if not target and not policy.host_target:
            self._deny(policy, "target_namespace", "graftd's own namespace as the target", policy.target_namespaces)
        if endpoint.privileged and not policy.privileged:
            self._deny(policy, "privileged", "privileged endpoints")
        if endpoint.type is EndpointType.UNIX:
            if not matches(policy.unix_names, endpoint.path.decode("utf-8", "surrogateescape")):
                self._deny(policy, "unix.path", "this abstract name", policy.unix_names)
        else:
            self._check_inet(policy, endpoint)

    def check_rule(self, rule: Rule) -> None:
        """Of a rule that gives sockets to an endpoint, the destination; others take nothing of the host's."""
        policy = self._covering("name")
        egress = rule.direction is Direction.EGRESS and rule.verdict is Verdict.ENDPOINT
        if egress and not _all_inside(rule.network, policy.egress):
            self._deny(policy, "network", f"egress to {_text(rule.network)}", policy.egress)

    def check_acl_rule(self, rule: AclRule) -> None:
        """Of a rule that allows, the destinations; one that denies takes nothing."""
        policy = self._covering("name")
        if not rule.allow:
            return
        if rule.local and not policy.local:
            self._deny(policy, "local", "ACL rules that reach the target namespace's own addresses")
        if rule.verbs & Verbs.CONNECT and not _all_inside(rule.network, policy.egress):
            self._deny(policy, "network", f"connections to {_text(rule.network)}", policy.egress)

    def check_closed(self, endpoint: Endpoint, acl: Sequence[AclRule]) -> None:
        """To be asked of an endpoint that is made or changed, and of all when an ACL rule is changed, moved or deleted.

        acl: the namespace's, as it is to be. An endpoint that no rule covers may connect anywhere.
        """
        policy = self._covering("name")
        if endpoint.type is EndpointType.UNIX or _all_inside(None, policy.egress):
            return
        if not any(_closes(rule, endpoint) for rule in acl):
            self._deny(
                policy,
                "name",
                f"an endpoint '{endpoint.name}' that may connect anywhere",
                policy.egress,
                advice="first make an ACL rule that allows it to connect to some of these, or denies it to connect",
            )

    def check_limits(self, limits: TableLimits) -> None:
        """What a namespace's limits may be set to; one that is not set is the module's default."""
        policy = self._covering("limits")
        for word, default in _DEFAULTS.items():
            value, most = getattr(limits, word), getattr(policy, word)
            value = default if value is None else value
            if most is not None and value > most:
                self._deny(policy, f"limits.{word}", f"{word} {value}", (f"up to {most}",))

    def check_count(self, endpoints: int) -> None:
        """endpoints: how many the namespace is to hold, after a change that adds some. Raises PolicyLimitError."""
        policy = self._covering("name")
        if policy.max_endpoints is not None and endpoints > policy.max_endpoints:
            raise PolicyLimitError(
                policy.name,
                "max_endpoints",
                policy.max_endpoints,
                f"policy '{policy.name}' allows {policy.max_endpoints} endpoints in the namespace '{self._namespace}', "
                f"and these would be {endpoints}: delete some, or have an admin raise max_endpoints",
            )

    def _check_inet(self, policy: Policy, endpoint: Endpoint) -> None:
        address, ports = endpoint.address, endpoint.ports
        if address is None or ports is None:
            self._deny(policy, "kind", f"endpoints of type {endpoint.type.word}", ("ipv4", "ipv6", "unix"))
        if not _is_inside(address, policy.addresses):
            self._deny(policy, "inet.address", f"{address}", policy.addresses)
        if not _has_ports(ports, policy.ports):
            allowed = tuple(_ports_text(one) for one in policy.ports)
            self._deny(policy, "inet.ports", f"port {_ports_text(ports)}", allowed)
        if endpoint.protocols & ~policy.protocols:
            self._deny(policy, "inet.protocols", " and ".join(endpoint.protocols.words), policy.protocols.words)
        if endpoint.mark and policy.marks is not None and endpoint.mark not in policy.marks:
            self._deny(policy, "inet.mark", f"mark {endpoint.mark}", policy.marks)
        if endpoint.device and not matches(policy.devices, endpoint.device):
            self._deny(policy, "inet.device", f"device '{endpoint.device}'", policy.devices)

    def _covering(self, field: str) -> Policy:
        if self._policy is None:
            raise PolicyDeniedError(
                "",
                field,
                f"no policy covers the namespace '{self._namespace}', and without one nobody but an admin may map "
                "anything there: have one configured, in [[policies]] of graftd.toml",
            )
        return self._policy

    def _deny(
        self, policy: Policy, field: str, what: str, allowed: Sequence[object] = (), *, advice: str = ""
    ) -> NoReturn:
        some = ", ".join(str(one) for one in allowed) or "none"
        raise PolicyDeniedError(
            policy.name,
            field,
            f"policy '{policy.name}' does not allow {what} in the namespace '{self._namespace}'; allowed: {some}"
            + (f"; {advice}" if advice else ""),
        )


def _is_inside(address: Address, prefixes: Sequence[Network]) -> bool:
    if not address.is_unspecified:
        return any(address in prefix for prefix in prefixes)
    ipv4 = _IPV4 in prefixes or _HOST_IPV4 in prefixes
    if isinstance(address, IPv4Address):
        return ipv4
    return ipv4 and (_IPV6 in prefixes or _HOST_IPV6 in prefixes)  # a socket of IPv6 takes IPv4 too


def _all_inside(network: Network | None, prefixes: Sequence[Network]) -> bool:
    """None: every address of both families."""
    if network is None:
        return _all_inside(_IPV4, prefixes) and _all_inside(_IPV6, prefixes)
    if network in prefixes:
        return True
    if isinstance(network, IPv4Network):
        ipv4 = collapse_addresses([prefix for prefix in prefixes if isinstance(prefix, IPv4Network)])
        return any(network.subnet_of(prefix) for prefix in ipv4)
    ipv6 = collapse_addresses([prefix for prefix in prefixes if isinstance(prefix, IPv6Network)])
    return any(network.subnet_of(prefix) for prefix in ipv6)


def _has_ports(ports: PortRange, allowed: Sequence[PortRange]) -> bool:
    if ports == PortRange.ANY:
        return PortRange.ANY in allowed or _has_ports(PortRange.EVERY, allowed)
    need = ports.low
    for one in sorted(allowed, key=lambda one: one.low):
        if one.low <= need <= one.high:
            need = one.high + 1
    return need > ports.high


def _closes(rule: AclRule, endpoint: Endpoint) -> bool:
    """Whether the endpoint may connect to nothing but what rules say: as in graft_acl_ask(), kmod/acl.c."""
    if rule.endpoint not in ("", endpoint.name) or not rule.verbs & Verbs.CONNECT:
        return False
    if rule.allow:
        return True
    everyone = rule.uids is None and rule.gids is None
    everywhere = rule.network is None and rule.ports in (None, PortRange.EVERY, PortRange(0, 65535))
    return everyone and everywhere and not endpoint.protocols & ~rule.protocols


def _text(network: Network | None) -> str:
    return "every address" if network is None else str(network)


def _ports_text(ports: PortRange) -> str:
    if ports == PortRange.ANY:
        return "any"
    return str(ports.low) if ports.low == ports.high else f"{ports.low}-{ports.high}"
