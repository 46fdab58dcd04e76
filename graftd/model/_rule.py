# SPDX-License-Identifier: Apache-2.0
"""Rules: which endpoint takes a socket that asks for an address, or that none does."""

from __future__ import annotations

from dataclasses import dataclass

from graftd.model._endpoint import check_name
from graftd.model._net import Network, PortRange, Protocols
from graftd.model._open_enum import OpenEnum


class Direction(OpenEnum):
    INGRESS = 1
    EGRESS = 2


class Verdict(OpenEnum):
    ENDPOINT = 1
    NATIVE = 2
    DENY = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """network None is every address of both families; the kernel takes the longest prefix
    first, then the narrower port range. Ports of an ingress rule may hold 0, a bind that asks
    for any port."""

    direction: Direction
    verdict: Verdict
    network: Network | None = None
    protocols: Protocols = Protocols.BOTH
    ports: PortRange = PortRange.EVERY
    endpoint: str = ""

    def __post_init__(self) -> None:
        if self.verdict is Verdict.ENDPOINT:
            check_name(self.endpoint)
        elif self.endpoint and self.verdict in (Verdict.NATIVE, Verdict.DENY):
            raise ValueError(f"a rule that says {self.verdict.word} names no endpoint")
        if not self.protocols:
            raise ValueError("a rule holds for tcp, udp or both")

    @property
    def selector(self) -> tuple[Direction, Network | None, Protocols, PortRange]:
        """What the rule matches: no two rules of a table share it."""
        return self.direction, self.network, self.protocols, self.ports
