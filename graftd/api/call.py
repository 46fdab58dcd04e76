# SPDX-License-Identifier: Apache-2.0
"""What every method shares: one call with its caller, and the way to the engine's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

import grpc
from google.protobuf.message import Message

from graft.v1 import common_pb2
from graftd.access import Role
from graftd.api import names, requests
from graftd.api.access import Access
from graftd.api.bounds import check_changes, check_failed
from graftd.api.convert import values
from graftd.api.errors import Violations
from graftd.api.pages import Cursor, Pages
from graftd.api.peer import Peer
from graftd.errors import GraftError
from graftd.model import EndpointRecord, NamespaceRecord, Record, Rule
from graftd.reconcile import Carried, Engine, EngineThread, Resource, ResourceKind, SyncState
from graftd.store import Transaction, View

P = ParamSpec("P")
T = TypeVar("T")
AnyMessage = TypeVar("AnyMessage", bound=Message)

ABORTED_KEY = "graft-aborted-sockets"


class Core:
    """The engine, as it is called from the loop, and what answers are made with."""

    def __init__(self, engine: Engine, thread: EngineThread, access: Access, pages: Pages) -> None:
        self.engine = engine
        self._thread = thread
        self.access = access
        self.pages = pages
        self.boot_id = engine.own.boot_id
        self._refusal: GraftError | None = None

    def refuse(self, error: GraftError) -> None:
        """From now on answer with this whatever the engine has not begun to do."""
        self._refusal = error
        self._thread.refuse(error)

    async def idle(self, seconds: float) -> None:
        """Wait until the engine does nothing, so long at most."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._thread.run(int), seconds)

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something in the engine's thread that only reads."""
        if self._refusal is not None:
            raise self._refusal
        return await self._thread.run(function, *args, **kwargs)

    async def finish(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something there that changes anything. Whoever asked may go away meanwhile: it is done all the same,
        counted and told of."""
        if self._refusal is not None:
            raise self._refusal
        return await self._thread.finish(function, *args, **kwargs)

    def sync(self, record: Record) -> common_pb2.Sync:
        """How a record stands against the kernel. In the engine's thread."""
        found = self.engine.sync(resource_of(record))
        if found.state is SyncState.IN_SYNC:
            return values.IN_SYNC
        return (values.failed if found.state is SyncState.FAILED else values.pending)(found.detail)


@dataclass(frozen=True, slots=True)
class Once(Generic[AnyMessage]):
    """A request that is carried out once, by its id; "" for one that has none, which is not remembered."""

    caller: str
    id: str
    asked: bytes
    answer: type[AnyMessage]

    def known(self, view: View) -> AnyMessage | None:
        """What was answered before. Raises RequestIdReusedError."""
        known = view.recall(self.caller, self.id, self.asked) if self.id else None
        return None if known is None else self.answer.FromString(known)

    def keep(self, transaction: Transaction, message: AnyMessage) -> None:
        if self.id:
            transaction.remember(self.caller, self.id, self.asked, message.SerializeToString())

    def forget(self, transaction: Transaction) -> None:
        """Of a change that was taken back."""
        if self.id:
            transaction.forget(self.caller, self.id)


@dataclass(slots=True)
class Call:
    """One call. method: its full name, as in /graft.v1.RuleService/GetRule. namespace: the id of the one that it is
    about, as of the gate's scope_of."""

    core: Core
    method: str
    peer: Peer
    context: grpc.aio.ServicerContext[Any, Any]
    namespace: str | None = None
    trailing: dict[str, str] = field(default_factory=dict)

    @property
    def access(self) -> Access:
        return self.core.access

    def sees(self, namespace: str) -> bool:
        """Whether a list or a watch of every namespace tells this caller of it."""
        return self.access.visible(self.peer, self.method, namespace)

    def check_admin(self, namespace: str) -> None:
        """Raise PermissionDeniedError unless the caller is an admin."""
        self.access.check(self.peer, self.method, namespace, least=Role.ADMIN)

    async def read(self, look: Callable[[View], T]) -> T:
        return await self.core.run(self.core.engine.read, look)

    async def change(
        self,
        request: Any,
        answer: type[AnyMessage],
        act: Callable[[Transaction], Callable[[Carried], AnyMessage]],
        *,
        abort: bool = False,
        tell_aborted: bool = False,
        within_policy: bool = False,
    ) -> AnyMessage:
        """Make a change, or repeat the answer of the same request. tell_aborted: how many sockets ended goes into the
        trailing metadata. within_policy: as of Access.bounds."""
        once = self.once(request, answer)

        def whole(transaction: Transaction) -> Callable[[Carried], AnyMessage]:
            known = once.known(transaction)
            if known is not None:
                return lambda _carried: known
            bounds_of = partial(self.access.bounds, self.peer, within_policy=within_policy)
            try:
                finish = act(transaction)
            except GraftError as error:
                check_failed(transaction, error, self.check_admin, bounds_of)
                raise
            # Before the kernel is told of what the caller may not map.
            check_changes(transaction, self.check_admin, bounds_of)

            def kept(carried: Carried) -> AnyMessage:
                message = finish(carried)
                once.keep(transaction, message)
                carried.undo.append(once.forget)
                return message

            return kept

        engine = self.core.engine
        message, aborted = await self.core.finish(
            engine.change, whole, dry_run=request.validate_only, abort=abort, about=self.namespace
        )
        if tell_aborted and abort:
            self.trailing[ABORTED_KEY] = str(aborted)
        return message

    def once(self, request: Any, answer: type[AnyMessage]) -> Once[AnyMessage]:
        """What is known of a request that changes something. Raises InvalidFieldsError for its id."""
        found = Violations()
        request_id = requests.read_request_id(request.request_id, found)
        found.check()
        if request.validate_only:
            request_id = ""
        asked = requests.fingerprint(self.method, request) if request_id else b""
        return Once(self.peer.caller, request_id, asked, answer)

    # Lists

    def cursor(self, request: Any) -> Cursor | None:
        return self.core.pages.read(self.method, request, self.peer.caller)

    def token(self, request: Any, cursor: Cursor) -> str:
        return self.core.pages.write(cursor, self.method, request, self.peer.caller)


@dataclass(frozen=True, slots=True)
class Page:
    """Records of a list's page, the revision of its first page, and where the next one goes on; None on the last."""

    records: list[Any]
    revision: int
    after: tuple[str | int, ...] | None

    def token(self, call: Call, request: Any, guard: str = "") -> str:
        """Of the next page; "" on the last. guard: as of Cursor."""
        return "" if self.after is None else call.token(request, Cursor(self.after, self.revision, guard))


def walk(
    view: View,
    call: Call,
    parent: str,
    cursor: Cursor | None,
    size: int,
    *,
    records: Callable[[str, str, int], Iterable[Any]],
    key: Callable[[Any], str],
    matches: Callable[[Any], bool] = lambda _record: True,
) -> Page:
    """A page of what namespaces hold: of one, or, in order, of every one that the caller sees.

    records: those of a namespace after a key, at most so many, in order; key: a record's.
    """
    namespace, after = (str(cursor.after[0]), str(cursor.after[1])) if cursor else ("", "")
    revision = cursor.revision if cursor else view.revision
    found: list[Any] = []
    for name in _namespaces(view, call, parent, namespace):
        position = after if name == namespace else ""
        while page := list(records(name, position, size + 1)):
            for record in page:
                position = key(record)
                if not matches(record):
                    continue
                if len(found) == size:
                    return Page([one for _, one in found], revision, (found[-1][0], key(found[-1][1])))
                found.append((name, record))
            if len(page) <= size:
                break
    return Page([one for _, one in found], revision, None)


def _namespaces(view: View, call: Call, parent: str, first: str) -> Iterator[str]:
    """From `first` on, in order."""
    if parent != names.EVERY:
        view.namespace(parent)  # or NotFoundError
        yield parent
        return
    if first and call.sees(first) and view.find_namespace(first) is not None:
        yield first
    after = first
    while page := view.namespaces(after=after):
        for record in page:
            after = record.namespace.name
            if call.sees(after):
                yield after


def resource_of(record: Record) -> Resource:
    if isinstance(record, NamespaceRecord):
        return Resource(ResourceKind.NAMESPACE, record.namespace.name)
    if isinstance(record, EndpointRecord):
        return Resource(ResourceKind.ENDPOINT, record.namespace, record.value.endpoint.name)
    kind = ResourceKind.RULE if isinstance(record.rule, Rule) else ResourceKind.ACL_RULE
    return Resource(kind, record.namespace, record.id)


def has_labels(labels: Any, wanted: Any) -> bool:
    """Whether all of `wanted` are among `labels`, with their values."""
    return all(labels.get(key) == value for key, value in wanted.items())


@contextmanager
def at_index(index: int | None) -> Iterator[None]:
    """An error from inside is about this part of a batch; None: nobody knows which."""
    try:
        yield
    except GraftError as error:
        if index is not None:
            error.index = index
        raise
