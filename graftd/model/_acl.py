# SPDX-License-Identifier: Apache-2.0
"""ACL rules: who may do what through which endpoint to which destination."""

from __future__ import annotations

from dataclasses import dataclass

from graftd.model._endpoint import UINT32_MAX, check_name
from graftd.model._net import Network, PortRange, Protocols, Verbs


@dataclass(frozen=True, slots=True)
class IdRange:
    """Users or groups low to high, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        for number in (self.low, self.high):
            if not 0 <= number <= UINT32_MAX:
                raise ValueError(f"{number} is not an id: ids go from 0 to {UINT32_MAX}")
        if self.low > self.high:
            raise ValueError(
                f"id range {self.low}-{self.high} is upside down: write {self.high}-{self.low} if that is meant"
            )


@dataclass(frozen=True, slots=True)
class AclRule:
    """One line of a table's ACL: the first that matches decides.

    What is None or empty matches everything. Ids are those of the initial user namespace unless
    own_ids. local makes an allow reach the target namespace's own addresses as well.
    """

    allow: bool
    endpoint: str = ""
    verbs: Verbs = Verbs.BOTH
    uids: IdRange | None = None
    gids: IdRange | None = None
    own_ids: bool = False
    network: Network | None = None
    ports: PortRange | None = None
    protocols: Protocols = Protocols.BOTH
    local: bool = False

    def __post_init__(self) -> None:
        if self.endpoint:
            check_name(self.endpoint)
        if not self.verbs:
            raise ValueError("an ACL rule holds for listen, connect or both")
        if not self.protocols:
            raise ValueError("an ACL rule holds for tcp, udp or both")
        if self.local and not self.allow:
            raise ValueError("local widens what an allow reaches: a deny has no use for it")
