# SPDX-License-Identifier: Apache-2.0
"""list-sockets, abort-sockets"""

from __future__ import annotations

from graft_client import messages as m
from graftcli import exits, fields, text
from graftcli.cmdline import Args, UsageError
from graftcli.forms import word_of, words_of
from graftcli.output import Column, counted
from graftcli.session import Session, last, middle
from ip_graft.values import number


def _address(one: m.Socket, side: str) -> str:
    return text.address(getattr(one, side)) if one.HasField(side) else ""


COLUMNS: list[Column[m.Socket]] = [
    Column("NAMESPACE", lambda one: middle(one.name)),
    Column("COOKIE", lambda one: str(one.cookie)),
    Column("ENDPOINT", lambda one: one.endpoint),
    Column("PROTO", lambda one: text.protocol(one.protocol, one.family)),
    Column("STATE", text.state),
    Column("LOCAL", lambda one: _address(one, "local")),
    Column("REMOTE", lambda one: _address(one, "remote")),
    Column("USER", lambda one: str(one.uid)),
    Column("TARGET", lambda one: last(one.target_namespace), wide=True),
    Column("DOOR", lambda one: word_of(one, "door"), wide=True),
    Column("VERBS", lambda one: ",".join(words_of(one, "verbs")), wide=True),
    Column("INODE", lambda one: str(one.inode), wide=True),
    Column("CGROUP", lambda one: str(one.cgroup_id), wide=True),
]


def listed(session: Session, args: Args) -> int:
    session.show(session.client.sockets(session.parent(), endpoint=args.text("endpoint") or ""), COLUMNS)
    return exits.DONE


def abort(session: Session, args: Args) -> int:
    namespace = session.namespace()
    endpoint = args.text("endpoint") or ""
    said = fields.one_of(args, "endpoint", "all")
    names = []
    if args.words:
        if said:
            raise UsageError(f"'--{said}' and cookies exclude one another: say one of them")
        names = [_name(namespace, word) for word in args.words]
    else:
        fields.needed(args, "endpoint", "all")
    if session.dry_run:
        # There is no validate_only: what the kernel would do is to be seen in its list.
        found = session.client.sockets(namespace, endpoint=endpoint)
        count = sum(not names or one.name in names for one in found)
        session.done(f"{counted(count, 'socket')} aborted")
        return exits.DONE
    what = f"all sockets of endpoint {endpoint}" if endpoint else f"{len(names) or 'all'} sockets"
    session.confirm(f"End {what} in {namespace}?")
    count = session.client.abort_sockets(namespace, names=names, endpoint=endpoint, everything="all" in args)
    session.done(f"{counted(count, 'socket')} aborted")
    return exits.DONE


def _name(namespace: str, word: str) -> str:
    if word.startswith("namespaces/"):
        return word
    return f"{namespace}/sockets/{number(word, 'cookie', 2**64 - 1)}"
