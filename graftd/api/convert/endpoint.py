# SPDX-License-Identifier: Apache-2.0
"""Endpoints."""

from __future__ import annotations

from graft.v1 import common_pb2, endpoint_pb2
from graftd.api import names
from graftd.api.convert import values
from graftd.api.errors import Violations
from graftd.api.text import utf8
from graftd.model import (
    Address,
    Counters,
    Endpoint,
    EndpointRecord,
    EndpointType,
    PortRange,
    Protocols,
    TargetedEndpoint,
)

_PATH_BYTES_MAX = 107
_DEVICE_BYTES_MAX = 15
_TYPES = {4: EndpointType.IPV4, 6: EndpointType.IPV6}
_NOT_IN_DEVICES = b"/:\0 \t\n\v\f\r\xa0"  # the kernel's dev_valid_name()


def to_model(
    message: endpoint_pb2.Endpoint, namespace: str, name: str, field: str, found: Violations
) -> TargetedEndpoint | None:
    """namespace, name: the ids, "" for one that `found` has a word about already. field: the message's path."""
    before = len(found)
    target = _target(message.target_namespace, namespace, f"{field}.target_namespace", found)
    labels = values.read_labels(message.labels, f"{field}.labels", found)
    kind = message.WhichOneof("kind")
    address: Address | None = None
    ports: PortRange | None = None
    protocols, path, mark, device = Protocols.BOTH, b"", 0, ""
    if kind == "inet":
        inet = message.inet
        address = values.read_address(inet.address, f"{field}.inet.address", found)
        ports = _ports(inet, f"{field}.inet.ports", found)
        protocols = values.read_protocols(inet.protocols, f"{field}.inet.protocols", found)
        mark = inet.mark
        device = _device(inet.device, f"{field}.inet.device", found)
    elif kind == "unix":
        path = message.unix.path
        if not 1 <= len(path) <= _PATH_BYTES_MAX:
            found.add(
                f"{field}.unix.path", f"an abstract name has 1 to {_PATH_BYTES_MAX} bytes, this one has {len(path)}"
            )
    else:
        found.add(field, "what it stands for is missing: set inet, an address and ports, or unix, an abstract name")
    if not name or len(found) > before:
        return None
    return TargetedEndpoint(
        Endpoint(
            name=name,
            type=EndpointType.UNIX if address is None else _TYPES[address.version],
            address=address,
            ports=ports,
            protocols=protocols,
            path=path,
            mark=mark,
            device=device,
            max_sockets=message.max_sockets,
            privileged=message.privileged,
        ),
        target,
        labels,
    )


def _target(name: str, namespace: str, field: str, found: Violations) -> str:
    if not name:
        return ""
    target = names.parse_namespace(name, field, found)
    if target and target == namespace:
        found.add(
            field, "an endpoint's target is another namespace than its own: leave it empty for the one graftd runs in"
        )
    return target


def _ports(inet: endpoint_pb2.InetTarget, field: str, found: Violations) -> PortRange | None:
    if not inet.HasField("ports"):
        found.add(field, "ports are missing: set low and high to one port, to a range, or both to 0 for any")
        return None
    ports = values.read_ports(inet.ports, field, found, lowest=0)
    if ports is not None and ports.low == 0 != ports.high:
        found.add(f"{field}.low", f"a range starts at 1: write 1-{ports.high}, or 0 for both, which is any port")
        return None
    return ports


def _device(device: str, field: str, found: Violations) -> str:
    data = device.encode()
    if len(data) > _DEVICE_BYTES_MAX:
        found.add(field, f"'{device}' is too long: a device's name has at most {_DEVICE_BYTES_MAX} bytes")
    elif device in (".", "..") or any(byte in _NOT_IN_DEVICES for byte in data):
        found.add(
            field, f"'{device}' cannot be a device: names have no '/', ':' or white space, and are not '.' or '..'"
        )
    return device


def to_message(
    record: EndpointRecord, *, sync: common_pb2.Sync | None = None, counters: Counters | None = None
) -> endpoint_pb2.Endpoint:
    value, version = record.value, record.version
    endpoint = value.endpoint
    message = endpoint_pb2.Endpoint(
        name=f"namespaces/{record.namespace}/endpoints/{utf8(endpoint.name)}",
        uid=record.uid,
        target_namespace=f"namespaces/{value.target}" if value.target else "",
        max_sockets=endpoint.max_sockets,
        privileged=endpoint.privileged,
        labels=value.labels,
        sync=sync,
        create_time=values.timestamp(version.created),
        update_time=values.timestamp(version.updated),
        revision=version.revision,
        etag=version.etag,
    )
    if endpoint.address is not None and endpoint.ports is not None:
        message.inet.CopyFrom(
            endpoint_pb2.InetTarget(
                address=values.address_text(endpoint.address),
                ports=common_pb2.PortRange(low=endpoint.ports.low, high=endpoint.ports.high),
                protocols=values.PROTOCOLS[endpoint.protocols],
                mark=endpoint.mark,
                device=utf8(endpoint.device),
            )
        )
    elif endpoint.type is EndpointType.UNIX:
        message.unix.path = endpoint.path
    if counters is not None:
        message.counters.CopyFrom(counters_message(counters))
    return message


def counters_message(counters: Counters) -> endpoint_pb2.EndpointCounters:
    return endpoint_pb2.EndpointCounters(
        active=counters.active,
        binds=counters.binds,
        connects=counters.connects,
        accepts=counters.accepts,
        denials=[
            endpoint_pb2.DenialCount(reason=values.enum_number(reason), count=count)
            for reason, count in sorted(counters.denials.items())
            if count
        ],
    )
