# SPDX-License-Identifier: Apache-2.0
"""Checks of endpoints, rules and ACL rules against each other. Nothing here asks anybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import collapse_addresses, ip_network

from graft_client import messages as m
from graftcli import text
from graftcli.doctor.facts import Facts
from graftcli.doctor.finding import ERROR, WARNING, Finding
from graftcli.session import last

_EVERYWHERE = ("0.0.0.0/0", "::/0")


def rules(facts: Facts) -> Iterator[Finding]:
    """Whether each rule's endpoint is there and can serve what the rule matches."""
    for name, export in facts.exports.items():
        endpoints = {last(one.name): one for one in export.endpoints.endpoints}
        for rule in export.rules.rules:
            if rule.endpoint:
                yield from _rule(last(name), rule, endpoints)


def _rule(where: str, rule: m.Rule, endpoints: dict[str, m.Endpoint]) -> Iterator[Finding]:
    subject = f"{where} rule {last(rule.name)}"
    update = f"graftcli -n {where} update-rule {last(rule.name)}"
    endpoint = endpoints.get(rule.endpoint)
    if endpoint is None:
        cause = f"it names endpoint {rule.endpoint}, which is not there, so what it matches is refused"
        remedy = f"graftcli -n {where} add-endpoint {rule.endpoint} --address ADDRESS --port PORT, or {update}"
        yield Finding(ERROR, "endpoint-missing", subject, f"{cause} ({text.rule(rule)})", remedy)
        return
    if endpoint.WhichOneof("kind") == "unix":
        cause = f"endpoint {rule.endpoint} is of type unix, and rules give it TCP and UDP sockets alone"
        yield Finding(ERROR, "rule-family", subject, cause, f"{update} --endpoint NAME")
        return
    version = 6 if ":" in endpoint.inet.address else 4
    if rule.network and ip_network(rule.network).version != version:
        cause = f"its prefix {rule.network} is no IPv{version}, and endpoint {rule.endpoint} is: no socket gets through"
        yield Finding(ERROR, "rule-family", subject, cause, f"{update} --endpoint NAME")
    if _protocols(rule.protocols).isdisjoint(_protocols(endpoint.inet.protocols)):
        cause = (
            f"it matches {text.set_words(rule, 'protocols', 'both')} alone, and endpoint {rule.endpoint} serves"
            f" {text.set_words(endpoint.inet, 'protocols', 'both')}: no socket gets through"
        )
        yield Finding(ERROR, "rule-protocol", subject, cause, f"{update} --protocol both")
    elif rule.direction == m.RULE_DIRECTION_INGRESS and _misses(rule, endpoint.inet.ports):
        cause = (
            f"it matches port {text.ports(rule.ports)}, which is outside endpoint {rule.endpoint}'s"
            f" {text.ports(endpoint.inet.ports)}, so every bind is refused"
        )
        remedy = f"{update} --port {text.ports(endpoint.inet.ports)}"
        yield Finding(ERROR, "rule-port", subject, cause, remedy)


def _protocols(given: Iterable[int]) -> set[int]:
    return set(given) or {m.PROTOCOL_TCP, m.PROTOCOL_UDP}


def _misses(rule: m.Rule, served: m.PortRange) -> bool:
    """Whether no port that it matches is one of an endpoint's. One that has a single port gives that to whoever binds;
    port 0, and any, are every one's."""
    low, high = text.matched(rule)
    return low > 0 and served.high > served.low and (high < served.low or served.high < low)


def dead_rules(facts: Facts) -> Iterator[Finding]:
    """Rules in whose place others decide every time: of longer prefixes, or of narrower ports."""
    for name, export in facts.exports.items():
        found = list(export.rules.rules)
        for rule in found:
            over = _overruled(rule, [one for one in found if one is not rule and one.direction == rule.direction])
            if over:
                yield Finding(
                    WARNING,
                    "rule-dead",
                    f"{last(name)} rule {last(rule.name)}",
                    f"it can never match ({text.rule(rule)}): {', '.join(last(one.name) for one in over)} come first,"
                    " by a longer prefix or narrower ports",
                    f"graftcli -n {last(name)} delete-rule {last(rule.name)}, or change the others",
                )


def _overruled(rule: m.Rule, others: Sequence[m.Rule]) -> list[m.Rule]:
    """The rules that leave it nothing; none where something is left."""
    able = [one for one in others if _protocols(one.protocols) >= _protocols(rule.protocols)]
    same = [one for one in able if one.network == rule.network and _narrower(one, rule)]
    if _covers([text.matched(one) for one in same], text.matched(rule)):
        return same
    longer = [one for one in able if one.network and _within(one.network, rule.network) and _around(one, rule)]
    left = (rule.network,) if rule.network else _EVERYWHERE
    networks = [ip_network(one.network) for one in longer]
    for prefix in left:
        wanted = ip_network(prefix)
        alike = [one for one in networks if one.version == wanted.version]
        if wanted not in collapse_addresses(alike):  # type: ignore[type-var]
            return []
    return longer


def _narrower(one: m.Rule, rule: m.Rule) -> bool:
    low, high = text.matched(one)
    wide_low, wide_high = text.matched(rule)
    return wide_low <= low and high <= wide_high and high - low < wide_high - wide_low


def _around(one: m.Rule, rule: m.Rule) -> bool:
    low, high = text.matched(one)
    return low <= text.matched(rule)[0] and text.matched(rule)[1] <= high


def _within(inner: str, outer: str) -> bool:
    """Whether a prefix is a longer one inside of another; "" is around all."""
    if not outer:
        return True
    small, large = ip_network(inner), ip_network(outer)
    return small.version == large.version and small.prefixlen > large.prefixlen and small.subnet_of(large)  # type: ignore[arg-type]


def _covers(parts: list[tuple[int, int]], whole: tuple[int, int]) -> bool:
    """Whether ranges hold every port of another."""
    reached = whole[0] - 1
    for low, high in sorted(parts):
        if low > reached + 1:
            return False
        reached = max(reached, high)
    return reached >= whole[1]


def acl(facts: Facts) -> Iterator[Finding]:
    """Endpoints that the ACL closes to everybody, and ACL rules that can never decide."""
    for name, export in facts.exports.items():
        where = last(name)
        found = list(export.acl_rules.acl_rules)
        ids = {last(one.name) for one in export.endpoints.endpoints}
        for endpoint in sorted(ids):
            closing = _closing(found, endpoint)
            if closing is not None:
                yield Finding(
                    ERROR,
                    "acl-denies-all",
                    f"{where} endpoint {endpoint}",
                    f"ACL rule {last(closing.name)} denies everything through it ({text.acl_rule(closing)}), and no"
                    " allow rule comes before it",
                    f"graftcli -n {where} delete-acl-rule {last(closing.name)}, or add an allow rule with --index 1",
                )
        for place, rule in enumerate(found):
            subject = f"{where} acl-rule {last(rule.name)}"
            if rule.endpoint and rule.endpoint not in ids:
                cause = f"it names endpoint {rule.endpoint}, which is not there"
                remedy = f"graftcli -n {where} update-acl-rule {last(rule.name)} --endpoint NAME"
                yield Finding(WARNING, "acl-endpoint-missing", subject, cause, remedy)
            before = next((one for one in found[:place] if _acl_covers(one, rule)), None)
            if before is not None:
                cause = f"it can never decide: {last(before.name)} ({text.acl_rule(before)}) matches all of it before"
                remedy = f"graftcli -n {where} move-acl-rule {last(rule.name)} --index {place}, or delete it"
                yield Finding(WARNING, "acl-dead", subject, cause, remedy)


def _closing(found: list[m.AclRule], endpoint: str) -> m.AclRule | None:
    """The rule that denies everything through an endpoint, if no allow rule about it comes before."""
    for rule in found:
        if rule.endpoint not in ("", endpoint):
            continue
        if rule.action == m.ACL_ACTION_ALLOW:
            return None
        if _acl_covers(rule, m.AclRule(endpoint=endpoint)):
            return rule
    return None


def _acl_covers(one: m.AclRule, other: m.AclRule) -> bool:
    """Whether a rule matches everything that another matches."""
    for field in ("uids", "gids"):
        if one.HasField(field):
            if not other.HasField(field) or one.own_ids != other.own_ids:
                return False
            outer, inner = getattr(one, field), getattr(other, field)
            if not outer.low <= inner.low <= inner.high <= outer.high:
                return False
    if one.network and not (other.network and (one.network == other.network or _within(other.network, one.network))):
        return False
    if one.HasField("ports"):
        low, high = text.matched(other)
        if not other.HasField("ports") or not one.ports.low <= low <= high <= one.ports.high:
            return False
    verbs = {m.VERB_LISTEN, m.VERB_CONNECT}
    return (
        one.endpoint in ("", other.endpoint)
        and _protocols(one.protocols) >= _protocols(other.protocols)
        and (set(one.verbs) or verbs) >= (set(other.verbs) or verbs)
    )
