# SPDX-License-Identifier: Apache-2.0
"""ip-graft add | change | replace | del | show"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from graftd.model import Endpoint, EndpointEntry, EndpointType
from ip_graft import notes, values
from ip_graft.session import Session, counters_json, counters_text, say_aborted
from ip_graft.words import UsageError, Words, build, match

USAGE = """\
Usage: ip-graft add NAME type { ipv4 | ipv6 } addr ADDR port { N | LO-HI | any }
                     [ proto { tcp | udp | both } ] [ netns { NAME | PID } ] [ mark M ]
                     [ dev DEVICE ] [ max-sockets N ] [ privileged ]
       ip-graft add NAME type unix path @NAME [ netns { NAME | PID } ]
       ip-graft { change | replace } NAME ... [ abort ]
       ip-graft del NAME [ abort ]
       ip-graft [ -s ] show [ NAME ]

add makes an endpoint, change redefines one, replace does either. netns is the namespace in which
the endpoint's sockets live; without it, this one. A port is fixed, any (the kernel chooses one;
dynamic says the same), or a range, of which the program asks for one. abort ends the live sockets
of the endpoint, which otherwise go on. -s shows counters.
"""


def _path(word: str) -> bytes:
    if not word.startswith("@"):
        raise UsageError(f"'{word}' is no abstract name: write '@{word}', for only abstract names can be grafted")
    return os.fsencode(word)[1:]


def _type(word: str) -> EndpointType:
    return EndpointType[match(word, ("ipv4", "ipv6", "unix"), "type").upper()]


# Keyword to the endpoint's field, and how its value is read.
_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "type": ("type", _type),
    "addr": ("address", values.address),
    "port": ("ports", values.ports),
    "path": ("path", _path),
    "proto": ("protocols", values.protocols),
    "mark": ("mark", partial(values.number, what="mark")),
    "dev": ("device", str),
    "max-sockets": ("max_sockets", partial(values.number, what="limit")),
}


class Request(NamedTuple):
    """What is asked for: target selects the endpoint's target namespace, None is this one."""

    endpoint: Endpoint
    target: str | None = None
    abort: bool = False


_FLAGS = ("privileged", "abort")


def parse(words: Words) -> Request:
    given: dict[str, Any] = {"name": words.value("the endpoint's name")}
    netns = None
    seen: set[str] = set()
    while words:
        keyword = words.keyword((*_READERS, "netns", *_FLAGS), "keyword")
        if keyword in seen:
            raise UsageError(f"'{keyword}' is said twice: once is enough")
        seen.add(keyword)
        if keyword in _FLAGS:
            continue
        word = words.value(f"the value of '{keyword}'")
        if keyword == "netns":
            netns = word
        else:
            name, reader = _READERS[keyword]
            given[name] = reader(word)
    _check_complete(seen, given)
    endpoint = build(Endpoint, **given, privileged="privileged" in seen)
    return Request(endpoint, netns, "abort" in seen)


_UNIX_WORDS = (("path",), ("addr", "port", "proto", "mark", "dev"))
_INET_WORDS = (("addr", "port"), ("path",))
_EXAMPLES = {
    "path": "path @NAME",
    "addr": "addr ADDRESS",
    "port": "port 80, port any or port 8000-8010",
}


def _check_complete(seen: set[str], given: dict[str, Any]) -> None:
    kind = given.get("type")
    if kind is None:
        raise UsageError("'type' is missing: say type ipv4, type ipv6 or type unix")
    needed, strange = _UNIX_WORDS if kind is EndpointType.UNIX else _INET_WORDS
    for keyword in needed:
        if keyword not in seen:
            raise UsageError(f"'{keyword}' is missing: an endpoint of type {kind.word} needs {_EXAMPLES[keyword]}")
    for keyword in strange:
        if keyword in seen:
            raise UsageError(f"an endpoint of type {kind.word} has no '{keyword}': leave it out")


def put(session: Session, words: Words, *, create: bool, replace: bool) -> None:
    request = parse(words)
    if request.abort and not replace:
        raise UsageError("a new endpoint has no live sockets to abort: leave 'abort' out")
    target = session.target_fd(request.target)
    fd = session.table_fd(elsewhere=target is not None)
    aborted = session.client(target).put_endpoint(
        request.endpoint, fd, create=create, replace=replace, abort=request.abort
    )
    say_aborted(session, aborted)
    notes.on_endpoint(session, request.endpoint, target)


def delete(session: Session, words: Words) -> None:
    name = words.value("the endpoint's name")
    abort = bool(words) and words.keyword(("abort",), "keyword") == "abort"
    words.end()
    say_aborted(session, session.client().delete_endpoint(name, session.table_fd(), abort=abort))


def show(session: Session, words: Words) -> None:
    name = words.value("the endpoint's name") if words else ""
    words.end()
    client, fd = session.client(), session.table_fd()
    entries = [client.endpoint(name, fd)] if name else client.endpoints(fd)
    if session.options.json:
        session.show([entry_json(session, entry) for entry in entries], ())
    else:
        session.show([], (entry_text(session, entry) for entry in entries))


def entry_text(session: Session, entry: EndpointEntry) -> str:
    endpoint = entry.endpoint
    words = [f"{values.safe(endpoint.name)}: type {endpoint.type.word}"]
    if endpoint.type is EndpointType.UNIX:
        words.append(f"path @{values.safe(os.fsdecode(endpoint.path))}")
    elif endpoint.ports is not None:
        words.append(f"addr {endpoint.address} port {values.ports_text(endpoint.ports)}")
        words.append(f"proto {','.join(endpoint.protocols.words)}")
    words.append(f"target {values.safe(session.namespace_text(entry.target_cookie))}")
    if endpoint.mark:
        words.append(f"mark 0x{endpoint.mark:x}")
    if endpoint.device:
        words.append(f"dev {values.safe(endpoint.device)}")
    if endpoint.max_sockets:
        words.append(f"max-sockets {endpoint.max_sockets}")
    if endpoint.privileged:
        words.append("privileged")
    line = " ".join(words)
    return f"{line}\n{counters_text(entry.counters)}" if session.options.statistics else line


def entry_json(session: Session, entry: EndpointEntry) -> dict[str, Any]:
    endpoint = entry.endpoint
    value: dict[str, Any] = {"name": endpoint.name, "type": endpoint.type.word}
    if endpoint.type is EndpointType.UNIX:
        value["path"] = "@" + os.fsdecode(endpoint.path)
    elif endpoint.ports is not None:
        value["address"] = str(endpoint.address)
        value["port_low"] = endpoint.ports.low
        value["port_high"] = endpoint.ports.high
        value["protocols"] = list(endpoint.protocols.words)
    value["target_cookie"] = entry.target_cookie
    value["target_name"] = session.name_of(entry.target_cookie) or None
    value["mark"] = endpoint.mark
    value["device"] = endpoint.device or None
    value["max_sockets"] = endpoint.max_sockets
    value["privileged"] = endpoint.privileged
    if session.options.statistics:
        value["counters"] = counters_json(entry.counters)
    return value
