# SPDX-License-Identifier: Apache-2.0
"""Addresses, ports, and the sets of protocols and verbs."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import ClassVar, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

PORT_MAX = 65535


class Protocols(enum.IntFlag):
    TCP = 1
    UDP = 2
    BOTH = 3

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(str(one.name).lower() for one in self)


class Verbs(enum.IntFlag):
    """What a socket does through an endpoint."""

    LISTEN = 1
    CONNECT = 2
    BOTH = 3

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(str(one.name).lower() for one in self)


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports low to high, both included.

    Port 0 stands for a port that the kernel chooses: of an endpoint, `PortRange.ANY`; in a rule,
    a bind that asks for any port.
    """

    low: int
    high: int

    ANY: ClassVar[PortRange]
    EVERY: ClassVar[PortRange]

    def __post_init__(self) -> None:
        for port in (self.low, self.high):
            if not 0 <= port <= PORT_MAX:
                raise ValueError(f"{port} is not a port: ports go from 0 to {PORT_MAX}")
        if self.low > self.high:
            raise ValueError(
                f"port range {self.low}-{self.high} is upside down: write {self.high}-{self.low} if that is meant"
            )

    @classmethod
    def single(cls, port: int) -> PortRange:
        return cls(port, port)


PortRange.ANY = PortRange(0, 0)
PortRange.EVERY = PortRange(1, PORT_MAX)
