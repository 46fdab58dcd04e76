# SPDX-License-Identifier: Apache-2.0
"""Who may make which call. What nobody was given is denied.

There are three kinds of callers: by unix socket from graftd's own network namespace, whose uid and groups count; by
unix socket from another one, whose namespace counts, whatever their uid; by TLS, whose certificate counts.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from graftd.access import EVERY, AccessRules, Binding, Policy, Role, UnknownSubjectError, matches
from graftd.api.denials import PermissionDeniedError
from graftd.api.peer import Peer, SocketName
from graftd.api.policy import Bounds

SOME = "-"  # in place of a namespace's id: every one that the caller may see


class Scope(Enum):
    """What a call is about: a namespace or what is in it; the node; nothing, so any role will do."""

    NAMESPACE = 1
    NODE = 2
    ANY = 3


@dataclass(frozen=True, slots=True)
class Permission:
    """least: the least role. own: also for a process inside of the namespace that the call is about."""

    least: Role
    scope: Scope
    own: bool = False


_VIEW = Permission(Role.VIEWER, Scope.NAMESPACE)
_VIEW_OWN = Permission(Role.VIEWER, Scope.NAMESPACE, own=True)
_OPERATE = Permission(Role.OPERATOR, Scope.NAMESPACE)
_REGISTER = Permission(Role.ADMIN, Scope.NAMESPACE)
_VIEW_NODE = Permission(Role.VIEWER, Scope.NODE)
_RULE_NODE = Permission(Role.ADMIN, Scope.NODE)
_ANY = Permission(Role.VIEWER, Scope.ANY)

# Which network namespace a resource stands for is the node's business: an operator could take another's otherwise. So
# UpdateNamespace and ApplyNamespace take an admin (`least` of Access.check) where they change a selector or make a
# namespace. Reconcile of one namespace is an operator's, of all (None) an admin's.
METHODS: dict[str, Permission] = {
    "/graft.v1.NamespaceService/GetNamespace": _VIEW,
    "/graft.v1.NamespaceService/ListNamespaces": _VIEW,
    "/graft.v1.NamespaceService/CreateNamespace": _REGISTER,
    "/graft.v1.NamespaceService/UpdateNamespace": _OPERATE,
    "/graft.v1.NamespaceService/DeleteNamespace": _REGISTER,
    "/graft.v1.NamespaceService/ExportNamespace": _VIEW,
    "/graft.v1.NamespaceService/ApplyNamespace": _OPERATE,
    "/graft.v1.NamespaceService/ImportNamespace": _REGISTER,
    "/graft.v1.NamespaceService/FreezeNamespace": _OPERATE,
    "/graft.v1.NamespaceService/UnfreezeNamespace": _OPERATE,
    "/graft.v1.EndpointService/GetEndpoint": _VIEW_OWN,
    "/graft.v1.EndpointService/ListEndpoints": _VIEW_OWN,
    "/graft.v1.EndpointService/CreateEndpoint": _OPERATE,
    "/graft.v1.EndpointService/BatchCreateEndpoints": _OPERATE,
    "/graft.v1.EndpointService/UpdateEndpoint": _OPERATE,
    "/graft.v1.EndpointService/DeleteEndpoint": _OPERATE,
    "/graft.v1.RuleService/GetRule": _VIEW,
    "/graft.v1.RuleService/ListRules": _VIEW,
    "/graft.v1.RuleService/CreateRule": _OPERATE,
    "/graft.v1.RuleService/UpdateRule": _OPERATE,
    "/graft.v1.RuleService/DeleteRule": _OPERATE,
    "/graft.v1.AclService/GetAclRule": _VIEW,
    "/graft.v1.AclService/ListAclRules": _VIEW,
    "/graft.v1.AclService/CreateAclRule": _OPERATE,
    "/graft.v1.AclService/UpdateAclRule": _OPERATE,
    "/graft.v1.AclService/MoveAclRule": _OPERATE,
    "/graft.v1.AclService/DeleteAclRule": _OPERATE,
    "/graft.v1.SocketService/GetSocket": _VIEW,
    "/graft.v1.SocketService/ListSockets": _VIEW,
    "/graft.v1.SocketService/WatchSockets": _VIEW,
    "/graft.v1.SocketService/AbortSockets": _OPERATE,
    "/graft.v1.WatchService/Watch": _VIEW,
    "/graft.v1.NodeService/GetVersion": _ANY,
    "/graft.v1.NodeService/GetStatus": _VIEW_NODE,
    "/graft.v1.NodeService/Reconcile": _OPERATE,
    "/graft.v1.NodeService/Freeze": _RULE_NODE,
    "/graft.v1.NodeService/Unfreeze": _RULE_NODE,
    "/graft.v1.NodeService/ListTables": _VIEW_NODE,
    "/graft.v1.NodeService/WatchNode": _VIEW_NODE,
    "/graft.v1.NodeService/Backup": _RULE_NODE,
    "/graft.v1.NodeService/Restore": _RULE_NODE,
    "/grpc.health.v1.Health/Check": _ANY,
    "/grpc.health.v1.Health/Watch": _ANY,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": _ANY,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _ANY,
}
_UNKNOWN = Permission(Role.ADMIN, Scope.NODE)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role that a caller has in these namespaces. node: and over the node."""

    role: Role
    namespaces: tuple[str, ...]
    node: bool

    def covers(self, namespace: str) -> bool:
        return matches(self.namespaces, namespace)

    def at_most(self, role: Role) -> Grant:
        return Grant(min(self.role, role), self.namespaces, self.node)


_ROOT = Grant(Role.ADMIN, (EVERY,), node=True)


class Access:
    """host_cookie: of graftd's own network namespace. registered: the id of the namespace that is PRESENT with this
    cookie, None for none; it is asked with each call, for a namespace may be registered while a caller is connected."""

    def __init__(self, rules: AccessRules, *, host_cookie: int, registered: Callable[[int], str | None]) -> None:
        self._host_cookie = host_cookie
        self._registered = registered
        self.configure(rules)

    def configure(self, rules: AccessRules) -> None:
        """Go by these from now on. Asks the system for users and groups by name, which may block.

        Raises UnknownSubjectError, and goes by those from before.
        """
        bindings = [(_Subjects.of(binding), _grant(binding)) for binding in rules.bindings]
        self._rules = bindings, rules.policies  # at once: calls go on meanwhile

    def roles(self, peer: Peer) -> tuple[Grant, ...]:
        """What the caller has, by this socket."""
        grants = [grant for subjects, grant in self._rules[0] if self._is_one(peer, subjects)]
        if peer.socket_name is SocketName.ADMIN and peer.uid == 0 and self._is_local(peer):
            grants.append(_ROOT)
        if peer.socket_name is SocketName.READ_ONLY:
            return tuple(grant.at_most(Role.VIEWER) for grant in grants)
        return tuple(grants)

    def check(self, peer: Peer, method: str, namespace: str | None, *, least: Role | None = None) -> None:
        """Raise PermissionDeniedError unless the caller may make this call.

        namespace: the id that it is about, whether it is there or not; "-", of calls that read, for every one that the
        caller may see; None for the node. least: a higher role than METHODS says, for what this very request asks for.
        """
        permission = _permission(method, least)
        if not self._allows(peer, permission, namespace):
            raise PermissionDeniedError(
                self._sentence(peer, permission, method, namespace), method=method, role=permission.least.word
            )

    def knows(self, peer: Peer) -> bool:
        """Whether the caller may make any call at all."""
        return bool(self.roles(peer)) or self._home(peer) is not None

    def identity(self, peer: Peer) -> str:
        """Who it is, for what is counted by caller: as bindings tell callers apart, so that nobody becomes another by
        making network namespaces."""
        if peer.netns_cookie is None or self._is_local(peer):
            return peer.subject
        home = self._home(peer)
        return "network namespaces that graftd does not know" if home is None else f"namespace '{home}'"

    def visible(self, peer: Peer, method: str, namespace: str) -> bool:
        """Whether this call, made for "-", may tell of this namespace."""
        return self._allows(peer, _permission(method, None), namespace)

    def policy_for(self, namespace: str) -> Policy | None:
        return next((policy for policy in self._rules[1] if matches(policy.namespaces, namespace)), None)

    def bounds(self, peer: Peer, namespace: str, *, within_policy: bool = False) -> Bounds:
        """What the caller may map in the namespace: an admin anything, unless within_policy, others what its policy
        allows."""
        if not within_policy and any(grant.role is Role.ADMIN for grant in self.roles(peer)):
            return Bounds.none(namespace)
        return Bounds(namespace, self.policy_for(namespace))

    def _allows(self, peer: Peer, permission: Permission, namespace: str | None) -> bool:
        grants = [grant for grant in self.roles(peer) if grant.role >= permission.least]
        if permission.scope is Scope.ANY:
            return bool(grants)
        if permission.scope is Scope.NODE or namespace is None:
            return any(grant.node for grant in grants)
        home = self._home(peer) if permission.own else None
        if namespace == SOME and permission.least is Role.VIEWER:
            return bool(grants) or home is not None
        # A change names one namespace: who may change any is told so by the method.
        return namespace == home or any(grant.covers(namespace) for grant in grants)

    def _is_one(self, peer: Peer, subjects: _Subjects) -> bool:
        if peer.socket_name is SocketName.TLS:
            return not subjects.certificates.isdisjoint(peer.certificate_names)
        if not self._is_local(peer):
            return self._home(peer) in subjects.namespaces
        return peer.uid in subjects.uids or not subjects.gids.isdisjoint((peer.gid, *peer.groups))

    def _is_local(self, peer: Peer) -> bool:
        return peer.netns_cookie == self._host_cookie

    def _home(self, peer: Peer) -> str | None:
        """The registered namespace that the caller is inside of."""
        if peer.netns_cookie is None or self._is_local(peer):
            return None
        return self._registered(peer.netns_cookie)

    def _sentence(self, peer: Peer, permission: Permission, method: str, namespace: str | None) -> str:
        call, role = method.rpartition("/")[2], permission.least.word
        if peer.netns_cookie is not None and not self._is_local(peer):
            home = self._home(peer)
            if home is None:
                return (
                    "the caller is in a network namespace that graftd does not know: "
                    "register it, or call from graftd's own"
                )
            return (
                f"a process inside of the namespace '{home}' may get and list its endpoints alone, and {call} needs "
                f"the role {role}: bind it to the client namespace, or call from graftd's own"
            )
        if peer.socket_name is SocketName.READ_ONLY and permission.least > Role.VIEWER:
            return f"{call} needs the role {role}, and the read-only socket gives no more than viewer: use another"
        if namespace is None or permission.scope is Scope.NODE:
            where = " of every namespace" if permission.least is Role.VIEWER else ""
        else:
            where = "" if namespace == SOME or permission.scope is Scope.ANY else f" in the namespace '{namespace}'"
        return f"{call} needs the role {role}{where}, which {peer.subject} does not have: bind it in the configuration"


@dataclass(frozen=True, slots=True)
class _Subjects:
    uids: frozenset[int | None]
    gids: frozenset[int | None]
    certificates: frozenset[str]
    namespaces: frozenset[str | None]

    @classmethod
    def of(cls, binding: Binding) -> _Subjects:
        return cls(
            uids=frozenset((*binding.uids, *_ids("user", _uid, binding.users))),
            gids=frozenset((*binding.gids, *_ids("group", _gid, binding.groups))),
            certificates=frozenset(binding.certificates),
            namespaces=frozenset(binding.client_namespaces),
        )


def _ids(word: str, find: Callable[[str], int], names: Iterable[str]) -> list[int]:
    found = []
    for name in names:
        try:
            found.append(find(name))
        except KeyError:
            raise UnknownSubjectError(
                f"a binding names the {word} '{name}', and the system has none: create it, or leave it out"
            ) from None
    return found


def _uid(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _gid(name: str) -> int:
    return grp.getgrnam(name).gr_gid


def _grant(binding: Binding) -> Grant:
    node = binding.role is Role.ADMIN or (binding.role is Role.VIEWER and EVERY in binding.namespaces)
    return Grant(binding.role, binding.namespaces, node)


def _permission(method: str, least: Role | None) -> Permission:
    permission = METHODS.get(method, _UNKNOWN)
    if least is None or least <= permission.least:
        return permission
    return Permission(least, permission.scope)
