# SPDX-License-Identifier: Apache-2.0
"""The store and the kernel, made to agree."""

from graftd.reconcile._difference import Difference, Resource, ResourceKind
from graftd.reconcile._event import Listener, NodeEvent, NodeEventKind
from graftd.reconcile._status import (
    Carried,
    Condition,
    Failure,
    ModuleState,
    ReconcileStatus,
    Report,
    Sync,
    SyncState,
    TransparentState,
    TransparentStatus,
)
from graftd.reconcile._thread import EngineThread, Pulse
from graftd.reconcile.engine import Engine

__all__ = [
    "Carried",
    "Condition",
    "Difference",
    "Engine",
    "EngineThread",
    "Failure",
    "Listener",
    "ModuleState",
    "NodeEvent",
    "NodeEventKind",
    "Pulse",
    "ReconcileStatus",
    "Report",
    "Resource",
    "ResourceKind",
    "Sync",
    "SyncState",
    "TransparentState",
    "TransparentStatus",
]
