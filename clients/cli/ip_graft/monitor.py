# SPDX-License-Identifier: Apache-2.0
"""ip-graft monitor"""

import errno
from typing import Any

from graftd.kernel import GROUP_EVENT, GROUP_TABLE, netns
from graftd.model import (
    AclNotice,
    ClaimNotice,
    EndpointGoneNotice,
    EndpointNotice,
    Event,
    Notice,
    Reason,
    RulesNotice,
    TableNotice,
)
from ip_graft import endpoint, table, values
from ip_graft.session import Session
from ip_graft.sockets import protocol_word
from ip_graft.words import Words

USAGE = """\
Usage: ip-graft monitor [ table | event | all ]

Prints, until it is interrupted, the changes of the tables written from this namespace (table) and
what became of their sockets: grafted, native or denied, and why (event). With -n, of that
namespace alone. With -j, each line is one JSON object.
"""

_GROUPS = {
    "table": (GROUP_TABLE,),
    "event": (GROUP_EVENT,),
    "all": (GROUP_TABLE, GROUP_EVENT),
}


def run(session: Session, words: Words) -> None:
    groups = _GROUPS[words.keyword(tuple(_GROUPS), "group") if words else "all"]
    words.end()
    fd = session.table_fd()
    only = None if fd is None else netns.cookie_of(fd)
    for notice in session.client().listen(groups):
        if notice is None:
            _print(session, {"kind": "lost"}, "some notifications were lost: too many at once")
        elif only is None or _cookie(notice) in (None, only):
            _print(session, as_json(session, notice), text(session, notice))


def _print(session: Session, value: dict[str, Any], line: str) -> None:
    if session.options.json:
        line = session.json_text(value)
    elif session.options.oneline:
        line = line.replace("\n", "\\")
    print(line, flush=True)


def _cookie(notice: Notice) -> int | None:
    match notice:
        case TableNotice() | RulesNotice() | AclNotice():
            return notice.table.netns_cookie
        case ClaimNotice():
            return None
        case _:
            return notice.netns_cookie


_WORDS = {TableNotice: "table", RulesNotice: "rules", AclNotice: "acl"}


def text(session: Session, notice: Notice) -> str:
    match notice:
        case ClaimNotice():
            if notice.claimant:
                return f"claimed by {values.safe(notice.claimant)} (pid {notice.claimant_pid})"
            return "claim released"
        case TableNotice() | RulesNotice() | AclNotice():
            return f"{_WORDS[type(notice)]} changed: {table.text(session, notice.table)}"
    where = f"netns {values.safe(session.namespace_text(notice.netns_cookie))}"
    match notice:
        case EndpointNotice():
            return f"{where} endpoint {endpoint.entry_text(session, notice.entry)}"
        case EndpointGoneNotice():
            return f"{where} deleted endpoint {values.safe(notice.name)}"
        case Event():
            return f"{where} {_event_text(notice)}"


def _event_text(event: Event) -> str:
    words = [event.kind.word]
    if event.endpoint:
        words.append(f"endpoint {values.safe(event.endpoint)}")
    words += [
        *event.verb.words,
        protocol_word(0, event.protocol),
        values.socket_address(event.address, event.port),
        f"uid {event.uid} pid {event.pid} cookie {event.cookie}",
    ]
    if event.errno:
        words.append(f"error {errno.errorcode.get(event.errno, str(event.errno))}")
    if event.reason is not Reason.NONE:
        words.append(f"reason {event.reason.word}")
    line = " ".join(words)
    return f"{line}: {values.safe_sentence(event.detail)}" if event.detail else line


def as_json(session: Session, notice: Notice) -> dict[str, Any]:
    match notice:
        case ClaimNotice():
            return {
                "kind": "claim",
                "claimant": notice.claimant or None,
                "claimant_pid": notice.claimant_pid or None,
            }
        case TableNotice() | RulesNotice() | AclNotice():
            return {"kind": _WORDS[type(notice)], **table.as_json(session, notice.table)}
        case Event():
            return {"kind": notice.kind.word, **_event_json(session, notice)}
    where = {
        "netns_cookie": notice.netns_cookie,
        "netns_name": session.name_of(notice.netns_cookie) or None,
        "generation": notice.generation,
    }
    match notice:
        case EndpointNotice():
            return {"kind": "endpoint", **where, "endpoint": endpoint.entry_json(session, notice.entry)}
        case EndpointGoneNotice():
            return {"kind": "endpoint-deleted", **where, "name": notice.name}


def _event_json(session: Session, event: Event) -> dict[str, Any]:
    return {
        "netns_cookie": event.netns_cookie,
        "netns_name": session.name_of(event.netns_cookie) or None,
        "endpoint": event.endpoint or None,
        "verbs": list(event.verb.words),
        "protocol": event.protocol,
        "address": str(event.address) if event.address else None,
        "port": event.port,
        "uid": event.uid,
        "pid": event.pid,
        "cookie": event.cookie,
        "errno": errno.errorcode.get(event.errno) if event.errno else None,
        "reason": event.reason.word,
        "detail": event.detail or None,
    }
