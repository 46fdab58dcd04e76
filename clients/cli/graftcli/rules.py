# SPDX-License-Identifier: Apache-2.0
"""list-, add-, show-, update-, delete-rule"""

from __future__ import annotations

from graft_client import messages as m
from graftcli import exits, fields, text
from graftcli.cmdline import Args, UsageError
from graftcli.columns import of_one
from graftcli.forms import word_of
from graftcli.output import Column
from graftcli.session import Session, last, middle

DIRECTIONS = {"ingress": m.RULE_DIRECTION_INGRESS, "egress": m.RULE_DIRECTION_EGRESS}
VERDICTS = {"endpoint": m.RULE_VERDICT_ENDPOINT, "native": m.RULE_VERDICT_NATIVE, "deny": m.RULE_VERDICT_DENY}


COLUMNS: list[Column[m.Rule]] = [
    Column("NAMESPACE", lambda one: middle(one.name)),
    Column("ID", lambda one: last(one.name)),
    Column("DIRECTION", lambda one: word_of(one, "direction")),
    Column("NETWORK", lambda one: text.network(one.network)),
    Column("PROTO", lambda one: text.set_words(one, "protocols", "tcp,udp")),
    Column("PORT", lambda one: "" if text.matched(one) == text.EVERY_PORT else text.ports(one.ports)),
    Column("VERDICT", text.verdict),
    Column("SYNC", lambda one: text.sync(one.sync)),
    Column("REVISION", lambda one: str(one.revision), wide=True),
]
_ALL = of_one(COLUMNS)


def listed(session: Session, args: Args) -> int:
    direction = DIRECTIONS.get(args.text("direction") or "", m.RULE_DIRECTION_UNSPECIFIED)
    endpoint = args.text("endpoint") or ""
    session.show(session.client.rules(session.parent(), direction=direction, endpoint=endpoint), COLUMNS)
    return exits.DONE


def show(session: Session, args: Args) -> int:
    session.tell(session.client.get_rule(session.resource("rules", args.words[0])), _ALL)
    return exits.DONE


def _read(args: Args) -> tuple[m.Rule, list[str]]:
    found, mask = m.Rule(), []
    if (word := args.text("network")) is not None:
        found.network = fields.network(word)
        mask.append("network")
    if (word := args.text("protocol")) is not None:
        found.protocols.extend(fields.protocols([word]))
        mask.append("protocols")
    if (word := args.text("port")) is not None:
        egress = args.text("direction") == "egress"
        found.ports.CopyFrom(fields.destination_ports(word) if egress else fields.ports(word))
        mask.append("ports")
    if verdict := fields.one_of(args, *VERDICTS):
        found.verdict = VERDICTS[verdict]
        found.endpoint = args.text("endpoint") or ""
        mask += ["verdict", "endpoint"]
    return found, mask


def add(session: Session, args: Args) -> int:
    wanted, _ = _read(args)
    direction = args.text("direction")
    if direction is None:
        raise UsageError("when it decides is missing: say --direction ingress or --direction egress")
    fields.needed(args, *VERDICTS)
    wanted.direction = DIRECTIONS[direction]
    name = session.resource("rules", args.words[0]) if args.words else f"{session.namespace()}/rules/"
    made = session.client.create_rule(f"namespaces/{middle(name)}", wanted, last(name), validate_only=session.dry_run)
    session.changed("created", made)
    return exits.DONE


def update(session: Session, args: Args) -> int:
    wanted, mask = _read(args)
    wanted.name = session.resource("rules", args.words[0])
    if not mask:
        raise UsageError("nothing is to be changed: say what, as in --port 8080")
    session.changed("updated", session.client.update_rule(wanted, mask, validate_only=session.dry_run))
    return exits.DONE


def delete(session: Session, args: Args) -> int:
    name = session.resource("rules", args.words[0])
    session.client.delete_rule(
        name,
        etag=args.text("etag") or "",
        allow_missing="allow-missing" in args,
        validate_only=session.dry_run,
    )
    session.done(f"{name} deleted")
    return exits.DONE
