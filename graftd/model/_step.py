# SPDX-License-Identifier: Apache-2.0
"""What may be done to a namespace's table in the kernel, each as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from graftd.model._acl import AclRule
from graftd.model._endpoint import Endpoint
from graftd.model._rule import Rule
from graftd.model._table import TableSettings


@dataclass(frozen=True, slots=True)
class SetTable:
    settings: TableSettings


@dataclass(frozen=True, slots=True)
class PutEndpoint:
    """There or not, it is as `endpoint` says afterwards. target_fd: a descriptor of the target namespace,
    None for graftd's own. abort: the live sockets of what is replaced end."""

    endpoint: Endpoint
    target_fd: int | None = None
    abort: bool = False


@dataclass(frozen=True, slots=True)
class DeleteEndpoint:
    """It is gone afterwards; one that was not there is no error. abort: its live sockets end."""

    name: str
    abort: bool = False


@dataclass(frozen=True, slots=True)
class SetRules:
    """All of the table's rules at once."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class SetAcl:
    """The whole ACL at once. abort: the live sockets that lose their grant end."""

    rules: tuple[AclRule, ...]
    abort: bool = False


Step: TypeAlias = SetTable | PutEndpoint | DeleteEndpoint | SetRules | SetAcl
