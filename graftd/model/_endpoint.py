# SPDX-License-Identifier: Apache-2.0
"""An endpoint: a name in a namespace's table that stands for an address in another namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from graftd.model._net import Address, PortRange, Protocols
from graftd.model._open_enum import OpenEnum
from graftd.model._reason import Reason

NAME_BYTES_MAX = 63
PATH_BYTES_MAX = 107
DEVICE_BYTES_MAX = 15
UINT32_MAX = 2**32 - 1


class EndpointType(OpenEnum):
    IPV4 = 1
    IPV6 = 2
    UNIX = 3


def check_name(name: str) -> None:
    """Refuse what cannot be an endpoint's name: 1 to 63 bytes, without a NUL."""
    length = len(name.encode("utf-8", "surrogateescape"))
    if not name:
        raise ValueError("an endpoint's name is 1 to 63 bytes long, this one is empty")
    if length > NAME_BYTES_MAX:
        raise ValueError(f"an endpoint's name is 1 to {NAME_BYTES_MAX} bytes long, '{name}' has {length}")
    if "\0" in name:
        raise ValueError("an endpoint's name holds no NUL byte")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What an endpoint is to be.

    address, ports and protocols are of the types ipv4 and ipv6; path, of the type unix, is the
    abstract name without its leading NUL. The kernel's own units: mark is SO_MARK, max_sockets
    0 is no limit of the endpoint's own. The target namespace is not part of the value: it is the
    one that the request comes from. Of a type that only a newer module knows, nothing is checked.
    """

    name: str
    type: EndpointType
    address: Address | None = None
    ports: PortRange | None = None
    protocols: Protocols = Protocols.BOTH
    path: bytes = b""
    mark: int = 0
    device: str = ""
    max_sockets: int = 0
    privileged: bool = False

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.type is EndpointType.UNIX:
            self._check_unix()
        elif self.type in (EndpointType.IPV4, EndpointType.IPV6):
            self._check_inet()
        for word, number in (("mark", self.mark), ("max-sockets", self.max_sockets)):
            if not 0 <= number <= UINT32_MAX:
                raise ValueError(f"{word} {number} is out of range: it goes from 0 to {UINT32_MAX}")
        if len(self.device.encode("utf-8", "surrogateescape")) > DEVICE_BYTES_MAX:
            raise ValueError(f"dev '{self.device}' is too long: a device's name has at most {DEVICE_BYTES_MAX} bytes")

    def _check_unix(self) -> None:
        if self.address is not None or self.ports is not None:
            raise ValueError("an endpoint of type unix has a path, and no address or port")
        if self.mark or self.device or self.protocols is not Protocols.BOTH:
            raise ValueError("an endpoint of type unix has no mark, device or protocols")
        if not 1 <= len(self.path) <= PATH_BYTES_MAX:
            raise ValueError(f"an abstract name has 1 to {PATH_BYTES_MAX} bytes, this one has {len(self.path)}")

    def _check_inet(self) -> None:
        word = self.type.word
        if self.path:
            raise ValueError(f"an endpoint of type {word} has an address, and no path")
        if self.address is None or self.ports is None:
            raise ValueError(f"an endpoint of type {word} needs an address and a port")
        wanted = IPv4Address if self.type is EndpointType.IPV4 else IPv6Address
        if not isinstance(self.address, wanted):
            raise ValueError(f"type {word} does not go with address {self.address}: say type ipv{self.address.version}")
        if self.ports.low == 0 and self.ports.high != 0:
            raise ValueError("an endpoint's port range starts at 1: port 0 stands alone, for any")
        if not self.protocols:
            raise ValueError("an endpoint serves tcp, udp or both")


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the endpoint was made; active is the number of live sockets now."""

    active: int = 0
    binds: int = 0
    connects: int = 0
    accepts: int = 0
    denials: Mapping[Reason, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndpointEntry:
    """An endpoint as the kernel holds it. target_cookie 0: the target namespace is gone."""

    endpoint: Endpoint
    target_cookie: int
    counters: Counters = Counters()
