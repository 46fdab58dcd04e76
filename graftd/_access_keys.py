# SPDX-License-Identifier: Apache-2.0
"""The keys of [[roles]] and [[policies]]. What they are for in full, their values say: graftd.access."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import partial
from typing import Final

from graftd._settings import Choice, Flag, Key, ListOf, Table, Text, Whole
from graftd.access import Binding, Policy, Role, check_patterns
from graftd.model import Network, PortRange, Protocols, check_id


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        wider = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError from None
    raise ValueError(f'it has bits behind its prefix: write "{wider}" if that is meant')


class _Ports:
    right = '"any" for one that the kernel chooses, a port from 1 to 65535, or a range such as "8000-8999"'

    def read(self, value: object) -> PortRange:
        if value == "any":
            return PortRange.ANY
        text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
        found = re.fullmatch(r"([1-9][0-9]{0,4})(?:-([1-9][0-9]{0,4}))?", text)
        if found is None:
            raise ValueError
        return PortRange(int(found[1]), int(found[2] or found[1]))

    def write(self, value: PortRange) -> str:
        if value == PortRange.ANY:
            return '"any"'
        return str(value.low) if value.low == value.high else f'"{value.low}-{value.high}"'


class _ProtocolSet:
    right = '["tcp"], ["udp"] or ["tcp", "udp"]'
    _words = ListOf(Choice({one.words[0]: one for one in Protocols.BOTH}))

    def read(self, value: object) -> Protocols:
        found = self._words.read(value)
        if not found:
            raise ValueError
        return Protocols(sum(found))

    def write(self, value: Protocols) -> str:
        return self._words.write(tuple(value))


class _Marks:
    right = '"every", or a list of whole numbers from 0 to 4294967295'
    _list = ListOf(Whole(0, 2**32 - 1))

    def read(self, value: object) -> tuple[int, ...] | None:
        return None if value == "every" else self._list.read(value)

    def write(self, value: tuple[int, ...] | None) -> str:
        return '"every"' if value is None else self._list.write(value)


def _checked(check: Callable[[str], None]) -> Callable[[str], str]:
    def read(text: str) -> str:
        check(text)
        return text

    return read


_PREFIX = Text('an address or a prefix, such as "10.0.0.0/8" or "2001:db8::/32"', _network)
_USERS = ListOf(Text('a user\'s name, such as "alice"'))
_GROUPS = ListOf(Text('a group\'s name, such as "graft"'))
_IDS = ListOf(Whole(0, 2**32 - 2))
_GLOBS = ListOf(Text('a shell pattern, such as "web-*"'))
_PATTERNS = ListOf(
    Text('the id of a namespace or a shell pattern, such as "web-*"', _checked(lambda text: check_patterns((text,))))
)

BINDING: Final = Table(
    Binding,
    many=True,
    described={
        "role": Key(
            Choice({role.word: role for role in Role}),
            "viewer reads, operator changes what is in its namespaces as far as a policy allows, "
            "admin does everything.",
            shown=Role.OPERATOR,
        ),
        "uids": Key(_IDS, "Users who have the role, of processes in graftd's own network namespace.", shown=(1000,)),
        "users": Key(_USERS, "The same by name.", shown=("alice",)),
        "gids": Key(_IDS, "Groups whose members have the role.", shown=(100,)),
        "groups": Key(_GROUPS, "The same by name.", shown=("graft",)),
        "certificates": Key(
            ListOf(Text('a name in a client\'s certificate, such as "ci.example.org"')),
            "Clients over TLS who have the role.",
            shown=("ci.example.org",),
        ),
        "client_namespaces": Key(
            ListOf(Text("the id of a namespace", _checked(partial(check_id, "a namespace")))),
            "Namespaces all of whose processes have the role.",
            shown=("web-1",),
        ),
        "namespaces": Key(
            _PATTERNS, "Where the role holds: needed for viewer and operator. An admin's are all.", shown=("web-*",)
        ),
    },
)
_UINT32 = Whole(0, 2**32 - 1)
POLICY: Final = Table(
    Policy,
    many=True,
    described={
        "name": Key(
            Text("1 to 63 letters, digits, '.', '_' and '-'", _checked(partial(check_id, "a policy"))),
            "For refusals and audit records, which name it.",
            shown="web",
        ),
        "namespaces": Key(_PATTERNS, "Which namespaces it covers.", shown=("web-*",)),
        "addresses": Key(
            ListOf(_PREFIX),
            "Where an endpoint's address has to be. 0.0.0.0 and :: stand for all of the host's addresses.",
            shown=(ipaddress.IPv4Network("10.0.0.0/24"),),
        ),
        "ports": Key(ListOf(_Ports()), "Which ports endpoints may have.", shown=(PortRange.ANY, PortRange(8000, 8999))),
        "protocols": Key(_ProtocolSet(), "Which protocols endpoints may serve."),
        "unix_names": Key(_GLOBS, "Which abstract names endpoints of type unix may have.", shown=("web-*",)),
        "target_namespaces": Key(
            _PATTERNS, "Which namespaces endpoints may have for a target, beside graftd's own.", shown=("router",)
        ),
        "host_target": Key(Flag(), "Whether graftd's own namespace may be the target."),
        "privileged": Key(Flag(), "Whether endpoints may be privileged."),
        "marks": Key(_Marks(), "Which marks endpoints may set, beside 0."),
        "devices": Key(_GLOBS, "Which devices endpoints may be bound to.", shown=("eth*",)),
        "egress": Key(
            ListOf(_PREFIX),
            "Where ACL rules may let sockets connect to, and egress rules graft them for.",
            shown=(ipaddress.IPv4Network("0.0.0.0/0"), ipaddress.IPv6Network("::/0")),
        ),
        "local": Key(Flag(), "Whether ACL rules may let sockets reach the target namespace's own addresses."),
        "max_endpoints": Key(_UINT32, "How many endpoints a namespace may have. No bound unless set.", shown=1000),
        "max_sockets": Key(_UINT32, "What its limit on sockets may be set to. No bound unless set.", shown=4096),
        "max_ephemeral": Key(
            _UINT32, "What its limit on ports that the kernel chooses may be set to. No bound unless set.", shown=1024
        ),
    },
)
