# SPDX-License-Identifier: Apache-2.0
"""Who watches: changes of the store, events of sockets and of the node, each to bounded queues.

Everything here belongs to the event loop, except for the Listener's methods, which the engine's thread calls.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from graft.v1 import errors_pb2, node_pb2, socket_pb2, watch_pb2
from graftd.api.errors import RefusedError
from graftd.errors import GraftError
from graftd.model import Change, EndpointRecord, NamespaceRecord, Record, Rule, namespace_of
from graftd.reconcile import NodeEvent

T = TypeVar("T")

_PIECE = 1000  # changes in one message of a Watch


class HistoryChangedError(GraftError):
    """The store was replaced: what a Watch has told is of another history."""


class Told(NamedTuple):
    """A change as watchers are told of it, with what they choose by."""

    namespace: str
    type: int
    message: watch_pb2.Change


class Commit(NamedTuple):
    """All changes of a revision."""

    revision: int
    time: datetime
    changes: tuple[Told, ...]


class SocketEvent(NamedTuple):
    namespace: str
    message: socket_pb2.SocketEvent


class Watcher:
    """The commits that a Watch has still to tell of."""

    def __init__(self, most: int) -> None:
        """most: changes that wait at a time; one commit may have more."""
        self._most = most
        self._waiting: deque[Commit] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._end: GraftError | None = None

    def put(self, commit: Commit) -> None:
        if self._end is not None:
            return
        if self._waiting and self._size + len(commit.changes) > self._most:
            last = self._waiting[0].revision - 1
            self.end(
                RefusedError(
                    errors_pb2.ERROR_REASON_WATCHER_TOO_SLOW,
                    f"more than {self._most} changes waited to be read: read faster; resume after revision {last}",
                    revision=last,
                )
            )
            return
        self._waiting.append(commit)
        self._size += len(commit.changes)
        self._wake.set()

    def end(self, error: GraftError) -> None:
        """Let the stream end with an error, at once."""
        self._end = self._end or error
        self._waiting.clear()
        self._wake.set()

    async def next(self, seconds: float) -> Commit | None:
        """The next commit; None if there was none for that long. Raises the error that ends the stream."""
        if not self._waiting and self._end is None:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
        if self._end is not None:
            raise self._end
        if not self._waiting:
            return None
        commit = self._waiting.popleft()
        self._size -= len(commit.changes)
        return commit


class Events(Generic[T]):
    """Events that a stream has still to tell of; the oldest are lost when there are too many."""

    def __init__(self, most: int, wanted: Callable[[T], bool]) -> None:
        self._most = most
        self._wanted = wanted
        self._waiting: deque[T] = deque()
        self._lost = 0
        self._kernel_lost = False
        self._wake = asyncio.Event()
        self._end: GraftError | None = None

    def put(self, event: T) -> None:
        if not self._wanted(event):
            return
        if len(self._waiting) == self._most:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(event)
        self._wake.set()

    def lose(self) -> None:
        """The kernel lost some."""
        self._kernel_lost = True
        self._wake.set()

    def end(self, error: GraftError) -> None:
        self._end = self._end or error
        self._wake.set()

    async def next(self) -> tuple[list[T], int, bool]:
        """What waits, at least one; how many were lost before; whether the kernel lost some. Raises the error that
        ends the stream."""
        while not self._waiting and not self._kernel_lost and self._end is None:
            self._wake.clear()
            await self._wake.wait()
        if self._end is not None:
            raise self._end
        found = list(self._waiting), self._lost, self._kernel_lost
        self._waiting.clear()
        self._lost, self._kernel_lost = 0, False
        return found


class Hub:
    """Where streams come to, and a Listener of the engine."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, most_watchers: int, most_changes: int, recent_events: int
    ) -> None:
        """most_watchers: streams of all kinds at a time. most_changes: that wait for one. recent_events: of sockets,
        kept in memory."""
        self._loop = loop
        self.most_watchers = most_watchers
        self.most_changes = most_changes
        self._watchers: set[Watcher] = set()
        self._sockets: set[Events[SocketEvent]] = set()
        self._nodes: set[Events[node_pb2.NodeEvent]] = set()
        self._recent: deque[SocketEvent] = deque(maxlen=recent_events)
        self._end: GraftError | None = None
        # How messages are made of what the engine tells; the server sets them before there is a stream.
        self.change_message: Callable[[Change], watch_pb2.Change] = lambda _change: watch_pb2.Change()
        self.node_message: Callable[[NodeEvent], node_pb2.NodeEvent] = lambda _event: node_pb2.NodeEvent()
        self.revision = 0  # the newest that was told of
        self.on_event: Callable[[NodeEvent], None] = lambda _event: None
        self.on_namespaces: Callable[[list[NamespaceRecord]], None] = lambda _records: None  # of those that changed

    def __len__(self) -> int:
        return len(self._watchers) + len(self._sockets) + len(self._nodes)

    # The engine's Listener

    def changed(self, changes: Sequence[Change]) -> None:
        # A stream that comes meanwhile asks this very thread, later, what is newest: it needs none of these.
        revision = changes[-1].revision
        namespaces = [change.record for change in changes if isinstance(change.record, NamespaceRecord)]
        if self._watchers or namespaces:
            # Messages are made here, for a large change would hold up the loop.
            told = tuple(commits(changes, self.change_message)) if self._watchers else ()
            self._loop.call_soon_threadsafe(self._spread, revision, namespaces, told)
        else:
            self.revision = revision  # nobody waits for it, and the loop need not wake

    def happened(self, event: NodeEvent) -> None:
        self._loop.call_soon_threadsafe(self._spread_event, event)

    def restored(self) -> None:
        self._loop.call_soon_threadsafe(self._end_watchers)

    # Sources

    def socket_event(self, namespace: str, message: socket_pb2.SocketEvent) -> None:
        event = SocketEvent(namespace, message)
        self._recent.append(event)
        for stream in self._sockets:
            stream.put(event)

    def sockets_lost(self) -> None:
        """The kernel dropped events that nobody had read in time."""
        for stream in self._sockets:
            stream.lose()

    def close(self) -> None:
        """End every stream, and refuse new ones."""
        self._end = RefusedError(
            errors_pb2.ERROR_REASON_SHUTTING_DOWN, "graftd is ending: resume when it is back, with the same revision"
        )
        streams: list[Watcher | Events[SocketEvent] | Events[node_pb2.NodeEvent]] = [
            *self._watchers,
            *self._sockets,
            *self._nodes,
        ]
        for stream in streams:
            stream.end(self._end)

    # Streams

    @contextlib.contextmanager
    def watcher(self) -> Iterator[Watcher]:
        self._check()
        watcher = Watcher(self.most_changes)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    @contextlib.contextmanager
    def socket_events(self, wanted: Callable[[SocketEvent], bool], recent: int) -> Iterator[Events[SocketEvent]]:
        """recent: how many of the past that are wanted come first."""
        self._check()
        stream = Events[SocketEvent](self.most_changes, wanted)
        past = [event for event in self._recent if wanted(event)]
        for event in past[len(past) - recent :] if recent else ():
            stream.put(event)
        self._sockets.add(stream)
        try:
            yield stream
        finally:
            self._sockets.discard(stream)

    @contextlib.contextmanager
    def node_events(self) -> Iterator[Events[node_pb2.NodeEvent]]:
        self._check()
        stream = Events[node_pb2.NodeEvent](self.most_changes, lambda _event: True)
        self._nodes.add(stream)
        try:
            yield stream
        finally:
            self._nodes.discard(stream)

    def _check(self) -> None:
        if self._end is not None:
            raise self._end
        if len(self) >= self.most_watchers:
            raise RefusedError(
                errors_pb2.ERROR_REASON_TOO_MANY_WATCHERS,
                f"{self.most_watchers} streams are open, as many as the configuration allows (server.max_watchers)",
                limit=self.most_watchers,
            )

    def _spread(self, revision: int, namespaces: list[NamespaceRecord], told: tuple[Commit, ...]) -> None:
        self.revision = max(self.revision, revision)
        self.on_namespaces(namespaces)
        for commit in told:
            for watcher in self._watchers:
                watcher.put(commit)

    def _spread_event(self, event: NodeEvent) -> None:
        self.on_event(event)
        if self._nodes:
            message = self.node_message(event)
            for stream in self._nodes:
                stream.put(message)

    def _end_watchers(self) -> None:
        error = HistoryChangedError()
        for watcher in self._watchers:
            watcher.end(error)


def commits(changes: Sequence[Change], message: Callable[[Change], watch_pb2.Change]) -> Iterator[Commit]:
    """Changes in order, by their revisions."""
    start = 0
    while start < len(changes):
        end = start
        while end < len(changes) and changes[end].revision == changes[start].revision:
            end += 1
        told = tuple(Told(namespace_of(one.record), _type_of(one.record), message(one)) for one in changes[start:end])
        yield Commit(changes[start].revision, changes[start].time, told)
        start = end


def pieces(messages: Sequence[watch_pb2.Change]) -> Iterator[tuple[Sequence[watch_pb2.Change], bool]]:
    """A revision's changes as messages take them, each with whether more follow."""
    for start in range(0, max(len(messages), 1), _PIECE):
        yield messages[start : start + _PIECE], start + _PIECE < len(messages)


def _type_of(record: Record) -> int:
    if isinstance(record, NamespaceRecord):
        return watch_pb2.RESOURCE_TYPE_NAMESPACE
    if isinstance(record, EndpointRecord):
        return watch_pb2.RESOURCE_TYPE_ENDPOINT
    return watch_pb2.RESOURCE_TYPE_RULE if isinstance(record.rule, Rule) else watch_pb2.RESOURCE_TYPE_ACL_RULE
