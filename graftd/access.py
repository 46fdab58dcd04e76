# SPDX-License-Identifier: Apache-2.0
"""Who may do what, as the configuration says it: roles with those who have them, and policies.

The constructors raise ValueErrors that say what would be right.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase

from graftd.errors import GraftError
from graftd.model import Network, PortRange, Protocols, check_id

EVERY = "*"
_PATTERN = re.compile(r"[A-Za-z0-9._*?!\[\]-]{1,253}")
_ID_MAX = 2**32 - 2  # of users and groups; the last number stands for none
_UINT32_MAX = 2**32 - 1


class UnknownSubjectError(GraftError):
    """The system has no user or group that a binding names."""


class Role(IntEnum):
    """Each may do what those before it may.

    viewer: reads. operator: changes what is inside of its namespaces. admin: everything.
    """

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        return self.name.lower()


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Whether any of these shell patterns (*, ?, [...]) matches the whole name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Gives a role to whoever is one of the subjects.

    uids, users, gids, groups: of callers by unix socket in graftd's own network namespace, ids as its own user
    namespace has them; a group counts whether primary or supplementary. certificates: names of a client certificate,
    of callers by TLS. client_namespaces: ids of namespaces, for every process inside.

    namespaces: in which the role holds, by id or shell pattern; `*` is every one, those to come as well. An admin's are
    every one, and need not be said. An operator has no right to the node, a viewer of `*` may read of it.
    """

    role: Role
    uids: tuple[int, ...] = ()
    users: tuple[str, ...] = ()
    gids: tuple[int, ...] = ()
    groups: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    client_namespaces: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for number in (*self.uids, *self.gids):
            if not 0 <= number <= _ID_MAX:
                raise ValueError(f"{number} is no id of a user or group: they go from 0 to {_ID_MAX}")
        for name in (*self.users, *self.groups, *self.certificates):
            if not name:
                raise ValueError("an empty name is nobody's: leave it out")
        for namespace in self.client_namespaces:
            check_id("a namespace", namespace)
        check_patterns(self.namespaces)
        if not any((self.uids, self.users, self.gids, self.groups, self.certificates, self.client_namespaces)):
            raise ValueError(
                f"a binding of the role {self.role.word} is for nobody: name uids, users, gids, groups, certificates "
                "or client_namespaces"
            )
        if self.role is Role.ADMIN:
            if self.namespaces not in ((), (EVERY,)):
                raise ValueError("an admin's namespaces are every one: leave namespaces out, or bind the role operator")
            object.__setattr__(self, "namespaces", (EVERY,))
        elif not self.namespaces:
            raise ValueError(
                f"a binding of the role {self.role.word} names its namespaces; '{EVERY}' would be every one"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What an operator may map at most in the namespaces that it covers. What is not said is not allowed.

    namespaces: ids or shell patterns. addresses: prefixes that an endpoint's address has to be in; the unspecified
    address stands for all of the host's and is in a prefix of length 0, or in one of its own, alone, `::` in both
    families' only. ports: PortRange.ANY lets the kernel choose one, and so does 1-65535. protocols: which an endpoint
    may serve. unix_names: patterns of abstract names. target_namespaces: patterns of ids; host_target: whether graftd's
    own namespace may be the target. privileged: whether an endpoint may be. marks: beside 0; None is every one.
    devices: patterns, beside none.

    egress: prefixes that an ACL rule may let through, and an egress rule give to an endpoint. Unless these are all
    addresses, an endpoint has to be closed by the ACL before it is made: what no ACL rule names, the kernel lets
    through. local: whether an ACL rule may reach the target namespace's own addresses.

    max_endpoints: in the table; max_sockets, max_ephemeral: what the namespace's limits may be set to; None: no bound.
    """

    name: str
    namespaces: tuple[str, ...]
    addresses: tuple[Network, ...] = ()
    ports: tuple[PortRange, ...] = ()
    protocols: Protocols = Protocols.BOTH
    unix_names: tuple[str, ...] = ()
    target_namespaces: tuple[str, ...] = ()
    host_target: bool = True
    privileged: bool = False
    marks: tuple[int, ...] | None = ()
    devices: tuple[str, ...] = ()
    egress: tuple[Network, ...] = ()
    local: bool = False
    max_endpoints: int | None = None
    max_sockets: int | None = None
    max_ephemeral: int | None = None

    def __post_init__(self) -> None:
        check_id("a policy", self.name)
        check_patterns(self.namespaces)
        check_patterns(self.target_namespaces)
        if not self.namespaces:
            raise ValueError(f"policy '{self.name}' covers nothing: name its namespaces; '{EVERY}' would be every one")
        limits = (self.max_endpoints, self.max_sockets, self.max_ephemeral)
        for number in (*(self.marks or ()), *(limit for limit in limits if limit is not None)):
            if not 0 <= number <= _UINT32_MAX:
                raise ValueError(f"{number} is out of range in policy '{self.name}': 0 to {_UINT32_MAX} can be")


@dataclass(frozen=True, slots=True)
class AccessRules:
    """All of it. Of several policies that cover a namespace, the first one alone counts."""

    bindings: tuple[Binding, ...] = ()
    policies: tuple[Policy, ...] = ()

    def __post_init__(self) -> None:
        for name, count in Counter(policy.name for policy in self.policies).items():
            if count > 1:
                raise ValueError(f"{count} policies are called '{name}': give each a name of its own")


def check_patterns(patterns: tuple[str, ...]) -> None:
    """Refuse what matches no namespace's id whatever it is."""
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(
                f"'{pattern}' matches no namespace: letters, digits, '.', '_' and '-' can be in an id, "
                "and '*', '?' and '[...]' in a pattern"
            )
