# SPDX-License-Identifier: Apache-2.0
"""A watch that goes on: after a broken stream by revision, and where that is gone by listing anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from graft.v1.watch_pb2 import (
    CHANGE_KIND_CREATED,
    RESOURCE_TYPE_ACL_RULE,
    RESOURCE_TYPE_ENDPOINT,
    RESOURCE_TYPE_NAMESPACE,
    RESOURCE_TYPE_RULE,
    Change,
    ResourceType,
    WatchRequest,
    WatchResponse,
)
from graft_client._errors import GraftdError
from graft_client._transport import BROKEN, PASSING, Transport, pauses

LIST_ANEW = frozenset({"REVISION_GONE", "REVISION_AHEAD", "HISTORY_CHANGED"})
TYPES = {
    RESOURCE_TYPE_NAMESPACE: "namespace",
    RESOURCE_TYPE_ENDPOINT: "endpoint",
    RESOURCE_TYPE_RULE: "rule",
    RESOURCE_TYPE_ACL_RULE: "acl_rule",
}
# What lists one type of resource: its changes, all of kind CREATED, and the revision as of which.
Lister = Callable[[], tuple[Sequence[Change], int]]


@dataclass(frozen=True, slots=True)
class Batch:
    """The changes of one revision, whole; or, if `relisted`, everything that there is.

    revision: everything up to it has been told; what a later watch goes on after, with `history_id`.
    relisted: changes may have been missed. `changes` holds every resource as CREATED: forget what you knew.
    """

    revision: int
    changes: tuple[Change, ...]
    time: datetime | None = None
    relisted: bool = False
    history_id: str = ""


class Watch:
    """Iterates over batches for as long as it is asked to."""

    def __init__(
        self,
        transport: Transport,
        request: WatchRequest,
        listers: dict[ResourceType, Lister],
        *,
        initial: bool,
        on_break: Callable[[GraftdError], object] | None,
    ) -> None:
        self._transport = transport
        self._request = request
        self._listers = {kind: listers[kind] for kind in (request.types or TYPES)}
        # Of a type that was listed as of a later revision than others: what is told already.
        self._told: dict[str, int] = {}
        self._initial = initial
        self._on_break = on_break
        self._reached = False

    def __iter__(self) -> Iterator[Batch]:
        if self._initial:
            yield self._list()
        waiting = pauses()
        while True:
            try:
                for batch in self._stream():
                    waiting = pauses()
                    yield batch
            except GraftdError as error:
                if error.reason in LIST_ANEW:
                    yield self._list()
                elif not self._goes_on(error):
                    raise
                else:
                    if self._on_break:
                        self._on_break(error)
                    time.sleep(next(waiting))

    def _goes_on(self, error: GraftdError) -> bool:
        """Whether a stream that ended so is asked for again. One that never began says why at once."""
        passing = error.reason in PASSING or error.reason == "WATCHER_TOO_SLOW"
        broken = error.status in BROKEN and not error.reason
        return passing or (self._reached and broken)

    def _stream(self) -> Iterator[Batch]:
        parts: list[Change] = []
        for answer in self._transport.stream(WatchResponse, "WatchService/Watch", self._request):
            self._reached = True
            parts += answer.changes
            if answer.fragment:
                continue
            changes = tuple(
                one for one in parts if answer.revision > self._told.get(one.WhichOneof("resource") or "", 0)
            )
            parts = []
            self._request.after_revision = answer.revision
            self._request.history_id = answer.history_id
            if changes:
                seconds = answer.commit_time.seconds + answer.commit_time.nanos / 1e9
                when = datetime.fromtimestamp(seconds, UTC) if answer.HasField("commit_time") else None
                yield Batch(answer.revision, changes, when, history_id=answer.history_id)
        raise GraftdError("graftd ended the watch", status="UNAVAILABLE", reason="SHUTTING_DOWN")

    def _list(self) -> Batch:
        listed = {kind: lister() for kind, lister in self._listers.items()}
        self._reached = True
        self._told = {TYPES[kind]: revision for kind, (_, revision) in listed.items()}
        revision = min(self._told.values())
        self._request.after_revision = revision
        # Of which history the lists are, the next answer tells.
        self._request.history_id = ""
        changes = tuple(change for found, _ in listed.values() for change in found)
        return Batch(revision, changes, relisted=True)


def created(field: str, resources: Iterable[object]) -> list[Change]:
    """Resources as changes that created them."""
    return [Change(kind=CHANGE_KIND_CREATED, **{field: one}) for one in resources]  # type: ignore[arg-type]
