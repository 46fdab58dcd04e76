# SPDX-License-Identifier: Apache-2.0
"""A namespace's table: limits and counts, and its rules and ACL as read with a generation."""

from __future__ import annotations

from dataclasses import dataclass

from graftd.model._acl import AclRule
from graftd.model._endpoint import UINT32_MAX
from graftd.model._rule import Rule


@dataclass(frozen=True, slots=True)
class TableLimits:
    """What a table may hold at most; None is the module's default, or leaves it as it is.

    max_sockets: live grafted sockets. max_ephemeral: of them, those whose port the kernel chose.
    """

    max_sockets: int | None = None
    max_ephemeral: int | None = None
    max_endpoints: int | None = None

    def __post_init__(self) -> None:
        for word, number in (
            ("max-sockets", self.max_sockets),
            ("max-ephemeral", self.max_ephemeral),
            ("max-endpoints", self.max_endpoints),
        ):
            if number is not None and not 0 <= number <= UINT32_MAX:
                raise ValueError(f"{word} {number} is out of range: it goes from 0 to {UINT32_MAX}")


@dataclass(frozen=True, slots=True)
class TableSettings(TableLimits):
    """What is to change of a table; None leaves it as it is. frozen: whether new grafts are denied."""

    frozen: bool | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """netns_cookie: the table namespace. owner_cookie: the namespace that writes it, 0 for none.
    generation: grows with each change of the table."""

    netns_cookie: int
    generation: int
    max_sockets: int
    max_ephemeral: int
    max_endpoints: int
    frozen: bool
    endpoints: int
    rules: int
    acls: int
    sockets: int
    ephemeral: int
    owner_cookie: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a table as of a generation."""

    generation: int
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Acl:
    """All ACL rules of a table, in order, as of a generation."""

    generation: int
    rules: tuple[AclRule, ...]
