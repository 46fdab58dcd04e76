# SPDX-License-Identifier: Apache-2.0
"""What can be asked of the module, blocking.

netns_fd, everywhere: a descriptor of the table namespace; None is the client's own namespace. Every
method raises KernelError, with the kernel's own sentence, for a refusal, and ModuleNotLoadedError.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from graftd.errors import KernelError
from graftd.kernel import _decode, _requests, netns
from graftd.kernel._decode import Nest
from graftd.kernel._extack import sentence_for
from graftd.kernel._requests import Request
from graftd.kernel._transport import Transport
from graftd.kernel._wire import NLMSG_MIN_TYPE, decode
from graftd.model import (
    Acl,
    AclRule,
    Endpoint,
    EndpointEntry,
    GraftedSocket,
    ModuleInfo,
    Notice,
    Rule,
    Rules,
    Table,
    TableSettings,
)

Item = TypeVar("Item")

_DUMP_TRIES = 10
_SET_TRIES = 20
_FIRST_PAUSE = 0.001  # seconds
_LONGEST_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """error: what a request was refused with. aborted: how many live sockets it ended."""

    error: KernelError | None = None
    aborted: int = 0


class Client:
    """A netlink socket of one namespace, which is the target of the endpoints that it makes unless they name another.

    target_fd, of endpoints: a descriptor of the target namespace; only from the initial namespace may it be
    another than the client's own (EPERM).
    """

    def __init__(self, transport: Transport, own_fd: int) -> None:
        self._transport = transport
        self._own_fd = own_fd

    @classmethod
    def open(cls, target_fd: int | None = None) -> Client:
        """A client in the namespace behind target_fd, or in the calling thread's."""

        def here() -> Client:
            own = netns.open_current()
            try:
                return cls(Transport(), own)
            except OSError:
                os.close(own)
                raise

        return here() if target_fd is None else netns.call_in(target_fd, here)

    def close(self) -> None:
        self._transport.close()
        os.close(self._own_fd)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The module and its claim

    def info(self) -> ModuleInfo:
        return _decode.info(self._one(_requests.info_get()))

    def claim(self, claimant: str) -> None:
        """Until unclaim or close, the tables written from this namespace are this client's."""
        self._do(_requests.claim(claimant))

    def unclaim(self) -> None:
        self._do(_requests.unclaim())

    # Tables

    def table(self, netns_fd: int | None = None) -> Table:
        return _decode.table(self._one(_requests.table_get(netns_fd)))

    def tables(self) -> list[Table]:
        return [_decode.table(message) for message in self._dump(_requests.tables_dump())]

    def set_table(self, settings: TableSettings, netns_fd: int | None = None) -> None:
        self._do(_requests.table_set(netns_fd, settings))

    # Endpoints

    def endpoints(self, netns_fd: int | None = None) -> list[EndpointEntry]:
        return self._items(_requests.endpoints_dump(netns_fd), _decode.endpoints)

    def endpoint(self, name: str, netns_fd: int | None = None) -> EndpointEntry:
        return next(_decode.endpoints(self._one(_requests.endpoint_get(netns_fd, name))))

    def put_endpoint(
        self,
        endpoint: Endpoint,
        netns_fd: int | None = None,
        *,
        target_fd: int | None = None,
        create: bool = True,
        replace: bool = False,
        abort: bool = False,
    ) -> int:
        """create alone refuses a name that exists (EEXIST), replace alone one that does not
        (ENOENT). abort ends the live sockets of what is replaced; how many is returned."""
        return self._aborted(
            self.endpoint_request(endpoint, netns_fd, target_fd=target_fd, create=create, replace=replace, abort=abort)
        )

    def endpoint_request(
        self,
        endpoint: Endpoint,
        netns_fd: int | None = None,
        *,
        target_fd: int | None = None,
        create: bool = True,
        replace: bool = False,
        abort: bool = False,
    ) -> Request:
        """What put_endpoint sends, for `batch`."""
        target = self._own_fd if target_fd is None else target_fd
        return _requests.endpoint_new(netns_fd, endpoint, target, create=create, replace=replace, abort=abort)

    def delete_endpoint(self, name: str, netns_fd: int | None = None, *, abort: bool = False) -> int:
        """How many live sockets were aborted."""
        return self._aborted(_requests.endpoint_del(netns_fd, name, abort=abort))

    # Rules and ACL

    def rules(self, netns_fd: int | None = None) -> Rules:
        generation, rules = self._versioned(netns_fd, _requests.rules_dump(netns_fd), _decode.rules)
        return Rules(generation, rules)

    def set_rules(self, rules: Iterable[Rule], netns_fd: int | None = None, *, generation: int | None = None) -> None:
        """Replace all rules at once. With a generation, only if the table still has it (ESTALE)."""
        self._do(_requests.rules_set(netns_fd, rules, generation))

    def edit_rules(self, edit: Callable[[tuple[Rule, ...]], Iterable[Rule]], netns_fd: int | None = None) -> None:
        """Make the rules what `edit` makes of them, against no other writer's change."""

        def once() -> None:
            now = self.rules(netns_fd)
            self.set_rules(edit(now.rules), netns_fd, generation=now.generation)

        self._until_fresh(once)

    def acl(self, netns_fd: int | None = None) -> Acl:
        generation, rules = self._versioned(netns_fd, _requests.acl_dump(netns_fd), _decode.acls)
        return Acl(generation, rules)

    def set_acl(
        self,
        rules: Iterable[AclRule],
        netns_fd: int | None = None,
        *,
        generation: int | None = None,
        abort: bool = False,
    ) -> int:
        """As set_rules; the order of the rules is the order of their trial. abort ends the live
        sockets that lose their grant; how many is returned."""
        return self._aborted(_requests.acl_set(netns_fd, rules, generation, abort=abort))

    def edit_acl(
        self,
        edit: Callable[[tuple[AclRule, ...]], Iterable[AclRule]],
        netns_fd: int | None = None,
        *,
        abort: bool = False,
    ) -> int:
        """As edit_rules; how many live sockets were aborted."""

        def once() -> int:
            now = self.acl(netns_fd)
            return self.set_acl(edit(now.rules), netns_fd, generation=now.generation, abort=abort)

        return self._until_fresh(once)

    # Live sockets

    def sockets(self, netns_fd: int | None = None) -> list[GraftedSocket]:
        """Of one table; without netns_fd, of every table that the client's namespace owns."""
        return self._items(_requests.sockets_dump(netns_fd), _decode.sockets)

    def abort_socket(self, cookie: int, netns_fd: int | None = None) -> int:
        return self._aborted(_requests.socket_abort(netns_fd, cookie))

    def abort_sockets(self, endpoint: str, netns_fd: int | None = None) -> int:
        return self._aborted(_requests.sockets_abort(netns_fd, endpoint))

    # Many at once, and notifications

    def batch(self, requests: Sequence[Request]) -> list[Outcome]:
        """Send all; for each, what came of it. Dumps have no place here."""
        return [Outcome(reply.error, _ended(reply.messages)) for reply in self._transport.exchange(requests)]

    @property
    def family(self) -> int:
        """The number that the module's family had when it was last asked for: another one after it was loaded
        anew. Raises ModuleNotLoadedError."""
        return self._transport.family().id

    def listen(self, groups: Iterable[str]) -> Iterator[Notice | None]:
        """Notifications as they come; None tells that the kernel had to drop some. The client is
        the listener's from then on."""
        self._transport.join(groups)
        return self._notices()

    def _notices(self) -> Iterator[Notice | None]:
        while True:
            try:
                received = list(self._transport.receive())
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield None
                continue
            for frame in received:
                if frame.type >= NLMSG_MIN_TYPE and frame.sequence == 0:
                    notice = _decode.notice(*decode(frame))
                    if notice is not None:
                        yield notice

    def _do(self, request: Request) -> list[Nest]:
        (reply,) = self._transport.exchange([request])
        if reply.error is not None:
            raise reply.error
        return reply.messages

    def _one(self, request: Request) -> Nest:
        messages = self._do(request)
        if not messages:
            raise KernelError(errno.EPROTO, "the module gave no answer: load the module of this version")
        return messages[0]

    def _aborted(self, request: Request) -> int:
        return _ended(self._do(request))

    def _dump(self, request: Request) -> list[Nest]:
        for _ in range(_DUMP_TRIES):
            (reply,) = self._transport.exchange([request])
            if reply.error is not None and reply.error.errno != errno.EINTR:
                raise reply.error
            if not reply.interrupted and reply.error is None:
                return reply.messages
        raise KernelError(
            errno.EINTR,
            f"the table changed under each of {_DUMP_TRIES} attempts to read it: try again",
        )

    def _items(self, request: Request, decoder: Callable[[Nest], Iterator[Item]]) -> list[Item]:
        return [item for message in self._dump(request) for item in decoder(message)]

    def _versioned(
        self,
        netns_fd: int | None,
        request: Request,
        decoder: Callable[[Nest], Iterator[Item]],
    ) -> tuple[int, tuple[Item, ...]]:
        """The generation is read first: if the table changes in between, the pair is refused as
        stale when it comes back, and never taken for fresh."""
        generation = self.table(netns_fd).generation
        return generation, tuple(self._items(request, decoder))

    def _until_fresh(self, write: Callable[[], Item]) -> Item:
        for attempt in range(_SET_TRIES):
            try:
                return write()
            except KernelError as error:
                if error.errno != errno.ESTALE:
                    raise
            # Writers that go on in step lose to one another again and again.
            longest = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)
            time.sleep(random.uniform(0, longest))  # noqa: S311 nothing secret
        raise KernelError(errno.ESTALE, sentence_for(errno.ESTALE))


def _ended(messages: Iterable[Nest]) -> int:
    return sum(message.number("ABORTED") for message in messages)
