# SPDX-License-Identifier: Apache-2.0
"""The kernel's extended acknowledgement: its sentence, and which attribute it is about."""

import errno
import os
import struct
from typing import Any

from graftd.errors import KernelError
from graftd.kernel._messages import Message

_NLMSGHDR = 16
_ERROR = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")
_GENLMSGHDR = 4

# enum nlmsgerr_attrs
_MSG = 1
_OFFS = 2
_MISS_TYPE = 5
_MISS_NEST = 6

_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

# For refusals that come without a sentence: the kernel's generic code makes some.
_SENTENCES = {
    errno.EPERM: "this needs CAP_NET_ADMIN over the endpoint's target namespace and over the "
    "table's: run it as root of the host",
    errno.ENOENT: "there is no such thing in this table",
    errno.EEXIST: "the table has it already",
    errno.EBUSY: "another process has claimed the tables",
    errno.ESTALE: "the table changed in the meantime: read it again",
    errno.ENOSPC: "the table is full: raise its limit, or delete what is not needed",
    errno.EOPNOTSUPP: "the loaded module does not know this request: load the module of this version",
    errno.ENOBUFS: "the kernel's answer did not fit the socket's buffer",
}


def _attributes(data: bytes, start: int, end: int) -> list[tuple[int, int, int]]:
    """(type, offset, length) of each attribute between start and end."""
    found = []
    while start + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        length = max(length, _ATTRIBUTE.size)
        found.append((kind & _TYPE_MASK, start, length))
        start += (length + 3) & ~3
    return found


def _definition(nest: Any, kind: int) -> tuple[str, Any]:
    """The name and the class of an attribute of a message class or nest class."""
    for index, entry in enumerate(nest.nla_map):
        number, name, cls = entry if len(entry) == 3 else (index, *entry)
        if number == kind:
            return name, getattr(nest, cls)
    return f"attribute {kind}", None


def _path_to(sent: bytes, offset: int) -> tuple[tuple[str, ...], Any]:
    """The names of the attributes around `offset` of a request, and the innermost one's class."""
    path: list[str] = []
    nest: Any = Message
    start, end = _NLMSGHDR + _GENLMSGHDR, len(sent)
    while nest is not None and nest.nla_map:
        for kind, at, length in _attributes(sent, start, end):
            if at <= offset < at + length:
                name, nest = _definition(nest, kind)
                path.append(name)
                start, end = at + _ATTRIBUTE.size, at + length
                break
        else:
            break
        if offset < start:
            break
    return tuple(path), nest


def _missing(sent: bytes, kind: int, nest_offset: int | None) -> tuple[str, ...]:
    if nest_offset is None:
        return (_definition(Message, kind)[0],)
    path, nest = _path_to(sent, nest_offset)
    return (*path, _definition(nest, kind)[0])


def _number(data: bytes, at: int, length: int) -> int | None:
    return struct.unpack_from("=I", data, at + _ATTRIBUTE.size)[0] if length >= 8 else None


def error_of(data: bytes, sent: bytes, *, done: bool) -> KernelError | None:
    """What an NLMSG_ERROR or NLMSG_DONE message `data`, the answer to `sent`, refuses; None for
    an acknowledgement. The socket must have NETLINK_CAP_ACK and NETLINK_EXT_ACK on."""
    if len(data) < _NLMSGHDR + _ERROR.size:
        return None
    number = -_ERROR.unpack_from(data, _NLMSGHDR)[0]
    if number <= 0:
        return None
    start = _NLMSGHDR + _ERROR.size + (0 if done else _NLMSGHDR)
    sentence = ""
    attribute: tuple[str, ...] = ()
    missing = nest_offset = None
    for kind, at, length in _attributes(data, start, len(data)):
        if kind == _MSG:
            sentence = data[at + _ATTRIBUTE.size : at + length].rstrip(b" \0").decode(errors="replace")
        elif kind == _OFFS:
            offset = _number(data, at, length)
            attribute = _path_to(sent, offset)[0] if offset is not None else ()
        elif kind == _MISS_TYPE:
            missing = _number(data, at, length)
        elif kind == _MISS_NEST:
            nest_offset = _number(data, at, length)
    if missing is not None:
        attribute = _missing(sent, missing, nest_offset)
        sentence = sentence or "an attribute that this request needs is missing"
    return KernelError(number, sentence or sentence_for(number), attribute)


def sentence_for(number: int) -> str:
    return _SENTENCES.get(number) or f"{os.strerror(number)} ({errno.errorcode.get(number, number)})"
