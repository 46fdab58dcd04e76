# SPDX-License-Identifier: Apache-2.0
"""list-, add-, show-, update-, move-, delete-acl-rule"""

from __future__ import annotations

from collections.abc import Callable

from graft_client import messages as m
from graftcli import exits, fields, text
from graftcli.cmdline import Args, UsageError
from graftcli.columns import of_one
from graftcli.forms import word_of
from graftcli.output import Column
from graftcli.session import Session, last, middle

ACTIONS = {"allow": m.ACL_ACTION_ALLOW, "deny": m.ACL_ACTION_DENY}

COLUMNS: list[Column[m.AclRule]] = [
    Column("NAMESPACE", lambda one: middle(one.name)),
    Column("INDEX", lambda one: str(one.index or "")),
    Column("ID", lambda one: last(one.name)),
    Column("ACTION", lambda one: word_of(one, "action")),
    Column("ENDPOINT", lambda one: one.endpoint),
    Column("CONDITIONS", text.acl_conditions),
    Column("SYNC", lambda one: text.sync(one.sync)),
    Column("REVISION", lambda one: str(one.revision), wide=True),
]
_ALL = of_one(COLUMNS)


def listed(session: Session, args: Args) -> int:
    session.show(session.client.acl_rules(session.parent(), endpoint=args.text("endpoint") or ""), COLUMNS)
    return exits.DONE


def show(session: Session, args: Args) -> int:
    session.tell(session.client.get_acl_rule(session.resource("aclRules", args.words[0])), _ALL)
    return exits.DONE


# Option to the field, and what its word makes of a rule.
_READERS: dict[str, tuple[str, Callable[[m.AclRule, str], object]]] = {
    "endpoint": ("endpoint", lambda rule, word: setattr(rule, "endpoint", word)),
    "verb": ("verbs", lambda rule, word: rule.verbs.extend(fields.verbs([word]))),
    "uid": ("uids", lambda rule, word: rule.uids.CopyFrom(fields.ids(word, "uid"))),
    "gid": ("gids", lambda rule, word: rule.gids.CopyFrom(fields.ids(word, "gid"))),
    "network": ("network", lambda rule, word: setattr(rule, "network", fields.network(word))),
    "port": ("ports", lambda rule, word: rule.ports.CopyFrom(fields.destination_ports(word))),
    "protocol": ("protocols", lambda rule, word: rule.protocols.extend(fields.protocols([word]))),
}


def _read(args: Args) -> tuple[m.AclRule, list[str]]:
    """What the options say, and which fields they are about."""
    found, mask = m.AclRule(), []
    if action := fields.one_of(args, *ACTIONS):
        found.action = ACTIONS[action]
        mask.append("action")
    for option, (field, reader) in _READERS.items():
        if (word := args.text(option)) is not None:
            reader(found, word)
            mask.append(field)
    for option in ("own-ids", "local"):
        if said := fields.one_of(args, option, f"no-{option}"):
            field = option.replace("-", "_")
            setattr(found, field, said == option)
            mask.append(field)
    return found, mask


def _index(args: Args) -> int:
    index = fields.whole(args, "index")
    if index == 0:
        raise UsageError("rules are counted from 1: --index 1 is the first, and the end if it is left out")
    return index or 0


def add(session: Session, args: Args) -> int:
    wanted, _ = _read(args)
    fields.needed(args, *ACTIONS)
    name = session.resource("aclRules", args.words[0]) if args.words else f"{session.namespace()}/aclRules/"
    made = session.client.create_acl_rule(
        f"namespaces/{middle(name)}",
        wanted,
        last(name),
        index=_index(args),
        abort_sockets="abort-sockets" in args,
        on_aborted=session.aborted,
        validate_only=session.dry_run,
    )
    session.changed("created", made)
    return exits.DONE


def update(session: Session, args: Args) -> int:
    wanted, mask = _read(args)
    wanted.name = session.resource("aclRules", args.words[0])
    if not mask:
        raise UsageError("nothing is to be changed: say what, as in --uid 1000")
    made = session.client.update_acl_rule(
        wanted,
        mask,
        abort_sockets="abort-sockets" in args,
        on_aborted=session.aborted,
        validate_only=session.dry_run,
    )
    session.changed("updated", made)
    return exits.DONE


def move(session: Session, args: Args) -> int:
    made = session.client.move_acl_rule(
        session.resource("aclRules", args.words[0]),
        _index(args),
        etag=args.text("etag") or "",
        abort_sockets="abort-sockets" in args,
        on_aborted=session.aborted,
        validate_only=session.dry_run,
    )
    session.changed(f"moved to index {made.index}", made)
    return exits.DONE


def delete(session: Session, args: Args) -> int:
    name = session.resource("aclRules", args.words[0])
    answer = session.client.delete_acl_rule(
        name,
        etag=args.text("etag") or "",
        allow_missing="allow-missing" in args,
        abort_sockets="abort-sockets" in args,
        validate_only=session.dry_run,
    )
    session.done(f"{name} deleted")
    session.aborted(answer.aborted_sockets)
    return exits.DONE
