# SPDX-License-Identifier: Apache-2.0
"""ACL rules."""

from __future__ import annotations

from graft.v1 import acl_pb2, common_pb2
from graftd.api.convert import values
from graftd.api.errors import Violations
from graftd.api.text import utf8
from graftd.model import AclRule, IdRange, PortRange, RuleRecord


def to_model(message: acl_pb2.AclRule, field: str, found: Violations) -> AclRule | None:
    """field: the message's path."""
    before = len(found)
    action = message.action
    if action not in (acl_pb2.ACL_ACTION_ALLOW, acl_pb2.ACL_ACTION_DENY):
        sentence = f"{action} is unknown" if action else "it is missing"
        found.add(f"{field}.action", f"{sentence}: say ALLOW or DENY")
    if message.local and action == acl_pb2.ACL_ACTION_DENY:
        found.add(f"{field}.local", "local widens what an ALLOW reaches: a DENY has no use for it, so leave it out")
    endpoint = values.read_endpoint_id(message.endpoint, f"{field}.endpoint", found)
    verbs = values.read_verbs(message.verbs, f"{field}.verbs", found)
    uids = _ids(message.uids, f"{field}.uids", found) if message.HasField("uids") else None
    gids = _ids(message.gids, f"{field}.gids", found) if message.HasField("gids") else None
    network = values.read_network(message.network, f"{field}.network", found)
    ports: PortRange | None = None
    if message.HasField("ports"):
        ports = values.read_ports(message.ports, f"{field}.ports", found, lowest=1)
    protocols = values.read_protocols(message.protocols, f"{field}.protocols", found)
    if len(found) > before:
        return None
    return AclRule(
        allow=action == acl_pb2.ACL_ACTION_ALLOW,
        endpoint=endpoint,
        verbs=verbs,
        uids=uids,
        gids=gids,
        own_ids=message.own_ids,
        network=network,
        ports=ports,
        protocols=protocols,
        local=message.local,
    )


def _ids(ids: acl_pb2.IdRange, field: str, found: Violations) -> IdRange | None:
    if ids.low <= ids.high:
        return IdRange(ids.low, ids.high)
    found.add(field, f"id range {ids.low}-{ids.high} is upside down: low comes first, and a single id has both alike")
    return None


def to_message(record: RuleRecord[AclRule], *, sync: common_pb2.Sync | None = None) -> acl_pb2.AclRule:
    """The index is one more than the record's, for the contract counts from 1."""
    rule, version = record.rule, record.version
    return acl_pb2.AclRule(
        name=f"namespaces/{record.namespace}/aclRules/{record.id}",
        uid=record.uid,
        index=record.index + 1,
        action=acl_pb2.ACL_ACTION_ALLOW if rule.allow else acl_pb2.ACL_ACTION_DENY,
        endpoint=utf8(rule.endpoint),
        verbs=values.VERBS[rule.verbs],
        uids=None if rule.uids is None else acl_pb2.IdRange(low=rule.uids.low, high=rule.uids.high),
        gids=None if rule.gids is None else acl_pb2.IdRange(low=rule.gids.low, high=rule.gids.high),
        own_ids=rule.own_ids,
        network=values.network_text(rule.network),
        ports=None if rule.ports is None else common_pb2.PortRange(low=rule.ports.low, high=rule.ports.high),
        protocols=values.PROTOCOLS[rule.protocols],
        local=rule.local,
        sync=sync,
        create_time=values.timestamp(version.created),
        update_time=values.timestamp(version.updated),
        revision=version.revision,
        etag=version.etag,
    )
