# SPDX-License-Identifier: Apache-2.0
"""Who may make which call: every caller and every call of the contract, and what bindings mean."""

import grp
import importlib
import os
import pkgutil
import pwd
import re
from ipaddress import ip_address

import pytest
from google.protobuf.descriptor import FileDescriptor

import graft.grpc
import graft.v1
from graft.v1 import errors_pb2
from graftd.access import AccessRules, Binding, Policy, Role, UnknownSubjectError
from graftd.api.access import METHODS, SOME, Access, Grant
from graftd.api.denials import PermissionDeniedError
from graftd.api.peer import Peer, SocketName
from graftd.api.status import refusal_of

HOST = 1
REGISTERED = {2: "web", 3: "db", 4: "tool"}
RULES = AccessRules(
    bindings=(
        Binding(role=Role.VIEWER, uids=(1001,), namespaces=("web",)),
        Binding(role=Role.VIEWER, uids=(1002,), namespaces=("*",)),
        Binding(role=Role.OPERATOR, gids=(2001,), namespaces=("web",)),
        Binding(role=Role.OPERATOR, gids=(2002,), namespaces=("*",)),
        Binding(role=Role.ADMIN, uids=(1003,)),
        Binding(role=Role.OPERATOR, client_namespaces=("tool",), namespaces=("web",)),
        Binding(role=Role.OPERATOR, certificates=("orchestrator",), namespaces=("web",)),
    )
)


def unix(uid: int, cookie: int = HOST, name: SocketName = SocketName.READ_WRITE, groups: tuple[int, ...] = ()) -> Peer:
    return Peer(socket_name=name, pid=7, uid=uid, gid=uid, groups=groups, netns_cookie=cookie)


def access(rules: AccessRules = RULES) -> Access:
    return Access(rules, host_cookie=HOST, registered=REGISTERED.get)


# The columns of the table.
CALLERS = {
    # Bound to the role viewer, in `web` and in every namespace.
    "viewer": unix(1001),
    "viewer*": unix(1002),
    # Bound to the role operator, likewise, by a supplementary group.
    "oper": unix(1, groups=(5, 2001)),
    "oper*": unix(1, groups=(2002,)),
    # Bound to the role admin; the same on the read-only socket; root on the admin socket.
    "admin": unix(1003),
    "ro": unix(1003, name=SocketName.READ_ONLY),
    "root": unix(0, name=SocketName.ADMIN),
    # With a client certificate that is bound to the role operator in `web`.
    "cert": Peer(socket_name=SocketName.TLS, certificate_names=("x", "orchestrator"), address=ip_address("192.0.2.1")),
    # Root inside of the container `web`, on the admin socket; inside of `tool`, which is bound to operate `web`.
    "in-web": unix(0, 2, SocketName.ADMIN),
    "in-tool": unix(0, 4, SocketName.ADMIN),
}
# Who may do nothing at all.
STRANGERS = {
    "a user without a binding": unix(1),
    "root on the read-write socket": unix(0),
    "root on the read-only socket": unix(0, name=SocketName.READ_ONLY),
    "another user on the admin socket": unix(1, name=SocketName.ADMIN),
    "root of a namespace that is not registered": unix(0, 9, SocketName.ADMIN),
    "an admin in a namespace that is not registered": unix(1003, 9),
    "a certificate without a binding": Peer(socket_name=SocketName.TLS, certificate_names=("x",)),
    "a certificate that is called as a user's number": Peer(socket_name=SocketName.TLS, certificate_names=("1003",)),
}

# What the calls may be made for: w the namespace `web`, o another one, - all that the caller may see, n the node.
TABLE = """
call                                          viewer viewer* oper oper* admin ro   root cert in-web in-tool
NamespaceService/GetNamespace                 w-     wo-n    w-   wo-   wo-n  wo-n wo-n w-   .      w-
NamespaceService/ListNamespaces               w-     wo-n    w-   wo-   wo-n  wo-n wo-n w-   .      w-
NamespaceService/CreateNamespace              .      .       .    .     wo-n  .    wo-n .    .      .
NamespaceService/UpdateNamespace              .      .       w    wo-   wo-n  .    wo-n w    .      w
NamespaceService/DeleteNamespace              .      .       .    .     wo-n  .    wo-n .    .      .
NamespaceService/ExportNamespace              w-     wo-n    w-   wo-   wo-n  wo-n wo-n w-   .      w-
NamespaceService/ApplyNamespace               .      .       w    wo-   wo-n  .    wo-n w    .      w
NamespaceService/ImportNamespace              .      .       .    .     wo-n  .    wo-n .    .      .
NamespaceService/FreezeNamespace              .      .       w    wo-   wo-n  .    wo-n w    .      w
NamespaceService/UnfreezeNamespace            .      .       w    wo-   wo-n  .    wo-n w    .      w
EndpointService/GetEndpoint                   w-     wo-n    w-   wo-   wo-n  wo-n wo-n w-   w-     w-
EndpointService/ListEndpoints                 w-     wo-n    w-   wo-   wo-n  wo-n wo-n w-   w-     w-
EndpointService/CreateEndpoint                .      .       w    wo-   wo-n  .    wo-n w    .      w
EndpointService/BatchCreateEndpoints          .      .       w    wo-   wo-n  .    wo-n w    .      w
EndpointService/UpdateEndpoint                .      .       w    wo-   wo-n  .    wo-n w    .      w
EndpointService/DeleteEndpoint                .      .       w    wo-   wo-n  .    wo-n w    .      w
RuleService/GetRule                           w-     wo-n    w-   wo-   wo-n  wo-n wo-n w-   .      w-
RuleService/ListRules                         w-     wo-n    w-   wo-   wo-n  wo-n wo-n w-   .      w-
RuleService/CreateRule                        .      .       w    wo-   wo-n  .    wo-n w    .      w
RuleService/UpdateRule                        .      .       w    wo-   wo-n  .    wo-n w    .      w
RuleService/DeleteRule                        .      .       w    wo-   wo-n  .    wo-n w    .      w
AclService/GetAclRule                         w-     wo-n    w-   wo-   wo-n  wo-n wo-n w-   .      w-
AclService/ListAclRules                       w-     wo-n    w-   wo-   wo-n  wo-n wo-n w-   .      w-
AclService/CreateAclRule                      .      .       w    wo-   wo-n  .    wo-n w    .      w
AclService/UpdateAclRule                      .      .       w    wo-   wo-n  .    wo-n w    .      w
AclService/MoveAclRule                        .      .       w    wo-   wo-n  .    wo-n w    .      w
AclService/DeleteAclRule                      .      .       w    wo-   wo-n  .    wo-n w    .      w
SocketService/GetSocket                       w-     wo-n    w-   wo-   wo-n  wo-n wo-n w-   .      w-
SocketService/ListSockets                     w-     wo-n    w-   wo-   wo-n  wo-n wo-n w-   .      w-
SocketService/WatchSockets                    w-     wo-n    w-   wo-   wo-n  wo-n wo-n w-   .      w-
SocketService/AbortSockets                    .      .       w    wo-   wo-n  .    wo-n w    .      w
WatchService/Watch                            w-     wo-n    w-   wo-   wo-n  wo-n wo-n w-   .      w-
NodeService/GetVersion                        wo-n   wo-n    wo-n wo-n  wo-n  wo-n wo-n wo-n .      wo-n
NodeService/GetStatus                         .      wo-n    .    .     wo-n  wo-n wo-n .    .      .
NodeService/Reconcile                         .      .       w    wo-   wo-n  .    wo-n w    .      w
NodeService/Freeze                            .      .       .    .     wo-n  .    wo-n .    .      .
NodeService/Unfreeze                          .      .       .    .     wo-n  .    wo-n .    .      .
NodeService/ListTables                        .      wo-n    .    .     wo-n  wo-n wo-n .    .      .
NodeService/WatchNode                         .      wo-n    .    .     wo-n  wo-n wo-n .    .      .
NodeService/Backup                            .      .       .    .     wo-n  .    wo-n .    .      .
NodeService/Restore                           .      .       .    .     wo-n  .    wo-n .    .      .
Health/Check                                  wo-n   wo-n    wo-n wo-n  wo-n  wo-n wo-n wo-n .      wo-n
Health/Watch                                  wo-n   wo-n    wo-n wo-n  wo-n  wo-n wo-n wo-n .      wo-n
v1.ServerReflection/ServerReflectionInfo      wo-n   wo-n    wo-n wo-n  wo-n  wo-n wo-n wo-n .      wo-n
v1alpha.ServerReflection/ServerReflectionInfo wo-n   wo-n    wo-n wo-n  wo-n  wo-n wo-n wo-n .      wo-n
"""
PLACES = {"w": "web", "o": "other", "-": SOME, "n": None}
HEAD, *ROWS = TABLE.strip().splitlines()


def allows(checked: Access, peer: Peer, method: str, namespace: str | None) -> bool:
    try:
        checked.check(peer, method, namespace)
    except PermissionDeniedError:
        return False
    return True


def reach(checked: Access, peer: Peer, method: str) -> str:
    return "".join(mark for mark, place in PLACES.items() if allows(checked, peer, method, place)) or "."


def full(call: str) -> str:
    (method,) = [one for one in METHODS if one.endswith(f".{call}")]
    return method


@pytest.mark.parametrize("row", [pytest.param(row, id=row.split()[0]) for row in ROWS])
def test_each_caller_may_make_the_calls_of_its_role_and_no_others(row: str) -> None:
    call, *expected = row.split()
    found = [reach(access(), peer, full(call)) for peer in CALLERS.values()]
    assert dict(zip(CALLERS, found, strict=True)) == dict(zip(HEAD.split()[1:], expected, strict=True))


@pytest.mark.parametrize("who", CALLERS)
def test_whoever_may_call_anything_is_known(who: str) -> None:
    assert access().knows(CALLERS[who])


def test_the_table_has_every_call() -> None:
    assert HEAD.split()[1:] == [*CALLERS]
    assert sorted(full(row.split()[0]) for row in ROWS) == sorted(METHODS)


def files(package: object) -> list[FileDescriptor]:
    paths, name = package.__path__, package.__name__  # type: ignore[attr-defined]
    found = [one.name for one in pkgutil.walk_packages(paths, f"{name}.") if one.name.endswith("_pb2")]
    return [importlib.import_module(one).DESCRIPTOR for one in found]


def test_every_method_of_the_contract_has_its_permission_and_nothing_else_has() -> None:
    served = [
        importlib.import_module(f"graft.grpc.{name}_pb2").DESCRIPTOR
        for name in ("health.v1.health", "reflection.v1.reflection", "reflection.v1alpha.reflection")
    ]
    described = {
        f"/{service.full_name}/{method.name}"
        for file in (*files(graft.v1), *served)
        for service in file.services_by_name.values()
        for method in service.methods
    }
    assert described == set(METHODS)
    assert len(described) == 45


@pytest.mark.parametrize("who", STRANGERS)
def test_whoever_was_given_nothing_may_do_nothing(who: str) -> None:
    for method in (*METHODS, "/graft.v1.EndpointService/Unheard", "/other.Service/Call", ""):
        assert reach(access(), STRANGERS[who], method) == "."
    assert access().roles(STRANGERS[who]) == ()
    assert not access().knows(STRANGERS[who])
    assert not access().visible(STRANGERS[who], full("EndpointService/ListEndpoints"), "web")


def test_a_call_that_nobody_heard_of_is_an_admins() -> None:
    assert reach(access(), CALLERS["oper*"], "/graft.v1.EndpointService/Unheard") == "."
    assert reach(access(), CALLERS["admin"], "/graft.v1.EndpointService/Unheard") == "wo-n"


def test_the_read_only_socket_makes_nobody_more() -> None:
    """An operator has no right to the node, and does not get a viewer's there."""
    reader = unix(1, name=SocketName.READ_ONLY, groups=(2002,))
    assert reach(access(), reader, full("EndpointService/GetEndpoint")) == "wo-"
    assert reach(access(), reader, full("EndpointService/CreateEndpoint")) == "."
    assert reach(access(), reader, full("NodeService/GetStatus")) == "."


def test_graftds_own_namespace_is_nobodys_container() -> None:
    checked = Access(RULES, host_cookie=HOST, registered=lambda _cookie: "web")
    assert reach(checked, unix(1), full("EndpointService/ListEndpoints")) == "."


# What is seen


@pytest.mark.parametrize(
    ("caller", "call", "seen"),
    [
        ("viewer", "EndpointService/ListEndpoints", ["web"]),
        ("viewer*", "NamespaceService/ListNamespaces", ["web", "db", "other"]),
        ("oper", "WatchService/Watch", ["web"]),
        ("ro", "RuleService/ListRules", ["web", "db", "other"]),
        ("in-web", "EndpointService/ListEndpoints", ["web"]),
        ("in-web", "NamespaceService/ListNamespaces", []),
        ("in-web", "WatchService/Watch", []),
        ("in-tool", "EndpointService/ListEndpoints", ["web"]),
        ("cert", "SocketService/WatchSockets", ["web"]),
    ],
)
def test_a_list_over_all_shows_what_the_caller_may_see(caller: str, call: str, seen: list[str]) -> None:
    checked = access()
    names = ["web", "db", "other"]
    assert [name for name in names if checked.visible(CALLERS[caller], full(call), name)] == seen


def test_a_process_in_a_container_sees_its_own_endpoints_and_its_binding_adds_to_them() -> None:
    checked = access()
    method = full("EndpointService/ListEndpoints")
    tool = CALLERS["in-tool"]
    assert [name for name in ("web", "db", "tool") if checked.visible(tool, method, name)] == ["web", "tool"]
    assert not checked.visible(tool, full("RuleService/ListRules"), "tool")


def test_a_namespace_that_is_registered_later_counts_from_then_on() -> None:
    known: dict[int, str] = {}
    checked = Access(RULES, host_cookie=HOST, registered=known.get)
    method = full("EndpointService/ListEndpoints")
    assert reach(checked, CALLERS["in-web"], method) == "."
    known[2] = "web"
    assert reach(checked, CALLERS["in-web"], method) == "w-"
    del known[2]
    assert reach(checked, CALLERS["in-web"], method) == "."


# What bindings mean


def bound(role: Role = Role.OPERATOR, namespaces: tuple[str, ...] = ("web",), **subjects: tuple[object, ...]) -> Access:
    return access(AccessRules(bindings=(Binding(role=role, namespaces=namespaces, **subjects),)))  # type: ignore[arg-type]


def test_users_and_groups_are_bound_by_name() -> None:
    user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(os.getgid())
    by_user = bound(users=(user.pw_name,))
    assert by_user.roles(unix(user.pw_uid)) == (Grant(Role.OPERATOR, ("web",), node=False),)
    assert by_user.roles(unix(user.pw_uid + 1)) == ()
    by_group = bound(groups=(group.gr_name,))
    assert by_group.roles(unix(5, groups=(9, group.gr_gid))) != ()
    assert by_group.roles(unix(5, groups=(9, group.gr_gid + 1))) == ()


def test_a_primary_group_counts_as_well() -> None:
    assert bound(gids=(7,)).roles(unix(7)) != ()
    assert bound(gids=(7,)).roles(unix(8)) == ()


@pytest.mark.parametrize(
    ("subjects", "sentence"),
    [
        ({"users": ("nobody-is-called-so",)}, "the user 'nobody-is-called-so', and the system has none: create it"),
        ({"groups": ("nobody-is-called-so",)}, "the group 'nobody-is-called-so', and the system has none: create it"),
    ],
)
def test_a_subject_that_is_not_there_is_refused_and_the_old_rules_stay(
    subjects: dict[str, tuple[str, ...]], sentence: str
) -> None:
    checked = access()
    rules = AccessRules(bindings=(Binding(role=Role.ADMIN, **subjects),))  # type: ignore[arg-type]
    with pytest.raises(UnknownSubjectError, match=sentence):
        checked.configure(rules)
    assert allows(checked, CALLERS["viewer"], full("EndpointService/GetEndpoint"), "web")


def test_new_rules_hold_at_once() -> None:
    checked = access()
    checked.configure(AccessRules(bindings=(Binding(role=Role.VIEWER, uids=(1,), namespaces=("db",)),)))
    method = full("RuleService/GetRule")
    assert not allows(checked, CALLERS["viewer"], method, "web")
    assert not allows(checked, CALLERS["admin"], method, "web")
    assert allows(checked, CALLERS["root"], method, "web")
    assert allows(checked, unix(1), method, "db")


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("team-*", ["team-a", "team-b.1"]),
        ("team-?", ["team-a"]),
        ("[tw]e*", ["team-a", "team-b.1", "web"]),
        ("web", ["web"]),
        ("*", ["team-a", "team-b.1", "web", "Web"]),
    ],
)
def test_namespaces_are_bound_by_pattern(pattern: str, covered: list[str]) -> None:
    checked = bound(uids=(1,), namespaces=(pattern,))
    names = ["team-a", "team-b.1", "web", "Web"]
    method = full("EndpointService/CreateEndpoint")
    assert [name for name in names if allows(checked, unix(1), method, name)] == covered


def test_several_bindings_add_up_each_in_its_namespaces() -> None:
    rules = AccessRules(
        bindings=(
            Binding(role=Role.VIEWER, uids=(1,), namespaces=("*",)),
            Binding(role=Role.OPERATOR, uids=(1,), namespaces=("web",)),
        )
    )
    checked = access(rules)
    assert reach(checked, unix(1), full("EndpointService/CreateEndpoint")) == "w"
    assert reach(checked, unix(1), full("EndpointService/GetEndpoint")) == "wo-n"
    assert reach(checked, unix(1), full("NodeService/GetStatus")) == "wo-n"


def test_a_request_may_need_more_than_its_method() -> None:
    """An update that changes a selector is an admin's."""
    checked = access()
    method = full("NamespaceService/UpdateNamespace")
    checked.check(CALLERS["oper"], method, "web")
    checked.check(CALLERS["admin"], method, "web", least=Role.ADMIN)
    with pytest.raises(PermissionDeniedError, match="UpdateNamespace needs the role admin in the namespace 'web'"):
        checked.check(CALLERS["oper"], method, "web", least=Role.ADMIN)
    with pytest.raises(PermissionDeniedError, match="needs the role operator"):
        checked.check(CALLERS["viewer"], method, "web", least=Role.VIEWER)


# What is said


@pytest.mark.parametrize(
    ("peer", "call", "namespace", "role", "sentence"),
    [
        (
            unix(1),
            "EndpointService/CreateEndpoint",
            "web",
            "operator",
            "CreateEndpoint needs the role operator in the namespace 'web', which uid 1 does not have: bind it in",
        ),
        (
            unix(1),
            "NodeService/GetStatus",
            None,
            "viewer",
            "GetStatus needs the role viewer of every namespace, which uid 1 does not have: bind it in the",
        ),
        (
            CALLERS["cert"],
            "NodeService/Freeze",
            None,
            "admin",
            "Freeze needs the role admin, which certificate x, orchestrator does not have: bind it in the",
        ),
        (
            CALLERS["ro"],
            "EndpointService/CreateEndpoint",
            "web",
            "operator",
            "CreateEndpoint needs the role operator, and the read-only socket gives no more than viewer: use another",
        ),
        (
            CALLERS["in-web"],
            "RuleService/ListRules",
            "web",
            "viewer",
            "a process inside of the namespace 'web' may get and list its endpoints alone, and ListRules needs the",
        ),
        (
            unix(0, 9, SocketName.ADMIN),
            "EndpointService/ListEndpoints",
            SOME,
            "viewer",
            "the caller is in a network namespace that graftd does not know: register it, or call from graftd's own",
        ),
    ],
)
def test_a_denial_says_what_would_be_right(
    peer: Peer, call: str, namespace: str | None, role: str, sentence: str
) -> None:
    with pytest.raises(PermissionDeniedError, match=f"^{re.escape(sentence)}") as raised:
        access().check(peer, full(call), namespace)
    refusal = refusal_of(raised.value)
    assert refusal.reason == errors_pb2.ERROR_REASON_ROLE_REQUIRED
    assert refusal.metadata == {"method": full(call), "role": role}


# Values


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"role": Role.ADMIN}, "a binding of the role admin is for nobody: name uids"),
        (
            {"role": Role.OPERATOR, "uids": (1,)},
            "a binding of the role operator names its namespaces; '\\*' would be every",
        ),
        ({"role": Role.VIEWER, "uids": (1,)}, "a binding of the role viewer names its namespaces"),
        ({"role": Role.ADMIN, "uids": (1,), "namespaces": ("web",)}, "an admin's namespaces are every one: leave"),
        ({"role": Role.VIEWER, "uids": (-1,), "namespaces": ("*",)}, "-1 is no id of a user or group"),
        ({"role": Role.VIEWER, "gids": (2**32 - 1,), "namespaces": ("*",)}, "4294967295 is no id of a user or group"),
        ({"role": Role.VIEWER, "users": ("",), "namespaces": ("*",)}, "an empty name is nobody's: leave it out"),
        ({"role": Role.VIEWER, "uids": (1,), "namespaces": ("a/b",)}, "'a/b' matches no namespace"),
        ({"role": Role.VIEWER, "uids": (1,), "namespaces": ("",)}, "'' matches no namespace"),
        ({"role": Role.VIEWER, "client_namespaces": ("a*",), "namespaces": ("*",)}, r"'a\*' cannot name a namespace"),
    ],
)
def test_a_binding_that_means_nothing_is_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Binding(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"namespaces": ()}, "policy 'p' covers nothing: name its namespaces"),
        ({"namespaces": ("a b",)}, "'a b' matches no namespace"),
        ({"name": "a/b"}, "'a/b' cannot name a policy"),
        ({"marks": (-1,)}, "-1 is out of range in policy 'p': 0 to 4294967295 can be"),
        ({"max_endpoints": 2**32}, "4294967296 is out of range in policy 'p'"),
    ],
)
def test_a_policy_that_means_nothing_is_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Policy(**{"name": "p", "namespaces": ("*",), **values})  # type: ignore[arg-type]


def test_policies_have_names_of_their_own() -> None:
    twice = (Policy(name="p", namespaces=("a",)), Policy(name="p", namespaces=("b",)))
    with pytest.raises(ValueError, match="2 policies are called 'p': give each a name of its own"):
        AccessRules(policies=twice)
