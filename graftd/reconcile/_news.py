# SPDX-License-Identifier: Apache-2.0
"""What happened, kept until what it is a part of is done."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from graftd.model import Change
from graftd.reconcile._difference import Difference
from graftd.reconcile._event import Listener, NodeEvent, NodeEventKind


def now() -> datetime:
    return datetime.now(UTC)


class News:
    """Changes are told at once, for they are kept already; events when `tell` is called."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._events: list[NodeEvent] = []

    def changed(self, changes: Sequence[Change]) -> None:
        if changes:
            self._listener.changed(changes)

    def restored(self) -> None:
        self._listener.restored()

    def event(
        self, kind: NodeEventKind, detail: str, namespace: str = "", repairs: tuple[Difference, ...] = ()
    ) -> None:
        self._events.append(NodeEvent(now(), kind, detail, namespace, repairs))

    def mark(self) -> int:
        """A place to go back to."""
        return len(self._events)

    def drop(self, mark: int, names: Collection[str]) -> None:
        """Leave out what was said since then of where these namespaces are: it was taken back."""
        places = (NodeEventKind.NAMESPACE_PRESENT, NodeEventKind.NAMESPACE_ABSENT)
        self._events[mark:] = [
            event for event in self._events[mark:] if event.namespace not in names or event.kind not in places
        ]

    def tell(self) -> None:
        events, self._events = self._events, []
        for event in events:
            self._listener.happened(event)
