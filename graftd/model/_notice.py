# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of changed tables, as it happens.

Each notice names the table's namespace and the generation that the change made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from graftd.model._endpoint import EndpointEntry
from graftd.model._event import Event
from graftd.model._table import Table


@dataclass(frozen=True, slots=True)
class TableNotice:
    """Limits or freeze changed."""

    table: Table


@dataclass(frozen=True, slots=True)
class EndpointNotice:
    """An endpoint is new or changed."""

    netns_cookie: int
    generation: int
    entry: EndpointEntry


@dataclass(frozen=True, slots=True)
class EndpointGoneNotice:
    netns_cookie: int
    generation: int
    name: str


@dataclass(frozen=True, slots=True)
class RulesNotice:
    """The rules changed."""

    table: Table


@dataclass(frozen=True, slots=True)
class AclNotice:
    """The ACL changed."""

    table: Table


@dataclass(frozen=True, slots=True)
class ClaimNotice:
    """The tables written from this namespace were claimed, or, claimant "", released."""

    claimant: str
    claimant_pid: int


Notice: TypeAlias = TableNotice | EndpointNotice | EndpointGoneNotice | RulesNotice | AclNotice | ClaimNotice | Event
