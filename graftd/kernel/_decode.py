# SPDX-License-Identifier: Apache-2.0
"""From a decoded message to the model."""

import ipaddress
from collections.abc import Iterator
from typing import Any

from graftd.kernel._messages import Command
from graftd.model import (
    AclNotice,
    AclRule,
    Address,
    ClaimNotice,
    Counters,
    Direction,
    Door,
    Endpoint,
    EndpointEntry,
    EndpointGoneNotice,
    EndpointNotice,
    EndpointType,
    Event,
    EventKind,
    GraftedSocket,
    IdRange,
    ModuleInfo,
    Network,
    Notice,
    PortRange,
    Protocols,
    Reason,
    Rule,
    RulesNotice,
    Table,
    TableNotice,
    Verbs,
    Verdict,
)


class Nest:
    """The attributes of a message or of a nest, by name without the prefix that they share."""

    __slots__ = ("_prefix", "_values")

    def __init__(self, decoded: Any, prefix: str) -> None:
        self._prefix = prefix
        self._values: dict[str, list[Any]] = {}
        for slot in decoded["attrs"]:
            self._values.setdefault(slot[0], []).append(slot)

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._values

    def _first(self, name: str) -> Any:
        slots = self._values.get(self._prefix + name)
        return None if slots is None else slots[0][1]

    def number(self, name: str, absent: int = 0) -> int:
        value = self._first(name)
        return absent if value is None else int(value)

    def data(self, name: str) -> bytes:
        return bytes(self._first(name) or b"")

    def text(self, name: str) -> str:
        return self.data(name).partition(b"\0")[0].decode("utf-8", "surrogateescape")

    def address(self, name: str) -> Address | None:
        data = self.data(name)
        return ipaddress.ip_address(data) if data else None

    def network(self) -> Network | None:
        data = self.data("ADDRESS")
        if not data:
            return None
        return ipaddress.ip_network((data, self.number("PREFIXLEN", len(data) * 8)), strict=False)

    def ids(self, word: str) -> IdRange | None:
        if f"{word}_LO" not in self:
            return None
        low = self.number(f"{word}_LO")
        return IdRange(low, self.number(f"{word}_HI", low))

    def nest(self, name: str, prefix: str) -> "Nest":
        return Nest(self._first(name) or {"attrs": []}, prefix)

    def nests(self, name: str, prefix: str) -> "Iterator[Nest]":
        return (Nest(slot[1], prefix) for slot in self._values.get(self._prefix + name, ()))

    def items(self) -> Iterator[tuple[str, Any]]:
        for name, slots in self._values.items():
            yield name.removeprefix(self._prefix), slots[0][1]


def info(message: Nest) -> ModuleInfo:
    nest = message.nest("INFO", "GRAFT_INFO_A_")
    return ModuleInfo(
        version=nest.text("VERSION"),
        family=nest.number("FAMILY"),
        ipv6="IPV6" in nest,
        sol_socket="SOL_SOCKET" in nest,
        claimant=message.text("CLAIMANT"),
        claimant_pid=message.number("CLAIMANT_PID"),
    )


def table(message: Nest) -> Table:
    nest = message.nest("TABLE", "GRAFT_TABLE_A_")
    return Table(
        netns_cookie=message.number("NETNS_COOKIE"),
        generation=message.number("GENERATION"),
        max_sockets=nest.number("MAX_SOCKETS"),
        max_ephemeral=nest.number("MAX_EPHEMERAL"),
        max_endpoints=nest.number("MAX_ENDPOINTS"),
        frozen=bool(nest.number("FROZEN")),
        endpoints=nest.number("ENDPOINTS"),
        rules=nest.number("RULES"),
        acls=nest.number("ACLS"),
        sockets=nest.number("SOCKETS"),
        ephemeral=nest.number("EPHEMERAL"),
        owner_cookie=nest.number("OWNER_COOKIE"),
    )


def _counters(nest: Nest) -> Counters:
    denials = nest.nest("DENIALS", "GRAFT_REASON_")
    return Counters(
        active=nest.number("ACTIVE"),
        binds=nest.number("BINDS"),
        connects=nest.number("CONNECTS"),
        accepts=nest.number("ACCEPTS"),
        denials={
            Reason[word]: int(count)
            for word, count in denials.items()
            if word in Reason.__members__ and word != Reason.NONE.name
        },
    )


def _endpoint(nest: Nest) -> EndpointEntry:
    kind = EndpointType(nest.number("TYPE"))
    inet = kind in (EndpointType.IPV4, EndpointType.IPV6)
    low = nest.number("PORT_LO")
    endpoint = Endpoint(
        name=nest.text("NAME"),
        type=kind,
        address=nest.address("ADDRESS") if inet else None,
        ports=PortRange(low, nest.number("PORT_HI", low)) if inet else None,
        protocols=Protocols(nest.number("PROTOCOLS", Protocols.BOTH)) if inet else Protocols.BOTH,
        path=nest.data("PATH"),
        mark=nest.number("MARK"),
        device=nest.text("DEVICE"),
        max_sockets=nest.number("MAX_SOCKETS"),
        privileged="PRIVILEGED" in nest,
    )
    return EndpointEntry(endpoint, nest.number("TARGET_COOKIE"), _counters(nest))


def endpoints(message: Nest) -> Iterator[EndpointEntry]:
    return (_endpoint(nest) for nest in message.nests("ENDPOINT", "GRAFT_EP_A_"))


def _rule(nest: Nest) -> Rule:
    ports = PortRange.EVERY
    if "PORT_LO" in nest:
        low = nest.number("PORT_LO")
        ports = PortRange(low, nest.number("PORT_HI", low))
    elif "PORT_HI" in nest:
        ports = PortRange(1, nest.number("PORT_HI"))
    return Rule(
        direction=Direction(nest.number("DIRECTION")),
        verdict=Verdict(nest.number("VERDICT")),
        network=nest.network(),
        protocols=Protocols(nest.number("PROTOCOLS", Protocols.BOTH)),
        ports=ports,
        endpoint=nest.text("ENDPOINT"),
    )


def rules(message: Nest) -> Iterator[Rule]:
    return (_rule(nest) for nest in message.nests("RULE", "GRAFT_RULE_A_"))


def _acl(nest: Nest) -> AclRule:
    low = nest.number("PORT_LO")
    return AclRule(
        allow=bool(nest.number("ALLOW")),
        endpoint=nest.text("ENDPOINT"),
        verbs=Verbs(nest.number("VERBS", Verbs.BOTH)),
        uids=nest.ids("UID"),
        gids=nest.ids("GID"),
        own_ids="OWN_IDS" in nest,
        network=nest.network(),
        ports=PortRange(low, nest.number("PORT_HI", low)) if "PORT_LO" in nest else None,
        protocols=Protocols(nest.number("PROTOCOLS", Protocols.BOTH)),
        local="LOCAL" in nest,
    )


def acls(message: Nest) -> Iterator[AclRule]:
    return (_acl(nest) for nest in message.nests("ACL", "GRAFT_ACL_A_"))


def sockets(message: Nest) -> Iterator[GraftedSocket]:
    netns_cookie = message.number("NETNS_COOKIE")
    for nest in message.nests("SOCKET", "GRAFT_SOCK_A_"):
        yield GraftedSocket(
            netns_cookie=netns_cookie,
            target_cookie=nest.number("TARGET_COOKIE"),
            cookie=nest.number("COOKIE"),
            inode=nest.number("INODE"),
            endpoint=nest.text("ENDPOINT"),
            family=nest.number("FAMILY"),
            type=nest.number("TYPE"),
            protocol=nest.number("PROTOCOL"),
            state=nest.number("STATE"),
            uid=nest.number("UID"),
            cgroup_id=nest.number("CGROUP_ID"),
            local_address=nest.address("LOCAL_ADDRESS"),
            local_port=nest.number("LOCAL_PORT"),
            remote_address=nest.address("REMOTE_ADDRESS"),
            remote_port=nest.number("REMOTE_PORT"),
            door=Door(nest.number("DOOR")),
            verb=Verbs(nest.number("VERB")),
        )


def _event(message: Nest) -> Event:
    nest = message.nest("EVENT", "GRAFT_EVENT_A_")
    return Event(
        netns_cookie=message.number("NETNS_COOKIE"),
        kind=EventKind(nest.number("KIND")),
        reason=Reason(nest.number("REASON")),
        errno=nest.number("ERRNO"),
        detail=nest.text("DETAIL"),
        cookie=nest.number("COOKIE"),
        endpoint=nest.text("ENDPOINT"),
        verb=Verbs(nest.number("VERB")),
        uid=nest.number("UID"),
        pid=nest.number("PID"),
        protocol=nest.number("PROTOCOL"),
        address=nest.address("ADDRESS"),
        port=nest.number("PORT"),
    )


def notice(command: int, message: Nest) -> Notice | None:
    """None for a notification that a newer module sends."""
    cookie, generation = message.number("NETNS_COOKIE"), message.number("GENERATION")
    match command:
        case Command.TABLE_NTF:
            return TableNotice(table(message))
        case Command.ENDPOINT_NTF:
            return EndpointNotice(cookie, generation, next(endpoints(message)))
        case Command.ENDPOINT_DEL_NTF:
            name = message.nest("ENDPOINT", "GRAFT_EP_A_").text("NAME")
            return EndpointGoneNotice(cookie, generation, name)
        case Command.RULES_NTF:
            return RulesNotice(table(message))
        case Command.ACL_NTF:
            return AclNotice(table(message))
        case Command.CLAIM_NTF:
            return ClaimNotice(message.text("CLAIMANT"), message.number("CLAIMANT_PID"))
        case Command.EVENT_NTF:
            return _event(message)
        case _:
            return None
