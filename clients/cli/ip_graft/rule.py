# SPDX-License-Identifier: Apache-2.0
"""ip-graft rule"""

from collections.abc import Callable, Iterable
from typing import Any

from graftd.errors import GraftError
from graftd.model import Direction, PortRange, Protocols, Rule, Verdict
from ip_graft import notes, values
from ip_graft.listing import read_lines
from ip_graft.session import Session
from ip_graft.words import UsageError, Words, build

USAGE = """\
Usage: ip-graft rule show
       ip-graft rule { add | replace } SELECTOR { endpoint NAME | native | deny }
       ip-graft rule del SELECTOR
       ip-graft rule load { FILE | - }
       ip-graft rule flush
SELECTOR := { ingress [ addr PREFIX ] | egress [ to PREFIX ] }
            [ proto { tcp | udp | both } ] [ port { N | LO-HI | any } ]

Ingress rules decide where a program binds, egress rules where it connects or sends. The longest
prefix wins, then the narrower port range; a socket that no rule matches stays native. Without
port, every port; port any is a bind that lets the kernel choose. del takes the selector of the
rule exactly. load replaces all rules at once by those of a file, in the form that show prints.
"""

_VERBS = ("show", "add", "replace", "del", "load", "flush")
_ALIASES = {"list": "show", "lst": "show", "delete": "del"}
_VERDICTS = ("endpoint", "native", "deny")


def _parse(words: Words, *, with_verdict: bool) -> dict[str, Any]:
    word = words.keyword(("ingress", "egress"), "direction")
    direction = Direction[word.upper()]
    prefix = "addr" if direction is Direction.INGRESS else "to"
    other = "to" if prefix == "addr" else "addr"
    given: dict[str, Any] = {"direction": direction}
    seen: set[str] = set()
    while words:
        keyword = words.keyword((prefix, "proto", "port", *_VERDICTS, other), "keyword")
        if keyword == other:
            raise UsageError(f"an {direction.word} rule has no '{other}': write '{prefix} PREFIX'")
        kind = "verdict" if keyword in _VERDICTS else keyword
        if kind in seen:
            raise UsageError(f"a rule has one {kind}: '{keyword}' comes on top of another")
        seen.add(kind)
        if keyword == prefix:
            given["network"] = values.network(words.value("the prefix"))
        elif keyword == "proto":
            given["protocols"] = values.protocols(words.value("the protocol"))
        elif keyword == "port":
            read = values.ports if direction is Direction.INGRESS else values.destination_ports
            given["ports"] = read(words.value("the port"))
        else:
            given["verdict"] = Verdict[keyword.upper()]
            if keyword == "endpoint":
                given["endpoint"] = words.value("the endpoint's name")
    if with_verdict and "verdict" not in seen:
        raise UsageError("what the rule decides is missing: say endpoint NAME, native or deny")
    return given


def parse(words: Words) -> Rule:
    return build(Rule, **_parse(words, with_verdict=True))


def text(rule: Rule) -> str:
    words = [rule.direction.word]
    if rule.network is not None:
        prefix = "addr" if rule.direction is Direction.INGRESS else "to"
        words.append(f"{prefix} {values.network_text(rule.network)}")
    if rule.protocols is not Protocols.BOTH:
        words.append(f"proto {','.join(rule.protocols.words)}")
    if rule.ports != PortRange.EVERY:
        words.append(f"port {values.ports_text(rule.ports)}")
    words.append(rule.verdict.word)
    if rule.endpoint:
        words.append(values.safe(rule.endpoint))
    return " ".join(words)


def as_json(rule: Rule) -> dict[str, Any]:
    return {
        "direction": rule.direction.word,
        "prefix": str(rule.network) if rule.network is not None else None,
        "protocols": list(rule.protocols.words),
        "port_low": rule.ports.low,
        "port_high": rule.ports.high,
        "verdict": rule.verdict.word,
        "endpoint": rule.endpoint or None,
    }


def run(session: Session, words: Words) -> None:
    verb = words.keyword(_VERBS, "verb", _ALIASES) if words else "show"
    match verb:
        case "show":
            words.end()
            _show(session)
        case "add":
            _add(session, parse(words))
        case "replace":
            _replace(session, parse(words))
        case "del":
            _delete(session, _parse(words, with_verdict=False))
        case "load":
            loaded = read_lines(words.value("the file"), parse)
            words.end()
            client, fd = session.client(), session.table_fd()
            client.set_rules(loaded, fd)
            notes.on_rules(session, client, loaded, fd)
        case _:
            words.end()
            session.client().set_rules((), session.table_fd())


def _show(session: Session) -> None:
    rules = session.client().rules(session.table_fd()).rules
    session.show([as_json(rule) for rule in rules], map(text, rules))


def _add(session: Session, rule: Rule) -> None:
    def edit(rules: tuple[Rule, ...]) -> Iterable[Rule]:
        for present in rules:
            if present.selector == rule.selector:
                raise GraftError(f"there is a rule with this selector already, '{text(present)}': use rule replace")
        return (*rules, rule)

    _edit(session, edit, rule)


def _replace(session: Session, rule: Rule) -> None:
    def edit(rules: tuple[Rule, ...]) -> Iterable[Rule]:
        return (*(present for present in rules if present.selector != rule.selector), rule)

    _edit(session, edit, rule)


def _edit(session: Session, edit: Callable[[tuple[Rule, ...]], Iterable[Rule]], rule: Rule) -> None:
    client, fd = session.client(), session.table_fd()
    client.edit_rules(edit, fd)
    notes.on_rules(session, client, (rule,), fd)


def _delete(session: Session, given: dict[str, Any]) -> None:
    verdict = {key: given[key] for key in ("verdict", "endpoint") if key in given}
    selector = build(Rule, **(given | {"verdict": Verdict.NATIVE, "endpoint": ""})).selector

    def edit(rules: tuple[Rule, ...]) -> Iterable[Rule]:
        kept = tuple(
            rule
            for rule in rules
            if rule.selector != selector or any(getattr(rule, key) != wanted for key, wanted in verdict.items())
        )
        if len(kept) == len(rules):
            raise GraftError("there is no rule with exactly this selector: see ip-graft rule show")
        return kept

    session.client().edit_rules(edit, session.table_fd())
