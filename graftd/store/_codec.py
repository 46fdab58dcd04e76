# SPDX-License-Identifier: Apache-2.0
"""Between the model's values and rows.

What is searched is a column; the rest is one column of JSON, without what has its default, so that
equal values are equal text. Enumerations are the kernel's numbers. ASCII alone is written: names that
are not UTF-8 become escapes, which SQLite takes and Python reads back.
"""

from __future__ import annotations

import enum
import functools
import ipaddress
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, NamedTuple

from graftd.errors import StoreDamagedError
from graftd.model import (
    AclRule,
    Direction,
    Endpoint,
    EndpointRecord,
    EndpointType,
    Freeze,
    IdRange,
    Namespace,
    NamespaceRecord,
    NetnsIdentity,
    Network,
    PortRange,
    Protocols,
    Record,
    Rule,
    RuleRecord,
    Selector,
    SelectorKind,
    TableLimits,
    TargetedEndpoint,
    Verbs,
    Verdict,
    Version,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_decode = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(separators=(",", ":")).encode

Fields = dict[str, Any]


class Kind(enum.IntEnum):
    """What a row is a record of."""

    NAMESPACE = 1
    ENDPOINT = 2
    RULE = 3
    ACL = 4


class Row(NamedTuple):
    """A record as the log keeps it; see _schema."""

    kind: int
    namespace: str
    key: bytes
    uid: str
    place: int
    body: str
    revision: int
    created: int
    updated: int


def to_time(micros: int) -> datetime:
    return _EPOCH + micros * _MICROSECOND


def to_key(name: str) -> bytes:
    """An endpoint's name as its column has it; the order of names is that of their bytes."""
    return name.encode("utf-8", "surrogateescape")


def to_name(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")


def etag(*parts: object) -> str:
    """Opaque, and another one for other parts."""
    return blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def namespace_selector(selector: Selector) -> str:
    """What no two namespaces share."""
    return _encode(_selector(selector))


def rule_selector(rule: Rule) -> str:
    """What no two rules of a namespace share."""
    return f"{rule.direction.value} {rule.network or ''} {rule.protocols.value} {rule.ports.low}-{rule.ports.high}"


# Records


def record(row: Row) -> Record:
    return _RECORDS[row.kind](row)


def namespace_record(row: Row) -> NamespaceRecord:
    try:
        return NamespaceRecord(row.uid, *read_namespace(row.namespace, row.body), version(row))
    except _NONSENSE as error:
        raise _makes_no_sense(row, error) from error


def endpoint_record(row: Row) -> EndpointRecord:
    try:
        return EndpointRecord(row.namespace, row.uid, _read_endpoint(row.body), version(row))
    except _NONSENSE as error:
        raise _makes_no_sense(row, error) from error


def rule_record(row: Row) -> RuleRecord[Rule]:
    try:
        return RuleRecord(row.namespace, row.uid, rule_id(row), 0, _read_rule(row.body), version(row))
    except _NONSENSE as error:
        raise _makes_no_sense(row, error) from error


def acl_record(row: Row) -> RuleRecord[AclRule]:
    try:
        return RuleRecord(row.namespace, row.uid, rule_id(row), row.place, _read_acl_rule(row.body), version(row))
    except _NONSENSE as error:
        raise _makes_no_sense(row, error) from error


_RECORDS: dict[int, Callable[[Row], Record]] = {
    Kind.NAMESPACE: namespace_record,
    Kind.ENDPOINT: endpoint_record,
    Kind.RULE: rule_record,
    Kind.ACL: acl_record,
}


def rule_id(row: Row) -> str:
    return row.key.decode("ascii")


def version(row: Row) -> Version:
    return _version(row.revision, row.created, row.updated)


@functools.lru_cache(maxsize=1024)
def _version(revision: int, created: int, updated: int) -> Version:
    """One for all that a transaction changed."""
    return Version(revision, to_time(created), to_time(updated))


_NONSENSE = (ValueError, KeyError, TypeError, AttributeError, OverflowError)


def _makes_no_sense(row: Row, error: Exception) -> StoreDamagedError:
    what = f"what the database holds of namespace '{row.namespace}', revision {row.revision}, makes no sense"
    return _damaged(what, error)


def _damaged(what: str, error: Exception) -> StoreDamagedError:
    why = f"{type(error).__name__}: {error}"
    return StoreDamagedError(
        f"{what} ({why}): stop graftd, put the newest backup in the database's place, and start graftd again",
        detail=f"{what}: {why}",
    )


# Writing: a body for each value


def write_namespace(namespace: Namespace, identity: NetnsIdentity | None) -> str:
    fields: Fields = {"selector": _selector(namespace.selector)}
    limits = {
        name: value
        for name, value in (
            ("max_sockets", namespace.limits.max_sockets),
            ("max_ephemeral", namespace.limits.max_ephemeral),
            ("max_endpoints", namespace.limits.max_endpoints),
        )
        if value is not None
    }
    if limits:
        fields["limits"] = limits
    _put_texts(fields, "labels", namespace.labels)
    _put_texts(fields, "annotations", namespace.annotations)
    if namespace.freeze is not None:
        fields["freeze"] = namespace.freeze.reason
    if namespace.transparent:
        fields["transparent"] = True
    if namespace.transient:
        fields["transient"] = True
    if identity is not None:
        fields["identity"] = [identity.boot_id, identity.cookie]
    return _encode(fields)


def write_endpoint(value: TargetedEndpoint) -> str:
    endpoint = value.endpoint
    fields: Fields = {"name": endpoint.name, "type": endpoint.type.value}
    if endpoint.address is not None:
        fields["address"] = str(endpoint.address)
    if endpoint.ports is not None:
        fields["ports"] = [endpoint.ports.low, endpoint.ports.high]
    if endpoint.protocols is not Protocols.BOTH:
        fields["protocols"] = endpoint.protocols.value
    if endpoint.path:
        fields["path"] = endpoint.path.decode("latin-1")
    if endpoint.mark:
        fields["mark"] = endpoint.mark
    if endpoint.device:
        fields["device"] = endpoint.device
    if endpoint.max_sockets:
        fields["max_sockets"] = endpoint.max_sockets
    if endpoint.privileged:
        fields["privileged"] = True
    if value.target:
        fields["target"] = value.target
    _put_texts(fields, "labels", value.labels)
    return _encode(fields)


def write_rule(rule: Rule) -> str:
    fields: Fields = {
        "direction": rule.direction.value,
        "verdict": rule.verdict.value,
        "ports": [rule.ports.low, rule.ports.high],
    }
    _put_network(fields, rule.network)
    if rule.protocols is not Protocols.BOTH:
        fields["protocols"] = rule.protocols.value
    if rule.endpoint:
        fields["endpoint"] = rule.endpoint
    return _encode(fields)


def write_acl_rule(rule: AclRule) -> str:
    fields: Fields = {"allow": rule.allow}
    if rule.endpoint:
        fields["endpoint"] = rule.endpoint
    if rule.verbs is not Verbs.BOTH:
        fields["verbs"] = rule.verbs.value
    for name, ids in (("uids", rule.uids), ("gids", rule.gids)):
        if ids is not None:
            fields[name] = [ids.low, ids.high]
    if rule.own_ids:
        fields["own_ids"] = True
    _put_network(fields, rule.network)
    if rule.ports is not None:
        fields["ports"] = [rule.ports.low, rule.ports.high]
    if rule.protocols is not Protocols.BOTH:
        fields["protocols"] = rule.protocols.value
    if rule.local:
        fields["local"] = True
    return _encode(fields)


def write_freeze(freeze: Freeze | None) -> str | None:
    return None if freeze is None else _encode(freeze.reason)


def _selector(selector: Selector) -> list[str | int]:
    ticks = [selector.start_ticks] if selector.start_ticks else []
    return [selector.kind.value, selector.value, *ticks]


def _put_texts(fields: Fields, name: str, texts: Mapping[str, str]) -> None:
    if texts:
        fields[name] = dict(sorted(texts.items()))


def _put_network(fields: Fields, network: Network | None) -> None:
    if network is not None:
        fields["network"] = str(network)


# Reading


@functools.lru_cache(maxsize=256)
def read_namespace(name: str, body: str) -> tuple[Namespace, NetnsIdentity | None]:
    fields = _fields(body)
    identity, freeze = fields.pop("identity", None), fields.pop("freeze", None)
    namespace = Namespace(
        name,
        _read_selector(fields.pop("selector")),
        TableLimits(**fields.pop("limits", {})),
        fields.pop("labels", {}),
        fields.pop("annotations", {}),
        None if freeze is None else Freeze(freeze),
        transparent=fields.pop("transparent", False),
        transient=fields.pop("transient", False),
    )
    _check_read(fields)
    return namespace, None if identity is None else NetnsIdentity(*identity)


def _read_endpoint(body: str) -> TargetedEndpoint:
    fields = _fields(body)
    address, ports = fields.pop("address", None), fields.pop("ports", None)
    endpoint = Endpoint(
        name=fields.pop("name"),
        type=EndpointType(fields.pop("type")),
        address=None if address is None else ipaddress.ip_address(address),
        ports=None if ports is None else PortRange(*ports),
        protocols=_read_protocols(fields),
        path=fields.pop("path", "").encode("latin-1"),
        mark=fields.pop("mark", 0),
        device=fields.pop("device", ""),
        max_sockets=fields.pop("max_sockets", 0),
        privileged=fields.pop("privileged", False),
    )
    value = TargetedEndpoint(endpoint, fields.pop("target", ""), fields.pop("labels", {}))
    _check_read(fields)
    return value


def _read_rule(body: str) -> Rule:
    fields = _fields(body)
    rule = Rule(
        direction=Direction(fields.pop("direction")),
        verdict=Verdict(fields.pop("verdict")),
        network=_read_network(fields),
        protocols=_read_protocols(fields),
        ports=PortRange(*fields.pop("ports")),
        endpoint=fields.pop("endpoint", ""),
    )
    _check_read(fields)
    return rule


def _read_acl_rule(body: str) -> AclRule:
    fields = _fields(body)
    uids, gids, ports = fields.pop("uids", None), fields.pop("gids", None), fields.pop("ports", None)
    rule = AclRule(
        allow=fields.pop("allow"),
        endpoint=fields.pop("endpoint", ""),
        verbs=Verbs(fields.pop("verbs", Verbs.BOTH)),
        uids=None if uids is None else IdRange(*uids),
        gids=None if gids is None else IdRange(*gids),
        own_ids=fields.pop("own_ids", False),
        network=_read_network(fields),
        ports=None if ports is None else PortRange(*ports),
        protocols=_read_protocols(fields),
        local=fields.pop("local", False),
    )
    _check_read(fields)
    return rule


def read_freeze(text: str | None) -> Freeze | None:
    try:
        return None if text is None else Freeze(json.loads(text))
    except _NONSENSE as error:
        raise _damaged("what the database holds of the node's freeze makes no sense", error) from error


def read_former(boot_id: bytes, cookie: bytes, selector: bytes) -> tuple[NetnsIdentity, Selector]:
    try:
        return NetnsIdentity(boot_id.decode(), int(cookie)), _read_selector(json.loads(selector))
    except _NONSENSE as error:
        raise _damaged("what the database holds of a former network namespace makes no sense", error) from error


def _fields(body: str) -> Fields:
    """A body's fields, each to be taken out."""
    fields: Fields
    fields, end = _decode(body)
    if end != len(body):
        raise ValueError("something follows the end")
    return fields


def _check_read(fields: Fields) -> None:
    """Refuse a field that is left: it is a newer graftd's."""
    if fields:
        raise ValueError(f"this graftd knows no field {', '.join(fields)}")


def _read_selector(parts: list[Any]) -> Selector:
    kind, value, *ticks = parts
    return Selector(SelectorKind(kind), value, *ticks)


def _read_network(fields: Fields) -> Network | None:
    text = fields.pop("network", None)
    return None if text is None else ipaddress.ip_network(text)


def _read_protocols(fields: Fields) -> Protocols:
    number = fields.pop("protocols", None)
    return Protocols.BOTH if number is None else Protocols(number)
