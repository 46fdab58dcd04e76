# SPDX-License-Identifier: Apache-2.0
"""watch"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from graft_client import Batch, GraftdError
from graft_client import messages as m
from graftcli import exits, fields, text
from graftcli.cmdline import Args, UsageError
from graftcli.forms import as_dict, word_of
from graftcli.session import Session, last, middle
from ip_graft.values import number
from ip_graft.values import safe_sentence as safe

_TYPES = {
    "namespace": m.RESOURCE_TYPE_NAMESPACE,
    "endpoint": m.RESOURCE_TYPE_ENDPOINT,
    "rule": m.RESOURCE_TYPE_RULE,
    "acl-rule": m.RESOURCE_TYPE_ACL_RULE,
}


def watch(session: Session, args: Args) -> int:
    if session.form not in ("table", "wide", "json", "name"):
        raise UsageError(f"watch has no form {session.form}: say -o json for an object on each line")
    said = fields.one_of(args, "sockets", "node")
    for option in ("endpoint", "recent"):
        if option in args and said != "sockets":
            raise UsageError(f"'--{option}' goes with --sockets: say that as well")
    for option in ("type", "after", "initial"):
        if option in args and said:
            raise UsageError(f"'--{option}' is about what graftd keeps, and not about --{said}: say one of them")
    match said:
        case "sockets":
            _sockets(session, args)
        case "node":
            _node(session)
        case _:
            _store(session, args)
    return exits.DONE


def _write(session: Session, line: str, value: dict[str, Any]) -> None:
    print(json.dumps(value) if session.form == "json" else safe(line), flush=True)


def _store(session: Session, args: Args) -> None:
    after = args.text("after")
    told = False

    def broken(error: GraftdError) -> None:
        nonlocal told
        if not told:
            session.say(f"note: {error}; going on as soon as graftd is back")
        told = True

    batches = session.client.watch(
        session.parent(),
        types=[_TYPES[word] for word in args.many("type")],
        after_revision=number(after, "revision", 2**63 - 1) if after is not None else None,
        initial="initial" in args,
        on_break=broken,
    )
    first = "initial" in args
    for batch in batches:
        if batch.relisted and not first:
            session.say("note: some changes are no longer known; what follows is everything that there is now")
        first = told = False
        for line, value in _changes(batch):
            _write(session, line, value)


def _changes(batch: Batch) -> Iterator[tuple[str, dict[str, Any]]]:
    when = batch.time.isoformat(timespec="milliseconds") if batch.time else None
    for change in batch.changes:
        kind = "present" if batch.relisted else word_of(change, "kind")
        field = change.WhichOneof("resource") or ""
        value = {"revision": batch.revision, "time": when, "kind": kind, field: as_dict(getattr(change, field))}
        yield f"{batch.revision} {kind} {_body(change, field)}", value


def _body(change: m.Change, field: str) -> str:
    match field:
        case "namespace":
            one = change.namespace
            frozen = " frozen" if one.frozen else ""
            return f"namespace {last(one.name)}: {text.namespace(one)} {word_of(one, 'state')}{frozen}"
        case "endpoint":
            return f"{middle(change.endpoint.name)} endpoint {text.endpoint(change.endpoint)}"
        case "rule":
            return f"{middle(change.rule.name)} rule {last(change.rule.name)}: {text.rule(change.rule)}"
        case "acl_rule":
            rule = change.acl_rule
            return f"{middle(rule.name)} acl-rule {last(rule.name)}: index {rule.index} {text.acl_rule(rule)}"
    return field or "something that this client does not know"


def _sockets(session: Session, args: Args) -> None:
    recent = fields.whole(args, "recent", 1024) or 0
    for answer in session.client.watch_sockets(session.parent(), endpoint=args.text("endpoint") or "", recent=recent):
        if answer.kernel_lost:
            session.say("note: the kernel lost some events before these: too many at once")
        if answer.lost:
            session.say(f"note: {answer.lost} events before these were lost: they are read too slowly")
        for event in answer.events:
            _write(session, text.event(event), as_dict(event))


def _node(session: Session) -> None:
    for answer in session.client.watch_node():
        if answer.lost:
            session.say(f"note: {answer.lost} events before these were lost: they are read too slowly")
        for event in answer.events:
            where = f" {last(event.namespace)}" if event.namespace else ""
            _write(
                session, f"{event.time.ToJsonString()} {word_of(event, 'kind')}{where}: {event.detail}", as_dict(event)
            )
