# SPDX-License-Identifier: Apache-2.0
"""What happens to the node, and who wants to know."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from graftd.model import Change
from graftd.reconcile._difference import Difference


class NodeEventKind(enum.IntEnum):
    """As NodeEventKind of proto/graft/v1/node.proto, which says what each means."""

    DRIFT_REPAIRED = 1
    RECONCILE_FAILED = 2
    NAMESPACE_PRESENT = 3
    NAMESPACE_ABSENT = 4
    MODULE_LOADED = 5
    MODULE_UNLOADED = 6
    CLAIMED = 7
    CLAIM_LOST = 8
    DEGRADED = 9
    RECOVERED = 10
    CONFIGURATION_RELOADED = 11
    TRANSPARENT_CHANGED = 12


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """time: UTC. namespace: "" for the whole node. detail: a sentence."""

    time: datetime
    kind: NodeEventKind
    detail: str
    namespace: str = ""
    repairs: tuple[Difference, ...] = ()


class Listener(Protocol):
    """Told from the engine's thread; to return at once."""

    def changed(self, changes: Sequence[Change]) -> None:
        """A transaction was committed; its changes, in order."""

    def happened(self, event: NodeEvent) -> None: ...

    def restored(self) -> None:
        """The store was replaced: its history is another one from now on."""
