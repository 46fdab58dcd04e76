# SPDX-License-Identifier: Apache-2.0
"""ip-graft acl"""

from collections.abc import Iterable, Sequence
from typing import Any

from graftd.errors import GraftError
from graftd.model import AclRule, Protocols, Verbs
from ip_graft import values
from ip_graft.listing import read_lines
from ip_graft.session import Session, say_aborted
from ip_graft.words import UsageError, Words, build

USAGE = """\
Usage: ip-graft acl show
       ip-graft acl add [ index N ] { allow | deny } [ CONDITION ]... [ local ] [ abort ]
       ip-graft acl del { index N | { allow | deny } [ CONDITION ]... [ local ] } [ abort ]
       ip-graft acl load { FILE | - } [ abort ]
       ip-graft acl flush [ abort ]
CONDITION := endpoint NAME | verb { listen | connect } | uid LO[-HI] | gid LO[-HI] | own-ids |
             to PREFIX | port { N | LO-HI } | proto { tcp | udp | both }

The first rule that matches decides; index says where a new one goes, counted from 1, the end
without it. An endpoint that some allow rule covers is denied what no rule matches, any other is
allowed it. Ids are the host's; with own-ids, the container's. local lets an allow reach the
target's own addresses. load replaces all rules at once by those of a file, in the form that show
prints. abort ends the live sockets that lose their grant, which otherwise go on.
"""

_VERBS = ("show", "add", "del", "load", "flush")
_ALIASES = {"list": "show", "lst": "show", "delete": "del"}
_KEYWORDS = ("endpoint", "verb", "uid", "gid", "own-ids", "to", "port", "proto", "local")


def parse(words: Words) -> AclRule:
    """A line of a file."""
    rule, _ = _rule(words, words.keyword(("allow", "deny"), "verdict"), _KEYWORDS)
    return rule


def _rule(words: Words, verdict: str, keywords: Sequence[str]) -> tuple[AclRule, bool]:
    """The rule, and whether `abort` is said, where it is among the keywords."""
    given: dict[str, Any] = {"allow": verdict == "allow"}
    seen: set[str] = set()
    while words:
        keyword = words.keyword(keywords, "keyword")
        if keyword in seen:
            raise UsageError(f"'{keyword}' is said twice: once is enough")
        seen.add(keyword)
        if keyword == "abort":
            continue
        if keyword in ("own-ids", "local"):
            given[keyword.replace("-", "_")] = True
            continue
        word = words.value(f"the value of '{keyword}'")
        match keyword:
            case "endpoint":
                given["endpoint"] = word
            case "verb":
                given["verbs"] = values.verbs(word)
            case "uid" | "gid":
                given[f"{keyword}s"] = values.ids(word, keyword)
            case "to":
                given["network"] = values.network(word)
            case "port":
                given["ports"] = values.destination_ports(word)
            case _:
                given["protocols"] = values.protocols(word)
    return build(AclRule, **given), "abort" in seen


def _abort(words: Words) -> bool:
    abort = bool(words) and words.keyword(("abort",), "keyword") == "abort"
    words.end()
    return abort


def text(rule: AclRule) -> str:
    words = ["allow" if rule.allow else "deny"]
    if rule.endpoint:
        words.append(f"endpoint {values.safe(rule.endpoint)}")
    if rule.verbs is not Verbs.BOTH:
        words.append(f"verb {','.join(rule.verbs.words)}")
    if rule.uids is not None:
        words.append(f"uid {values.ids_text(rule.uids)}")
    if rule.gids is not None:
        words.append(f"gid {values.ids_text(rule.gids)}")
    if rule.own_ids:
        words.append("own-ids")
    if rule.network is not None:
        words.append(f"to {values.network_text(rule.network)}")
    if rule.ports is not None:
        words.append(f"port {values.ports_text(rule.ports)}")
    if rule.protocols is not Protocols.BOTH:
        words.append(f"proto {','.join(rule.protocols.words)}")
    if rule.local:
        words.append("local")
    return " ".join(words)


def as_json(index: int, rule: AclRule) -> dict[str, Any]:
    return {
        "index": index,
        "verdict": "allow" if rule.allow else "deny",
        "endpoint": rule.endpoint or None,
        "verbs": list(rule.verbs.words),
        "uid_low": rule.uids.low if rule.uids else None,
        "uid_high": rule.uids.high if rule.uids else None,
        "gid_low": rule.gids.low if rule.gids else None,
        "gid_high": rule.gids.high if rule.gids else None,
        "own_ids": rule.own_ids,
        "prefix": str(rule.network) if rule.network is not None else None,
        "port_low": rule.ports.low if rule.ports else None,
        "port_high": rule.ports.high if rule.ports else None,
        "protocols": list(rule.protocols.words),
        "local": rule.local,
    }


def run(session: Session, words: Words) -> None:
    verb = words.keyword(_VERBS, "verb", _ALIASES) if words else "show"
    match verb:
        case "show":
            words.end()
            _show(session)
        case "add":
            _add(session, words)
        case "del":
            _delete(session, words)
        case "load":
            file = words.value("the file")
            abort = _abort(words)
            _replace(session, read_lines(file, parse), abort=abort)
        case _:
            _replace(session, [], abort=_abort(words))


def _replace(session: Session, rules: list[AclRule], *, abort: bool) -> None:
    say_aborted(session, session.client().set_acl(rules, session.table_fd(), abort=abort))


def _show(session: Session) -> None:
    rules = session.client().acl(session.table_fd()).rules
    session.show([as_json(index, rule) for index, rule in enumerate(rules, start=1)], map(text, rules))


def _index(words: Words) -> int:
    index = values.number(words.value("the index"), "index")
    if index == 0:
        raise UsageError("rules are counted from 1: index 1 is the first")
    return index


def _add(session: Session, words: Words) -> None:
    first = words.keyword(("index", "allow", "deny"), "keyword")
    index = None
    if first == "index":
        index = _index(words)
        first = words.keyword(("allow", "deny"), "verdict")
    rule, abort = _rule(words, first, (*_KEYWORDS, "abort"))

    def edit(rules: tuple[AclRule, ...]) -> Iterable[AclRule]:
        at = len(rules) if index is None else index - 1
        if at > len(rules):
            raise GraftError(
                f"there is no index {index}: the ACL has {len(rules)} rules, so a new one goes to 1 to {len(rules) + 1}"
            )
        return (*rules[:at], rule, *rules[at:])

    say_aborted(session, session.client().edit_acl(edit, session.table_fd(), abort=abort))


def _delete(session: Session, words: Words) -> None:
    first = words.keyword(("index", "allow", "deny"), "keyword")
    index, rule = None, None
    if first == "index":
        index = _index(words)
        abort = _abort(words)
    else:
        rule, abort = _rule(words, first, (*_KEYWORDS, "abort"))

    def edit(rules: tuple[AclRule, ...]) -> Iterable[AclRule]:
        if index is not None:
            at = index - 1
            if at >= len(rules):
                raise GraftError(f"there is no index {index}: the ACL has {len(rules)} rules")
        elif rule in rules:
            at = rules.index(rule)
        else:
            raise GraftError("the ACL has no such rule: see ip-graft acl show")
        return (*rules[:at], *rules[at + 1 :])

    say_aborted(session, session.client().edit_acl(edit, session.table_fd(), abort=abort))
