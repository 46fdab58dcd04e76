# SPDX-License-Identifier: Apache-2.0
"""What a policy lets an operator map."""

from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest

from graft.v1 import errors_pb2
from graftd.access import AccessRules, Binding, Policy, Role
from graftd.api.access import Access
from graftd.api.denials import PolicyDeniedError, PolicyLimitError
from graftd.api.peer import Peer, SocketName
from graftd.api.policy import Bounds
from graftd.api.status import refusal_of
from graftd.model import (
    AclRule,
    Direction,
    Endpoint,
    EndpointType,
    IdRange,
    Network,
    PortRange,
    Protocols,
    Rule,
    TableLimits,
    Verbs,
    Verdict,
)


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


POLICY = Policy(
    name="team",
    namespaces=("team-*",),
    addresses=networks("192.0.2.0/25", "2001:db8::/64"),
    ports=(PortRange(8000, 8099), PortRange(80, 80), PortRange(8100, 8199)),
    protocols=Protocols.TCP,
    unix_names=("team/*",),
    target_namespaces=("edge-?",),
    marks=(7,),
    devices=("eth*",),
    egress=networks("198.51.100.0/25", "198.51.100.128/25", "2001:db8:1::/48"),
    max_endpoints=3,
    max_sockets=70000,
    max_ephemeral=100,
)
EVERYWHERE = networks("0.0.0.0/0", "::/0")


def inet(address: str = "192.0.2.1", low: int = 80, high: int = 0, **values: object) -> Endpoint:
    parsed = ip_address(address)
    kind = EndpointType.IPV4 if parsed.version == 4 else EndpointType.IPV6
    fields = {"protocols": Protocols.TCP, **values}
    return Endpoint("ep", kind, parsed, PortRange(low, high or low), **fields)  # type: ignore[arg-type]


def field_denied(call: Callable[[], None]) -> str:
    """The field at fault; "" where it is allowed."""
    try:
        call()
    except PolicyDeniedError as error:
        return error.field
    return ""


def bounds(**changes: object) -> Bounds:
    values = {name: getattr(POLICY, name) for name in POLICY.__slots__}
    return Bounds("team-a", Policy(**{**values, **changes}))


# Endpoints


@pytest.mark.parametrize(
    ("endpoint", "target", "field"),
    [
        (inet(), "", ""),
        (inet("192.0.2.127", 8000), "", ""),
        (inet("192.0.2.128"), "", "inet.address"),
        (inet("127.0.0.1"), "", "inet.address"),
        (inet("2001:db8::7"), "", ""),
        (inet("2001:db8:0:1::7"), "", "inet.address"),
        (inet("0.0.0.0"), "", "inet.address"),
        (inet("::"), "", "inet.address"),
        (inet(low=81), "", "inet.ports"),
        (inet(low=8000, high=8199), "", ""),  # over two ranges that touch
        (inet(low=8000, high=8200), "", "inet.ports"),
        (inet(low=7999, high=8000), "", "inet.ports"),
        (inet(low=80, high=8000), "", "inet.ports"),
        (inet(low=0), "", "inet.ports"),
        (inet(protocols=Protocols.UDP), "", "inet.protocols"),
        (inet(protocols=Protocols.BOTH), "", "inet.protocols"),
        (inet(mark=7), "", ""),
        (inet(mark=8), "", "inet.mark"),
        (inet(device="eth0"), "", ""),
        (inet(device="lo"), "", "inet.device"),
        (inet(privileged=True), "", "privileged"),
        (inet(), "edge-1", ""),
        (inet(), "edge-10", "target_namespace"),
        (Endpoint("ep", EndpointType.UNIX, path=b"team/x"), "", ""),
        (Endpoint("ep", EndpointType.UNIX, path=b"/run/x"), "", "unix.path"),
        (Endpoint("ep", EndpointType.UNIX, path=b"\xff"), "", "unix.path"),
        (Endpoint("ep", EndpointType(9)), "", "kind"),
    ],
)
def test_an_endpoint_is_inside_of_the_policy_in_every_field(endpoint: Endpoint, target: str, field: str) -> None:
    assert field_denied(lambda: bounds().check_endpoint(endpoint, target)) == field


@pytest.mark.parametrize(
    ("changes", "endpoint", "field"),
    [
        ({"addresses": networks("0.0.0.0/0")}, inet("0.0.0.0"), ""),
        ({"addresses": networks("0.0.0.0/32")}, inet("0.0.0.0"), ""),
        ({"addresses": networks("0.0.0.0/8")}, inet("0.0.0.0"), "inet.address"),
        ({"addresses": networks("::/0")}, inet("::"), "inet.address"),  # which takes IPv4 as well
        ({"addresses": EVERYWHERE}, inet("::"), ""),
        ({"addresses": networks("0.0.0.0/32", "::/128")}, inet("::"), ""),
        ({"addresses": networks("0.0.0.0/32", "::/128")}, inet("::1"), "inet.address"),
        ({"ports": (PortRange.ANY,)}, inet(low=0), ""),
        ({"ports": (PortRange.EVERY,)}, inet(low=0), ""),
        ({"ports": (PortRange.ANY,)}, inet(), "inet.ports"),
        ({"ports": (PortRange(1, 65534),)}, inet(low=0), "inet.ports"),
        ({"privileged": True}, inet(privileged=True), ""),
        ({"marks": None}, inet(mark=4294967295), ""),
        ({"marks": ()}, inet(mark=7), "inet.mark"),
        ({"host_target": False}, inet(), "target_namespace"),
        ({"addresses": ()}, inet(), "inet.address"),
        ({"ports": ()}, inet(), "inet.ports"),
    ],
)
def test_a_policy_allows_what_it_says(changes: dict[str, object], endpoint: Endpoint, field: str) -> None:
    assert field_denied(lambda: bounds(**changes).check_endpoint(endpoint, "")) == field


# Rules


@pytest.mark.parametrize(
    ("direction", "verdict", "network", "field"),
    [
        (Direction.EGRESS, Verdict.ENDPOINT, "198.51.100.7/32", ""),
        (Direction.EGRESS, Verdict.ENDPOINT, "198.51.100.0/24", ""),  # two prefixes that are one
        (Direction.EGRESS, Verdict.ENDPOINT, "198.51.101.0/24", "network"),
        (Direction.EGRESS, Verdict.ENDPOINT, "198.51.100.0/23", "network"),
        (Direction.EGRESS, Verdict.ENDPOINT, "2001:db8:1:2::/64", ""),
        (Direction.EGRESS, Verdict.ENDPOINT, "2001:db8::/32", "network"),
        (Direction.EGRESS, Verdict.ENDPOINT, None, "network"),
        (Direction.EGRESS, Verdict.NATIVE, None, ""),
        (Direction.EGRESS, Verdict.DENY, None, ""),
        (Direction.INGRESS, Verdict.ENDPOINT, None, ""),
    ],
)
def test_an_egress_rule_leads_no_further_than_the_policy(
    direction: Direction, verdict: Verdict, network: str | None, field: str
) -> None:
    name = "ep" if verdict is Verdict.ENDPOINT else ""
    rule = Rule(direction, verdict, ip_network(network) if network else None, endpoint=name)
    assert field_denied(lambda: bounds().check_rule(rule)) == field


def test_every_address_is_both_families() -> None:
    rule = Rule(Direction.EGRESS, Verdict.ENDPOINT, endpoint="ep")
    assert field_denied(lambda: bounds(egress=networks("0.0.0.0/0")).check_rule(rule)) == "network"
    assert field_denied(lambda: bounds(egress=networks("::/0")).check_rule(rule)) == "network"
    assert field_denied(lambda: bounds(egress=EVERYWHERE).check_rule(rule)) == ""


# ACLs

INSIDE, OUTSIDE = networks("198.51.100.0/24", "192.0.2.0/24")


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (AclRule(allow=True, network=INSIDE), ""),
        (AclRule(allow=True, network=OUTSIDE), "network"),
        (AclRule(allow=True), "network"),
        (AclRule(allow=True, verbs=Verbs.CONNECT), "network"),
        (AclRule(allow=True, verbs=Verbs.LISTEN), ""),  # has no destination
        (AclRule(allow=True, network=INSIDE, local=True), "local"),
        (AclRule(allow=False), ""),
        (AclRule(allow=False, network=OUTSIDE), ""),
    ],
)
def test_an_acl_rule_allows_no_more_than_the_policy(rule: AclRule, field: str) -> None:
    assert field_denied(lambda: bounds().check_acl_rule(rule)) == field


def test_a_policy_may_allow_the_targets_own_addresses() -> None:
    assert (
        field_denied(lambda: bounds(local=True).check_acl_rule(AclRule(allow=True, network=INSIDE, local=True))) == ""
    )


ONE = IdRange(1, 1)


@pytest.mark.parametrize(
    ("acl", "protocols", "closed"),
    [
        ([], Protocols.TCP, False),
        # Whoever is named by a rule that allows is closed but for what such rules say.
        ([AclRule(allow=True, network=INSIDE)], Protocols.TCP, True),
        ([AclRule(allow=True, endpoint="ep", network=INSIDE)], Protocols.BOTH, True),
        ([AclRule(allow=True, endpoint="other", network=INSIDE)], Protocols.TCP, False),
        # Leave to listen is leave to answer anybody.
        ([AclRule(allow=True, verbs=Verbs.LISTEN)], Protocols.UDP, False),
        ([AclRule(allow=False)], Protocols.BOTH, True),
        ([AclRule(allow=False, endpoint="ep", verbs=Verbs.CONNECT)], Protocols.BOTH, True),
        ([AclRule(allow=False, ports=PortRange.EVERY)], Protocols.TCP, True),
        ([AclRule(allow=False, endpoint="other")], Protocols.TCP, False),
        ([AclRule(allow=False, verbs=Verbs.LISTEN)], Protocols.TCP, False),
        ([AclRule(allow=False, network=OUTSIDE)], Protocols.TCP, False),
        ([AclRule(allow=False, ports=PortRange(1, 65534))], Protocols.TCP, False),
        ([AclRule(allow=False, uids=ONE)], Protocols.TCP, False),
        ([AclRule(allow=False, gids=ONE)], Protocols.TCP, False),
        ([AclRule(allow=False, protocols=Protocols.TCP)], Protocols.TCP, True),
        ([AclRule(allow=False, protocols=Protocols.TCP)], Protocols.BOTH, False),
        ([AclRule(allow=False, uids=ONE), AclRule(allow=True, network=INSIDE)], Protocols.TCP, True),
    ],
)
def test_an_endpoint_that_may_connect_anywhere_is_refused(
    acl: list[AclRule], protocols: Protocols, closed: bool
) -> None:
    endpoint = inet(protocols=protocols)
    assert field_denied(lambda: bounds().check_closed(endpoint, acl)) == ("" if closed else "name")
    assert field_denied(lambda: bounds(egress=EVERYWHERE).check_closed(endpoint, acl)) == ""


def test_a_policy_of_all_destinations_asks_for_no_acl() -> None:
    assert bounds().closes
    assert Bounds("web", None).closes
    assert not bounds(egress=EVERYWHERE).closes
    assert not Bounds.none("web").closes


def test_a_unix_endpoint_has_no_destinations() -> None:
    assert field_denied(lambda: bounds().check_closed(Endpoint("ep", EndpointType.UNIX, path=b"x"), [])) == ""


# Limits


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        (TableLimits(70000, 100, 3), ""),
        (TableLimits(70001, 100, 3), "limits.max_sockets"),
        (TableLimits(0, 101, 3), "limits.max_ephemeral"),
        (TableLimits(0, 0, 4), "limits.max_endpoints"),
        # What is not said is the module's default: 65536 sockets, 16384 ports, 131072 endpoints.
        (TableLimits(None, 100, 3), ""),
        (TableLimits(0, None, 3), "limits.max_ephemeral"),
        (TableLimits(0, 0, None), "limits.max_endpoints"),
    ],
)
def test_a_namespaces_limits_stay_below_the_policys(limits: TableLimits, field: str) -> None:
    assert field_denied(lambda: bounds().check_limits(limits)) == field
    unlimited = bounds(max_sockets=None, max_ephemeral=None, max_endpoints=None)
    assert field_denied(lambda: unlimited.check_limits(limits)) == ""


def test_a_policy_counts_endpoints() -> None:
    bounds().check_count(3)
    bounds(max_endpoints=None).check_count(10**6)
    assert bounds().counts
    assert not bounds(max_endpoints=None).counts
    assert Bounds("web", None).counts
    with pytest.raises(PolicyLimitError) as raised:
        bounds().check_count(4)
    assert str(raised.value) == (
        "policy 'team' allows 3 endpoints in the namespace 'team-a', and these would be 4: "
        "delete some, or have an admin raise max_endpoints"
    )
    refusal = refusal_of(raised.value)
    assert refusal.reason == errors_pb2.ERROR_REASON_LIMIT_REACHED
    assert refusal.metadata == {"policy": "team", "limit": "max_endpoints", "value": "3"}


# Whose policy


def access(*policies: Policy) -> Access:
    bindings = (
        Binding(role=Role.OPERATOR, uids=(1,), namespaces=("*",)),
        Binding(role=Role.ADMIN, uids=(2,)),
    )
    return Access(AccessRules(bindings, policies), host_cookie=1, registered=lambda _cookie: None)


def user(uid: int) -> Peer:
    return Peer(socket_name=SocketName.READ_WRITE, uid=uid, gid=uid, netns_cookie=1)


def test_the_first_policy_that_covers_a_namespace_counts_alone() -> None:
    wide = Policy(name="wide", namespaces=("*",), addresses=EVERYWHERE, ports=(PortRange.EVERY,))
    checked = access(POLICY, wide)
    assert [checked.policy_for(name) for name in ("team-a", "web")] == [POLICY, wide]
    elsewhere = inet("203.0.113.1")
    assert field_denied(lambda: checked.bounds(user(1), "web").check_endpoint(elsewhere, "")) == ""
    assert field_denied(lambda: checked.bounds(user(1), "team-a").check_endpoint(elsewhere, "")) == "inet.address"


CALLS: dict[str, Callable[[Bounds], None]] = {
    "endpoint": lambda some: some.check_endpoint(
        inet("127.0.0.1", 0, mark=1, device="x", privileged=True, protocols=Protocols.BOTH), "any"
    ),
    "unix endpoint": lambda some: some.check_endpoint(Endpoint("ep", EndpointType.UNIX, path=b"\xff\n"), ""),
    "rule": lambda some: some.check_rule(Rule(Direction.EGRESS, Verdict.ENDPOINT, endpoint="ep")),
    "native rule": lambda some: some.check_rule(Rule(Direction.INGRESS, Verdict.NATIVE)),
    "ACL rule": lambda some: some.check_acl_rule(AclRule(allow=True, local=True)),
    "ACL rule that denies": lambda some: some.check_acl_rule(AclRule(allow=False)),
    "open endpoint": lambda some: some.check_closed(inet("::"), []),
    "limits": lambda some: some.check_limits(TableLimits(2**32 - 1, 2**32 - 1, 2**32 - 1)),
    "count": lambda some: some.check_count(10**6),
}


@pytest.mark.parametrize("call", CALLS)
def test_without_a_policy_an_operator_maps_nothing_and_an_admin_anything(call: str) -> None:
    CALLS[call](access(POLICY).bounds(user(2), "team-a"))
    CALLS[call](access().bounds(user(2), "web"))
    with pytest.raises(PolicyDeniedError, match="no policy covers the namespace 'web', and without one nobody"):
        CALLS[call](access(POLICY).bounds(user(1), "web"))


def test_a_denial_says_what_is_allowed() -> None:
    with pytest.raises(PolicyDeniedError) as raised:
        bounds().check_endpoint(inet(low=81, high=90), "")
    assert str(raised.value) == (
        "policy 'team' does not allow port 81-90 in the namespace 'team-a'; allowed: 8000-8099, 80, 8100-8199"
    )
    refusal = refusal_of(raised.value)
    assert refusal.reason == errors_pb2.ERROR_REASON_POLICY_DENIED
    assert refusal.metadata == {"policy": "team", "field": "inet.ports"}
    with pytest.raises(PolicyDeniedError, match="an endpoint 'ep' that may connect anywhere in the namespace"):
        bounds().check_closed(inet(), [])
