# SPDX-License-Identifier: Apache-2.0
"""What several resources share: addresses, ports, sets of protocols and verbs, labels, times, versions."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from graft.v1 import common_pb2
from graftd.api.errors import Violations
from graftd.api.text import utf8
from graftd.model import (
    Address,
    Network,
    PortRange,
    Protocols,
    Verbs,
    check_annotations,
    check_id,
    check_labels,
)

PORT_MAX = 65535
_UNSPECIFIED, _BASIC, _FULL = 0, 1, 2  # views
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)

Set = TypeVar("Set", Protocols, Verbs)

IN_SYNC = common_pb2.Sync(state=common_pb2.SYNC_STATE_IN_SYNC)


def pending(detail: str) -> common_pb2.Sync:
    return common_pb2.Sync(state=common_pb2.SYNC_STATE_PENDING, detail=utf8(detail))


def failed(detail: str) -> common_pb2.Sync:
    return common_pb2.Sync(state=common_pb2.SYNC_STATE_FAILED, detail=utf8(detail))


# What is asked


def read_address(text: str, field: str, found: Violations) -> Address | None:
    if not text:
        found.add(field, "an address is missing: write an IPv4 or IPv6 address, as in 10.0.0.2 or 2001:db8::2")
        return None
    try:
        if "%" not in text:
            return ipaddress.ip_address(text)
    except ValueError:
        pass
    found.add(field, f"'{text}' is no address: write an IPv4 or IPv6 address without a zone, as in 10.0.0.2 or fd00::2")
    return None


def read_network(text: str, field: str, found: Violations) -> Network | None:
    """None for "" as well."""
    if not text:
        return None
    address, slash, length = text.partition("/")
    try:
        if slash and "%" not in address:
            network = ipaddress.ip_network(text, strict=False)
            if length == str(network.prefixlen):
                if network.network_address == ipaddress.ip_address(address):
                    return network
                found.add(field, f"'{text}' has bits beyond its length: write {network_text(network)} if that is meant")
                return None
    except ValueError:
        pass
    found.add(field, f"'{text}' is no prefix: write an address and its length, as in 10.0.0.0/24 or 2001:db8::/32")
    return None


def read_ports(ports: common_pb2.PortRange, field: str, found: Violations, *, lowest: int) -> PortRange | None:
    """lowest: 0 where the field gives 0 a meaning, 1 elsewhere."""
    low, high = ports.low, ports.high
    if lowest <= low <= high <= PORT_MAX:
        return PortRange(low, high)
    outside = [(word, port) for word, port in (("low", low), ("high", high)) if not lowest <= port <= PORT_MAX]
    for word, port in outside:
        found.add(f"{field}.{word}", f"{port} is not a port here: ports go from {lowest} to {PORT_MAX}")
    if not outside:
        found.add(field, f"port range {low}-{high} is upside down: low comes first, and a single port has both alike")
    return None


def read_protocols(numbers: Iterable[int], field: str, found: Violations) -> Protocols:
    return _read_set(Protocols, numbers, field, found)


def read_verbs(numbers: Iterable[int], field: str, found: Violations) -> Verbs:
    return _read_set(Verbs, numbers, field, found)


def _read_set(kind: type[Set], numbers: Iterable[int], field: str, found: Violations) -> Set:
    result = kind(0)
    for index, number in enumerate(numbers):
        if number not in (1, 2):
            found.add(f"{field}[{index}]", f"{number} is unknown: {' and '.join(kind(3).words)} are known")
        else:
            result |= kind(number)
    return result or kind(3)


def read_labels(labels: Mapping[str, str], field: str, found: Violations) -> dict[str, str]:
    return _read_map(labels, field, found, check_labels)


def read_annotations(annotations: Mapping[str, str], field: str, found: Violations) -> dict[str, str]:
    return _read_map(annotations, field, found, check_annotations)


def _read_map(
    entries: Mapping[str, str], field: str, found: Violations, check: Callable[[Mapping[str, str]], None]
) -> dict[str, str]:
    if not entries:
        return {}
    result = dict(entries)
    try:
        check(result)
    except ValueError as error:
        found.add(field, error)
    return result


def read_endpoint_id(endpoint: str, field: str, found: Violations) -> str:
    """The id of an endpoint of the same namespace; "" for "" as well."""
    if endpoint:
        try:
            check_id("an endpoint", endpoint)
        except ValueError as error:
            found.add(field, error)
            return ""
    return endpoint


# What is told


def address_text(address: Address) -> str:
    """In the form of RFC 5952, its section 5 among it: ::ffff:10.0.0.2."""
    if isinstance(address, IPv4Address):
        return str(address)
    mapped = address.ipv4_mapped
    return str(address) if mapped is None else f"::ffff:{mapped}"


def network_text(network: Network | None) -> str:
    return "" if network is None else f"{address_text(network.network_address)}/{network.prefixlen}"


PROTOCOLS: dict[int, tuple[common_pb2.Protocol, ...]] = {
    0: (),
    1: (common_pb2.PROTOCOL_TCP,),
    2: (common_pb2.PROTOCOL_UDP,),
    3: (common_pb2.PROTOCOL_TCP, common_pb2.PROTOCOL_UDP),
}
VERBS: dict[int, tuple[common_pb2.Verb, ...]] = {
    0: (),
    1: (common_pb2.VERB_LISTEN,),
    2: (common_pb2.VERB_CONNECT,),
    3: (common_pb2.VERB_LISTEN, common_pb2.VERB_CONNECT),
}


def timestamp(time: datetime) -> Timestamp:
    """time: with its zone."""
    since = time - _EPOCH
    return Timestamp(seconds=since // _SECOND, nanos=since.microseconds * 1000)


def enum_number(number: int) -> Any:
    """A number of the kernel's as an open enum of the contract can hold it; 0 for one that it cannot."""
    return number if number < 2**31 else 0


def read_view(view: int, field: str, found: Violations, *, by_default: bool) -> bool:
    """Whether a view is FULL; by_default: what it is where the request does not say. Namespaces and endpoints number
    theirs alike."""
    if view not in (_UNSPECIFIED, _BASIC, _FULL):
        found.add(field, f"{view} is unknown: say BASIC or FULL")
    return by_default if view == _UNSPECIFIED else view == _FULL
