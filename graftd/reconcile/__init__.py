# SPDX-License-Identifier: Apache-2.0
"""The store and the kernel, made to agree."""

from graftd.reconcile._difference import Difference, Resource, ResourceKind
from graftd.reconcile._event import Listener, NodeEvent, NodeEventKind
from graftd.reconcile.engine import (
    Carried,
    Condition,
    Engine,
    Failure,
    ModuleState,
    ReconcileStatus,
    Report,
    Sync,
    SyncState,
)

__all__ = [
    "Carried",
    "Condition",
    "Difference",
    "Engine",
    "Failure",
    "Listener",
    "ModuleState",
    "NodeEvent",
    "NodeEventKind",
    "ReconcileStatus",
    "Report",
    "Resource",
    "ResourceKind",
    "Sync",
    "SyncState",
]
