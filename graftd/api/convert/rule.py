# SPDX-License-Identifier: Apache-2.0
"""Rules of both directions."""

from __future__ import annotations

from graft.v1 import common_pb2, rule_pb2
from graftd.api.convert import values
from graftd.api.errors import Violations
from graftd.api.text import utf8
from graftd.model import Direction, PortRange, Rule, RuleRecord, Verdict


def to_model(message: rule_pb2.Rule, field: str, found: Violations) -> Rule | None:
    """field: the message's path."""
    before = len(found)
    direction, verdict = int(message.direction), int(message.verdict)
    if direction not in (Direction.INGRESS, Direction.EGRESS):
        found.add(f"{field}.direction", _enum(direction, "INGRESS, which decides at bind, or EGRESS, at connect"))
    if verdict not in (Verdict.ENDPOINT, Verdict.NATIVE, Verdict.DENY):
        found.add(f"{field}.verdict", _enum(verdict, "ENDPOINT, NATIVE or DENY"))
    network = values.read_network(message.network, f"{field}.network", found)
    protocols = values.read_protocols(message.protocols, f"{field}.protocols", found)
    ports: PortRange | None = PortRange.EVERY
    if message.HasField("ports"):
        lowest = 0 if direction == Direction.INGRESS else 1
        ports = values.read_ports(message.ports, f"{field}.ports", found, lowest=lowest)
    endpoint = values.read_endpoint_id(message.endpoint, f"{field}.endpoint", found)
    if verdict == Verdict.ENDPOINT and not message.endpoint:
        found.add(f"{field}.endpoint", "an endpoint is missing: a rule with the verdict ENDPOINT names one, by its id")
    elif verdict in (Verdict.NATIVE, Verdict.DENY) and message.endpoint:
        found.add(f"{field}.endpoint", "only a rule with the verdict ENDPOINT names an endpoint: leave it empty")
    if ports is None or len(found) > before:
        return None
    return Rule(
        direction=Direction(direction),
        verdict=Verdict(verdict),
        network=network,
        protocols=protocols,
        ports=ports,
        endpoint=endpoint,
    )


def _enum(number: int, known: str) -> str:
    return f"{number} is unknown: say {known}" if number else f"it is missing: say {known}"


def to_message(record: RuleRecord[Rule], *, sync: common_pb2.Sync | None = None) -> rule_pb2.Rule:
    rule, version = record.rule, record.version
    return rule_pb2.Rule(
        name=f"namespaces/{record.namespace}/rules/{record.id}",
        uid=record.uid,
        direction=values.enum_number(rule.direction),
        network=values.network_text(rule.network),
        protocols=values.PROTOCOLS[rule.protocols],
        ports=None if rule.ports == PortRange.EVERY else common_pb2.PortRange(low=rule.ports.low, high=rule.ports.high),
        verdict=values.enum_number(rule.verdict),
        endpoint=utf8(rule.endpoint),
        sync=sync,
        create_time=values.timestamp(version.created),
        update_time=values.timestamp(version.updated),
        revision=version.revision,
        etag=version.etag,
    )
