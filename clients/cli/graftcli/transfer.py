# SPDX-License-Identifier: Apache-2.0
"""apply, diff, export"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graft_client import GraftdError
from graft_client import messages as m
from graftcli import exits, text
from graftcli.cmdline import Args, UsageError
from graftcli.document import Document, read, written
from graftcli.forms import as_dict, word_of
from graftcli.session import ALL, Session, last, middle, namespace_name
from graftcli.yamls import dump
from ip_graft.values import safe_sentence as safe

_SIGNS = {
    m.DIFFERENCE_KIND_CREATED: ("+", "created"),
    m.DIFFERENCE_KIND_UPDATED: ("~", "updated"),
    m.DIFFERENCE_KIND_DELETED: ("-", "deleted"),
}
_MOODS = {"+": "good", "-": "bad", "~": "warn"}
_KINDS = {"endpoints": "endpoint", "rules": "rule", "aclRules": "acl-rule"}


def _documents(args: Args) -> list[Document]:
    """Of all files, each read before anything is done."""
    sources = args.many("file")
    if not sources:
        raise UsageError("which file? Say -f FILE, or -f - for standard input")
    found = [document for source in sources for document in read(_content(source), _called(source))]
    if not found:
        raise UsageError(f"{_called(sources[0])} holds no namespace: graftcli export shows what one looks like")
    seen: dict[str, str] = {}
    for where, request in found:
        if request.name in seen:
            raise UsageError(f"{where}: {request.name} was in {seen[request.name]} already: once is enough")
        seen[request.name] = where
    return found


def _called(source: str) -> str:
    return "standard input" if source == "-" else source


def _content(source: str) -> str:
    try:
        return sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{_called(source)} cannot be read: it is not UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}") from None


def apply(session: Session, args: Args) -> int:
    documents = _documents(args)
    progress = session.progress() if len(documents) > 1 else lambda _: None
    answers: list[m.ApplyNamespaceResponse] = []
    for number, (where, request) in enumerate(documents, start=1):
        progress(f"{number} of {len(documents)}: {last(request.name)}")
        request.abort_sockets = "abort-sockets" in args
        before = _before(session, request.name)
        try:
            answer = session.client.apply_namespace(request, validate_only=session.dry_run)
        except GraftdError as error:
            progress("")
            error.args = (_placed(error, where, request, done=len(answers), of=len(documents)),)
            raise
        progress("")
        answers.append(answer)
        if session.form in ("table", "wide"):
            _print(session, before, request, answer.differences)
            session.done(f"{request.name} {_summary(answer.differences)}")
        elif session.form == "name":
            print(request.name)
        session.aborted(answer.aborted_sockets)
    if session.plain:
        session.write([as_dict(answer) for answer in answers])
    return exits.DONE


def _placed(error: GraftdError, where: str, request: m.ApplyNamespaceRequest, *, done: int, of: int) -> str:
    """What failed, where it stands, and what was done before it."""
    before = f" ({done} of {of} namespaces before it were applied)" if done else ""
    return f"{where}, {request.name}: {error.message}{before}"


def diff(session: Session, args: Args) -> int:
    different = False
    answers = []
    for where, request in _documents(args):
        before = _before(session, request.name)
        try:
            answer = session.client.apply_namespace(request, validate_only=True)
        except GraftdError as error:
            error.args = (_placed(error, where, request, done=0, of=0),)
            raise
        answers.append({"name": request.name, "differences": [as_dict(one) for one in answer.differences]})
        different = different or bool(answer.differences)
        if session.form in ("table", "wide"):
            _print(session, before, request, answer.differences)
        elif session.form == "name":
            for one in answer.differences:
                print(one.name)
    if session.plain:
        session.write(answers)
    return exits.DIFFERENT if different else exits.DONE


def _summary(differences: Any) -> str:
    counts: dict[str, int] = {}
    for one in differences:
        word = _SIGNS.get(one.kind, ("?", word_of(one, "kind")))[1]
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "unchanged"


def _before(session: Session, name: str) -> m.ExportNamespaceResponse:
    """What there is, to be shown beside what is to be; empty where nobody looks at it, or nothing is there."""
    if session.form in ("table", "wide"):
        try:
            return session.client.export_namespace(name)
        except GraftdError as error:
            # Who may not read it may not change it either, and hears that from the change.
            if error.status not in ("NOT_FOUND", "PERMISSION_DENIED"):
                raise
    return m.ExportNamespaceResponse()


def _print(
    session: Session, before: m.ExportNamespaceResponse, request: m.ApplyNamespaceRequest, differences: Any
) -> None:
    """A line for each difference: what is to be, and what was."""
    created = [one.name for one in differences if one.kind == m.DIFFERENCE_KIND_CREATED]
    _give_names(before, request, created)
    present = _texts(before.namespace, before.endpoints, before.rules, before.acl_rules)
    wanted = _texts(request.namespace, request.endpoints, request.rules, request.acl_rules)
    wanted[request.name] = text.namespace(request.namespace)
    for one in sorted(differences, key=lambda one: one.name):
        sign, _ = _SIGNS.get(one.kind, ("?", ""))
        body = (present if sign == "-" else wanted).get(one.name, last(one.name))
        old = present.get(one.name)
        if sign == "~" and old and old != body:
            body += f" (was {old})"
        elif one.fields.paths:
            body += f" ({', '.join(one.fields.paths)})"
        line = f"{sign} {middle(one.name)} {_kind(one.name)} {body}"
        print(session.colors.paint(safe(line), _MOODS.get(sign)))


def _give_names(before: m.ExportNamespaceResponse, request: m.ApplyNamespaceRequest, created: list[str]) -> None:
    """Name the rules that the file leaves nameless as graftd did: by an equal selector, or as it made them up."""
    present = {_selector(one): one.name for one in before.rules.rules}
    known = {one.name for one in request.rules.rules} | {one.name for one in request.acl_rules.acl_rules}
    made = {
        kind: [name for name in created if f"/{kind}/" in name and name not in known] for kind in ("rules", "aclRules")
    }
    for rule in request.rules.rules:
        if not rule.name:
            rule.name = present.get(_selector(rule)) or next(iter(made["rules"]), "")
            made["rules"] = [name for name in made["rules"] if name != rule.name]
    same = {text.acl_rule(one): one.name for one in before.acl_rules.acl_rules}
    for acl_rule in request.acl_rules.acl_rules:
        if not acl_rule.name:
            acl_rule.name = same.get(text.acl_rule(acl_rule)) or next(iter(made["aclRules"]), "")
            made["aclRules"] = [name for name in made["aclRules"] if name != acl_rule.name]


def _selector(rule: m.Rule) -> tuple[object, ...]:
    protocols = tuple(rule.protocols) if len(rule.protocols) == 1 else ()
    return rule.direction, rule.network, protocols, text.matched(rule)


def _kind(name: str) -> str:
    parts = name.split("/")
    return _KINDS.get(parts[2], parts[2]) if len(parts) > 3 else "namespace"


def _texts(
    namespace: m.Namespace, endpoints: m.EndpointSet, rules: m.RuleSet, acl_rules: m.AclRuleSet
) -> dict[str, str]:
    """Resources as words, by name."""
    return {
        namespace.name: text.namespace(namespace),
        **{one.name: text.endpoint(one) for one in endpoints.endpoints},
        **{one.name: f"{last(one.name)}: {text.rule(one)}" for one in rules.rules},
        **{one.name: f"{last(one.name)}: {text.acl_rule(one)}" for one in acl_rules.acl_rules},
    }


def export(session: Session, args: Args) -> int:
    values = [written(session.client.export_namespace(name)) for name in _wanted(session, args)]
    if session.form == "json":
        session.write(values)
    elif session.form == "name":
        for value in values:
            print(f"namespaces/{value['name']}")
    else:
        sys.stdout.write(dump(values))
    return exits.DONE


def _wanted(session: Session, args: Args) -> Iterator[str]:
    if args.words:
        yield from map(namespace_name, args.words)
    elif (parent := session.parent()) != ALL:
        yield parent
    else:
        for one in session.client.namespaces():
            yield one.name
