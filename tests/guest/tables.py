# SPDX-License-Identifier: Apache-2.0
"""Rules as messages hold them, in words."""

import socket
from typing import Any

from uapi import U

PROTOCOLS = {None: None, "tcp": U.PROTO_TCP, "udp": U.PROTO_UDP}
_VERBS = {None: None, "listen": U.VERB_LISTEN, "connect": U.VERB_CONNECT}


def ports(wanted: int | tuple[int, int] | None) -> dict[str, int]:
    """The attributes of a port or of a range of ports."""
    if wanted is None:
        return {}
    low, high = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    return {"port_lo": low, "port_hi": high}


def prefix(net: str | None) -> dict[str, Any]:
    """The attributes of ADDRESS or ADDRESS/LENGTH."""
    if net is None:
        return {}
    address, _, length = net.partition("/")
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    return {"address": packed, "prefixlen": int(length) if length else None}


def _rule(
    direction: int, verdict: str, net: str | None, port: int | tuple[int, int] | None, proto: str | None
) -> dict[str, Any]:
    fixed = {"native": U.VERDICT_NATIVE, "deny": U.VERDICT_DENY}.get(verdict)
    rule = {"direction": direction, "verdict": fixed or U.VERDICT_ENDPOINT, "protocols": PROTOCOLS[proto]}
    return rule | prefix(net) | ports(port) | ({} if fixed else {"endpoint": verdict})


def ingress(
    verdict: str, net: str | None = None, port: int | tuple[int, int] | None = None, proto: str | None = None
) -> dict[str, Any]:
    """A rule for binds: ``verdict`` is an endpoint's name, "native" or "deny"."""
    return _rule(U.INGRESS, verdict, net, port, proto)


def egress(
    verdict: str, net: str | None = None, port: int | tuple[int, int] | None = None, proto: str | None = None
) -> dict[str, Any]:
    """A rule for destinations."""
    return _rule(U.EGRESS, verdict, net, port, proto)


def allow(
    endpoint: str | None = None,
    verb: str | None = None,
    net: str | None = None,
    port: int | tuple[int, int] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """An ACL rule that allows."""
    return {"allow": 1, "endpoint": endpoint, "verbs": _VERBS[verb]} | prefix(net) | ports(port) | more


def deny(
    endpoint: str | None = None,
    verb: str | None = None,
    net: str | None = None,
    port: int | tuple[int, int] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """An ACL rule that denies."""
    return allow(endpoint, verb, net, port, **more) | {"allow": 0}
