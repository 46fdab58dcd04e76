# SPDX-License-Identifier: Apache-2.0
"""WatchService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial

from graft.v1 import errors_pb2, watch_pb2
from graftd.api import names
from graftd.api.call import Call, Core
from graftd.api.convert import values
from graftd.api.errors import RefusedError, Violations
from graftd.api.hub import Commit, HistoryChangedError, Hub, Told, commits, pieces
from graftd.store import Snapshot

_QUIET_SECONDS = 30.0
_PAGE = 1000


class WatchService:
    """See proto/graft/v1/watch.proto."""

    def __init__(self, core: Core, hub: Hub) -> None:
        self._core = core
        self._hub = hub

    async def Watch(self, request: watch_pb2.WatchRequest, call: Call) -> AsyncIterator[watch_pb2.WatchResponse]:
        parent, after = _read(request)
        wanted = self._wanted(request, call, parent)
        with self._hub.watcher() as watcher:
            history, newest = await call.read(lambda view: (view.history_id, view.revision))
            if request.history_id and request.history_id != history:
                raise _other_history(history)
            told = newest if after is None else after
            yield watch_pb2.WatchResponse(revision=told, history_id=history)
            async for commit in self._past(after, newest, parent):
                for message in _messages(commit, wanted, history):
                    yield message
            told = max(told, newest)
            while True:
                try:
                    next_commit = await watcher.next(_QUIET_SECONDS)
                except HistoryChangedError:
                    raise _other_history(await call.read(lambda view: view.history_id)) from None
                if next_commit is None:
                    told = max(told, self._hub.revision)
                    yield watch_pb2.WatchResponse(revision=told, history_id=history)
                elif next_commit.revision > told:
                    told = next_commit.revision
                    for message in _messages(next_commit, wanted, history):
                        yield message

    async def _past(self, after: int | None, newest: int, parent: str) -> AsyncIterator[Commit]:
        """What was committed after a revision, up to `newest`; None: nothing of the past."""
        namespace = None if parent == names.EVERY else parent
        while after is not None:
            look = partial(Snapshot.changes, after=after, limit=_PAGE, namespace=namespace)
            page = await self._core.run(self._core.engine.read, look)
            for commit in commits(page.changes, self._hub.change_message):
                if commit.revision <= newest:
                    yield commit
            after = page.through if page.through < newest else None

    def _wanted(self, request: watch_pb2.WatchRequest, call: Call, parent: str) -> Callable[[Told], bool]:
        types = frozenset(request.types)

        def wanted(change: Told) -> bool:
            if types and change.type not in types:
                return False
            return change.namespace == parent if parent != names.EVERY else call.sees(change.namespace)

        return wanted


def _read(request: watch_pb2.WatchRequest) -> tuple[str, int | None]:
    """The parent, and the revision after which to begin."""
    found = Violations()
    parent = names.parse_parent(request.parent, "parent", found)
    for index, number in enumerate(request.types):
        if number not in watch_pb2.ResourceType.values() or not number:
            found.add(f"types[{index}]", f"{number} is unknown: say NAMESPACE, ENDPOINT, RULE or ACL_RULE")
    after = request.after_revision if request.HasField("after_revision") else None
    if after is not None and after < 0:
        found.add("after_revision", f"{after} is negative: revisions go from 0")
    found.check()
    return parent, after


def _other_history(history: str) -> RefusedError:
    return RefusedError(
        errors_pb2.ERROR_REASON_HISTORY_CHANGED,
        "that revision is of another history, from before a backup was restored: list everything anew",
        history_id=history,
    )


def _messages(commit: Commit, wanted: Callable[[Told], bool], history: str) -> list[watch_pb2.WatchResponse]:
    """What a stream is told of a commit; nothing where nothing of it is wanted."""
    changes = [one.message for one in commit.changes if wanted(one)]
    if not changes:
        return []
    return [
        watch_pb2.WatchResponse(
            revision=commit.revision,
            changes=piece,
            fragment=more,
            commit_time=values.timestamp(commit.time),
            history_id=history,
        )
        for piece, more in pieces(changes)
    ]
