# SPDX-License-Identifier: Apache-2.0
"""Every request of the family as a value, before it has a sequence number or a socket.

netns_fd: a descriptor of the table namespace; None is the namespace of the socket that sends the
request. Descriptors must stay open until the answer is there.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from graftd.kernel import _encode
from graftd.kernel._encode import Pair
from graftd.kernel._messages import Command
from graftd.model import AclRule, Endpoint, Rule, TableSettings

NLM_F_REQUEST = 0x01
NLM_F_ACK = 0x04
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300


@dataclass(frozen=True, slots=True)
class Request:
    command: Command
    pairs: tuple[Pair, ...] = ()
    flags: int = NLM_F_REQUEST | NLM_F_ACK
    dump: bool = False


def _scope(netns_fd: int | None) -> list[Pair]:
    return [] if netns_fd is None else [("GRAFT_A_NETNS_FD", netns_fd)]


def _expect(generation: int | None) -> list[Pair]:
    return [] if generation is None else [("GRAFT_A_GENERATION", generation)]


def _abort(*, abort: bool) -> list[Pair]:
    return [("GRAFT_A_ABORT", True)] if abort else []


def _dump(command: Command, netns_fd: int | None) -> Request:
    return Request(command, tuple(_scope(netns_fd)), NLM_F_REQUEST | NLM_F_DUMP, dump=True)


def info_get() -> Request:
    return Request(Command.INFO_GET)


def claim(claimant: str) -> Request:
    return Request(Command.CLAIM, (("GRAFT_A_CLAIMANT", _encode.text(claimant)),))


def unclaim() -> Request:
    return Request(Command.UNCLAIM)


def table_get(netns_fd: int | None) -> Request:
    return Request(Command.TABLE_GET, tuple(_scope(netns_fd)))


def tables_dump() -> Request:
    """Every table that the socket's namespace owns; from the initial namespace, every table."""
    return _dump(Command.TABLE_GET, None)


def table_set(netns_fd: int | None, settings: TableSettings, generation: int | None = None) -> Request:
    pairs = [*_scope(netns_fd), *_expect(generation), _encode.settings(settings)]
    return Request(Command.TABLE_SET, tuple(pairs))


def endpoint_new(
    netns_fd: int | None,
    endpoint: Endpoint,
    target_fd: int,
    *,
    create: bool,
    replace: bool,
    abort: bool = False,
) -> Request:
    """create alone refuses a name that exists, replace alone one that does not."""
    flags = NLM_F_REQUEST | NLM_F_ACK
    flags |= NLM_F_CREATE if create else 0
    flags |= NLM_F_REPLACE if replace else NLM_F_EXCL
    pairs = [*_scope(netns_fd), _encode.endpoint(endpoint, target_fd), *_abort(abort=abort)]
    return Request(Command.ENDPOINT_NEW, tuple(pairs), flags)


def endpoint_del(netns_fd: int | None, name: str, *, abort: bool = False) -> Request:
    pairs = [*_scope(netns_fd), _encode.endpoint_name(name), *_abort(abort=abort)]
    return Request(Command.ENDPOINT_DEL, tuple(pairs))


def endpoint_get(netns_fd: int | None, name: str) -> Request:
    pairs = [*_scope(netns_fd), _encode.endpoint_name(name)]
    return Request(Command.ENDPOINT_GET, tuple(pairs))


def endpoints_dump(netns_fd: int | None) -> Request:
    return _dump(Command.ENDPOINT_GET, netns_fd)


def rules_set(netns_fd: int | None, rules: Iterable[Rule], generation: int | None = None) -> Request:
    pairs = [*_scope(netns_fd), *_expect(generation), *map(_encode.rule, rules)]
    return Request(Command.RULES_SET, tuple(pairs))


def rules_dump(netns_fd: int | None) -> Request:
    return _dump(Command.RULES_GET, netns_fd)


def acl_set(
    netns_fd: int | None,
    rules: Iterable[AclRule],
    generation: int | None = None,
    *,
    abort: bool = False,
) -> Request:
    pairs = [
        *_scope(netns_fd),
        *_expect(generation),
        *_abort(abort=abort),
        *map(_encode.acl, rules),
    ]
    return Request(Command.ACL_SET, tuple(pairs))


def acl_dump(netns_fd: int | None) -> Request:
    return _dump(Command.ACL_GET, netns_fd)


def sockets_dump(netns_fd: int | None) -> Request:
    """Without a namespace: the sockets of all tables that the socket's namespace owns; from the
    initial namespace, of every table."""
    return _dump(Command.SOCKET_GET, netns_fd)


def socket_abort(netns_fd: int | None, cookie: int) -> Request:
    socket = _encode.nest("GRAFT_A_SOCKET", [("GRAFT_SOCK_A_COOKIE", cookie)])
    return Request(Command.SOCKET_ABORT, (*_scope(netns_fd), socket))


def sockets_abort(netns_fd: int | None, endpoint: str) -> Request:
    socket = _encode.nest("GRAFT_A_SOCKET", [("GRAFT_SOCK_A_ENDPOINT", _encode.text(endpoint))])
    return Request(Command.SOCKET_ABORT, (*_scope(netns_fd), socket))
