# SPDX-License-Identifier: Apache-2.0
"""Checks of what endpoints stand for: address, device and port of the target namespace, on this machine."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import ip_address

from graft_client import messages as m
from graftcli.doctor.facts import Facts
from graftcli.doctor.finding import ERROR, NOTE, Finding
from graftcli.session import last, middle
from graftd.errors import GraftError

_TCP = 6


def addresses(facts: Facts) -> Iterator[Finding]:
    """Bind as each endpoint would."""
    if on_another_machine(facts):
        yield Finding(
            NOTE,
            "elsewhere",
            "endpoints",
            "graftd runs in another network namespace than this command, so addresses and ports are not looked at",
            "run graftcli doctor where graftd runs",
        )
        return
    for export in facts.exports.values():
        for endpoint in export.endpoints.endpoints:
            if endpoint.WhichOneof("kind") == "inet":
                yield from _endpoint(facts, endpoint)


def on_another_machine(facts: Facts) -> bool:
    """Whether graftd runs elsewhere: on another machine, or in another network namespace than this command."""
    status = facts.status
    return bool(status and status.netns_cookie and status.netns_cookie != facts.host.cookie(None))


def _endpoint(facts: Facts, endpoint: m.Endpoint) -> Iterator[Finding]:
    where, name = middle(endpoint.name), last(endpoint.name)
    subject = f"{where} endpoint {name}"
    place = "the host"
    path: str | None = None
    if endpoint.target_namespace:
        target = facts.namespaces.get(endpoint.target_namespace)
        place = f"namespace {last(endpoint.target_namespace)}"
        if target is not None and target.state == m.NAMESPACE_STATE_ABSENT:
            cause = f"its target namespace {last(endpoint.target_namespace)} is not there"
            remedy = f"graftcli doctor {last(endpoint.target_namespace)} says why"
            yield Finding(ERROR, "target-absent", subject, cause, remedy)
            return
        path = path_of(target.selector) if target is not None else None
        if path is None:
            return
    inet = endpoint.inet
    fixed = inet.ports.low if inet.ports.low == inet.ports.high else 0
    for stream in _kinds(inet):
        try:
            trial = facts.host.try_bind(path, inet.address, fixed, inet.device, stream=stream)
        except (OSError, GraftError) as error:
            cause = f"{place} could not be looked at: {getattr(error, 'strerror', None) or error}"
            yield Finding(NOTE, "not-entered", subject, cause, "run graftcli doctor as root, on the machine of graftd")
            return
        if trial.device:
            cause = f"{place} has no device {trial.device}, so every bind is refused"
            yield Finding(
                ERROR, "device-missing", subject, cause, f"make the device, or: {_update(where, name)} --device D"
            )
            return
        if trial.error == errno.EADDRNOTAVAIL:
            cause = f"{place} has no address {inet.address}, so every bind is refused"
            remedy = f"ip addr add {inet.address} dev DEVICE, or: {_update(where, name)} --address ADDRESS"
            yield Finding(ERROR, "address-missing", subject, cause, remedy)
            return
        if trial.error == errno.EADDRINUSE and not _own(facts, where, inet.address, fixed, stream=stream):
            yield _taken(facts, subject, path, endpoint, stream=stream)


def _taken(facts: Facts, subject: str, path: str | None, endpoint: m.Endpoint, *, stream: bool) -> Finding:
    inet = endpoint.inet
    holder = facts.host.holder(path, inet.ports.low, stream=stream) or "another program"
    word = "tcp" if stream else "udp"
    cause = f"{holder} has {word} port {inet.ports.low} of {inet.address} already, so a bind fails with EADDRINUSE"
    where, name = middle(endpoint.name), last(endpoint.name)
    remedy = f"end that program, or: {_update(where, name)} --port PORT"
    return Finding(ERROR, "port-taken", subject, cause, remedy)


def _update(where: str, name: str) -> str:
    return f"graftcli -n {where} update-endpoint {name}"


def _kinds(inet: m.InetTarget) -> list[bool]:
    """Whether to try a stream, a datagram socket, or both."""
    protocols = set(inet.protocols) or {m.PROTOCOL_TCP, m.PROTOCOL_UDP}
    return [stream for stream, one in ((True, m.PROTOCOL_TCP), (False, m.PROTOCOL_UDP)) if one in protocols]


def _own(facts: Facts, where: str, address: str, port: int, *, stream: bool) -> bool:
    """Whether a grafted socket of the namespace's has address and port: then all is well. One that is open to all has
    each address, and one of IPv6 those of IPv4 too."""
    return any(
        one.local.port == port
        and (one.local.address in (address, f"::ffff:{address}") or ip_address(one.local.address).is_unspecified)
        and (one.protocol == _TCP) == stream
        and one.name.startswith(f"namespaces/{where}/")
        for one in facts.sockets
    )


def path_of(selector: m.NamespaceSelector) -> str | None:
    """A namespace's file, where its selector names one."""
    match selector.WhichOneof("by"):
        case "iproute2_name":
            return f"/run/netns/{selector.iproute2_name}"
        case "path":
            return selector.path
        case "process":
            return f"/proc/{selector.process.pid}/ns/net"
    return None
