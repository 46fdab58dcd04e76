# SPDX-License-Identifier: Apache-2.0
"""list-, add-, show-, update-, delete-namespace, import"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from graft_client import messages as m
from graftcli import exits, fields, text
from graftcli.cmdline import Args, UsageError
from graftcli.columns import of_one
from graftcli.forms import word_of
from graftcli.output import Column
from graftcli.session import ALL, Session, last, namespace_name
from ip_graft.values import number

SELECTORS = ("netns", "path", "pid", "container", "unit")


def _usage(one: m.Namespace) -> str:
    usage = one.usage
    if not one.HasField("usage"):
        return ""
    return (
        f"endpoints {usage.endpoints} rules {usage.rules} acl {usage.acl_rules} sockets {usage.sockets}"
        f" ephemeral {usage.ephemeral} generation {usage.generation}"
    )


def _frozen(one: m.Namespace) -> str:
    if not one.frozen:
        return ""
    return f"frozen: {one.freeze_reason}" if one.freeze_reason else "frozen"


COLUMNS: list[Column[m.Namespace]] = [
    Column("NAME", lambda one: last(one.name)),
    Column("SELECTOR", lambda one: text.selector(one.selector)),
    Column("STATE", lambda one: word_of(one, "state")),
    Column("FROZEN", _frozen),
    Column("SYNC", lambda one: text.sync(one.sync)),
    Column("TRAITS", text.traits, wide=True),
    Column("LIMITS", text.limits, wide=True),
    Column("LABELS", text.labels, wide=True),
    Column("COOKIE", lambda one: str(one.netns_cookie or ""), wide=True),
    Column("REVISION", lambda one: str(one.revision), wide=True),
]
_MORE: list[Column[m.Namespace]] = [
    Column("USAGE", _usage),
    Column("ANNOTATIONS", lambda one: " ".join(f"{key}={value}" for key, value in sorted(one.annotations.items()))),
]
_ALL = of_one(COLUMNS, _MORE)


def listed(session: Session, args: Args) -> int:
    state = m.NAMESPACE_STATE_ABSENT if "absent" in args else m.NAMESPACE_STATE_UNSPECIFIED
    parent = session.parent()
    found = session.client.namespaces(labels=fields.pairs(args, "label"), state=state)
    session.show((one for one in found if parent in (ALL, one.name)), COLUMNS)
    return exits.DONE


def show(session: Session, args: Args) -> int:
    session.tell(session.client.get_namespace(namespace_name(args.words[0])), _ALL)
    return exits.DONE


def selector_of(kind: str, word: str) -> m.NamespaceSelector:
    """A selector by one of the words netns, path, pid, container and unit."""
    match kind:
        case "netns":
            return m.NamespaceSelector(iproute2_name=word)
        case "path":
            if not word.startswith("/"):
                raise UsageError(f"'{word}' is no path of a namespace: write it in full, from /")
            return m.NamespaceSelector(path=word)
        case "pid":
            return m.NamespaceSelector(process=m.ProcessSelector(pid=number(word, "process id", 2**22)))
        case "container":
            return m.NamespaceSelector(container_id=word)
        case _:
            return m.NamespaceSelector(systemd_unit=word)


def _read(args: Args, *, whole: bool) -> tuple[m.Namespace, list[str]]:
    """What the options say, and which fields they are about."""
    found, mask = m.Namespace(), []
    if kind := (fields.needed if whole else fields.one_of)(args, *SELECTORS):
        found.selector.CopyFrom(selector_of(kind, args.text(kind) or ""))
        mask.append("selector")
    for name in text.LIMITS:
        if (value := fields.whole(args, name.replace("_", "-"))) is not None:
            setattr(found.limits, name, value)
            mask.append(f"limits.{name}")
    found.labels.update(fields.pairs(args, "label"))
    found.annotations.update(fields.pairs(args, "annotation"))
    if said := fields.one_of(args, "transparent", "no-transparent"):
        found.transparent = said == "transparent"
        mask.append("transparent")
    found.transient = "transient" in args
    return found, mask


def add(session: Session, args: Args) -> int:
    wanted, _ = _read(args, whole=True)
    name = last(namespace_name(args.words[0]))
    made = session.client.create_namespace(name, wanted, validate_only=session.dry_run)
    session.changed("created", made)
    if made.state == m.NAMESPACE_STATE_ABSENT:
        session.say(f"note: {text.selector(made.selector)} is not there now; the table is applied when it appears")
    return exits.DONE


def adopt(session: Session, args: Args) -> int:
    wanted, _ = _read(args, whole=True)
    name = last(namespace_name(args.words[0]))
    answer = session.client.import_namespace(name, wanted, validate_only=session.dry_run)
    session.changed(
        f"imported: {answer.endpoints} endpoints, {answer.rules} rules, {answer.acl_rules} ACL rules", answer.namespace
    )
    return exits.DONE


def update(session: Session, args: Args) -> int:
    wanted, mask = _read(args, whole=False)
    wanted.name = namespace_name(args.words[0])
    options = {"label": "labels", "annotation": "annotations"}
    said = [option for option in options if option in args or f"no-{option}" in args]
    if said:
        # Maps are replaced as a whole, so they rest on what is there: the etag says that it still is.
        present = session.client.get_namespace(wanted.name)
        wanted.etag = present.etag
        for option in said:
            field = options[option]
            merge(getattr(wanted, field), getattr(present, field), args.many(f"no-{option}"))
            mask.append(field)
    if not mask:
        raise UsageError("nothing is to be changed: say what, as in --max-sockets 100")
    session.changed("updated", session.client.update_namespace(wanted, mask, validate_only=session.dry_run))
    return exits.DONE


def merge(wanted: MutableMapping[str, str], present: Mapping[str, str], without: list[str]) -> None:
    """Put what is there beside what is wanted, but for some keys."""
    for key, value in present.items():
        if key not in without and key not in wanted:
            wanted[key] = value


def delete(session: Session, args: Args) -> int:
    name = namespace_name(args.words[0])
    answer = session.client.delete_namespace(
        name,
        etag=args.text("etag") or "",
        allow_missing="allow-missing" in args,
        force="force" in args,
        abort_sockets="abort-sockets" in args,
        validate_only=session.dry_run,
    )
    session.done(f"{name} deleted")
    session.aborted(answer.aborted_sockets)
    return exits.DONE
