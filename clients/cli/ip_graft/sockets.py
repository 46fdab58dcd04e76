# SPDX-License-Identifier: Apache-2.0
"""ip-graft sockets"""

import socket
from typing import Any

from graftd.model import GraftedSocket
from ip_graft import values
from ip_graft.session import Session, say_aborted
from ip_graft.words import Words

USAGE = """\
Usage: ip-graft sockets show
       ip-graft sockets abort { cookie N | endpoint NAME }

show lists the live grafted sockets: with -n those of that namespace, without it those of every
table that is written from this one. abort ends one socket, by its SO_COOKIE as show prints it, or
all of an endpoint: they can neither send nor receive from then on.
"""

_VERBS = ("show", "abort")
_ALIASES = {"list": "show", "lst": "show"}

# include/net/tcp_states.h, in the words of ss(8)
_STATES = (
    "-",
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "UNCONN",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
    "SYN-RECV",
)
_PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}


def run(session: Session, words: Words) -> None:
    verb = words.keyword(_VERBS, "verb", _ALIASES) if words else "show"
    if verb == "show":
        _show(session, words)
    else:
        _abort(session, words)


def _show(session: Session, words: Words) -> None:
    words.end()
    found = session.client().sockets(session.table_fd())
    if session.options.json:
        session.show([as_json(session, one) for one in found], ())
    else:
        session.show([], (text(session, one) for one in found))


def _abort(session: Session, words: Words) -> None:
    by = words.keyword(("cookie", "endpoint"), "keyword")
    word = words.value("the socket's cookie" if by == "cookie" else "the endpoint's name")
    words.end()
    cookie = values.number(word, "cookie", 2**64 - 1) if by == "cookie" else None
    client, fd = session.client(), session.table_fd()
    aborted = client.abort_sockets(word, fd) if cookie is None else client.abort_socket(cookie, fd)
    say_aborted(session, aborted)


def protocol_word(family: int, protocol: int) -> str:
    if family == socket.AF_UNIX:
        return "unix"
    return _PROTOCOLS.get(protocol, str(protocol))


def state_word(state: int) -> str:
    return _STATES[state] if state < len(_STATES) else str(state)


def text(session: Session, one: GraftedSocket) -> str:
    words = [
        f"{values.safe(one.endpoint)}: {protocol_word(one.family, one.protocol)}",
        state_word(one.state),
        f"local {values.socket_address(one.local_address, one.local_port)}",
        f"remote {values.socket_address(one.remote_address, one.remote_port)}",
        f"uid {one.uid} ino {one.inode} cookie {one.cookie} cgroup {one.cgroup_id}",
        f"netns {values.safe(session.namespace_text(one.netns_cookie))}",
        f"target {values.safe(session.namespace_text(one.target_cookie))}",
    ]
    return " ".join(words)


def as_json(session: Session, one: GraftedSocket) -> dict[str, Any]:
    return {
        "endpoint": one.endpoint,
        "family": one.family,
        "type": one.type,
        "protocol": one.protocol,
        "state": state_word(one.state),
        "local_address": str(one.local_address) if one.local_address else None,
        "local_port": one.local_port,
        "remote_address": str(one.remote_address) if one.remote_address else None,
        "remote_port": one.remote_port,
        "uid": one.uid,
        "inode": one.inode,
        "cookie": one.cookie,
        "cgroup_id": one.cgroup_id,
        "door": one.door.word,
        "verbs": list(one.verb.words),
        "netns_cookie": one.netns_cookie,
        "netns_name": session.name_of(one.netns_cookie) or None,
        "target_cookie": one.target_cookie,
        "target_name": session.name_of(one.target_cookie) or None,
    }
