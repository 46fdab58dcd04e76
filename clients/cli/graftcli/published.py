# SPDX-License-Identifier: Apache-2.0
"""add, change, replace, del, show: the published grammar, as ip-graft has it."""

from __future__ import annotations

from collections.abc import Callable

from graft_client import messages as m
from graftcli import exits, fields, text
from graftcli.cmdline import Args
from graftcli.session import ALL, Session, middle
from ip_graft import values
from ip_graft.words import UsageError, Words, match

_TYPES = ("ipv4", "ipv6", "unix")
_FLAGS = ("privileged", "abort")
_EXAMPLES = {"addr": "addr ADDRESS", "port": "port 80, port any or port 8000-8010", "path": "path @NAME"}
_INET_WORDS = ("addr", "port", "proto", "mark", "dev")

# Keyword to what its word makes of an endpoint.
_READERS: dict[str, Callable[[m.Endpoint, str], object]] = {
    "addr": lambda endpoint, word: setattr(endpoint.inet, "address", str(values.address(word))),
    "port": lambda endpoint, word: endpoint.inet.ports.CopyFrom(fields.ports(word)),
    "path": lambda endpoint, word: setattr(endpoint.unix, "path", fields.path(word)),
    "proto": lambda endpoint, word: endpoint.inet.protocols.extend(fields.protocols([word])),
    "netns": lambda endpoint, word: setattr(endpoint, "target_namespace", fields.namespace_id(word)),
    "mark": lambda endpoint, word: setattr(endpoint.inet, "mark", values.number(word, "mark")),
    "dev": lambda endpoint, word: setattr(endpoint.inet, "device", word),
    "max-sockets": lambda endpoint, word: setattr(endpoint, "max_sockets", values.number(word, "limit")),
}


def parse(words: Words) -> tuple[str, m.Endpoint, bool]:
    """The endpoint's id, the endpoint, and whether its live sockets are to be ended."""
    name = words.value("the endpoint's name")
    endpoint = m.Endpoint()
    kind = ""
    seen: set[str] = set()
    while words:
        keyword = words.keyword(("type", *_READERS, *_FLAGS), "keyword")
        if keyword in seen:
            raise UsageError(f"'{keyword}' is said twice: once is enough")
        seen.add(keyword)
        if keyword in _FLAGS:
            continue
        word = words.value(f"the value of '{keyword}'")
        if keyword == "type":
            kind = match(word, _TYPES, "type")
        else:
            _READERS[keyword](endpoint, word)
    _check(kind, seen, endpoint)
    endpoint.privileged = "privileged" in seen
    return name, endpoint, "abort" in seen


def _check(kind: str, seen: set[str], endpoint: m.Endpoint) -> None:
    if not kind:
        raise UsageError("'type' is missing: say type ipv4, type ipv6 or type unix")
    needed, strange = (("path",), _INET_WORDS) if kind == "unix" else (("addr", "port"), ("path",))
    for keyword in needed:
        if keyword not in seen:
            raise UsageError(f"'{keyword}' is missing: an endpoint of type {kind} needs {_EXAMPLES[keyword]}")
    for keyword in strange:
        if keyword in seen:
            raise UsageError(f"an endpoint of type {kind} has no '{keyword}': leave it out")
    if kind != "unix" and text.endpoint_type(endpoint) != kind:
        raise UsageError(f"'{endpoint.inet.address}' is no {kind} address: say type {text.endpoint_type(endpoint)}")


def add(session: Session, args: Args) -> int:
    name, endpoint, abort = parse(Words(args.words))
    if abort:
        raise UsageError("a new endpoint has no live sockets to abort: leave 'abort' out")
    made = session.client.create_endpoint(session.namespace(), name, endpoint, validate_only=session.dry_run)
    session.changed("created", made)
    return exits.DONE


def change(session: Session, args: Args) -> int:
    return _put(session, args, allow_missing=False)


def replace(session: Session, args: Args) -> int:
    return _put(session, args, allow_missing=True)


def _put(session: Session, args: Args, *, allow_missing: bool) -> int:
    name, endpoint, abort = parse(Words(args.words))
    endpoint.name = session.resource("endpoints", name)
    # Everything that the grammar can say, so that what is not said gets its default; labels are not of it.
    mask = [endpoint.WhichOneof("kind") or "inet", "target_namespace", "max_sockets", "privileged"]
    made = session.client.update_endpoint(
        endpoint,
        mask,
        allow_missing=allow_missing,
        abort_sockets=abort,
        on_aborted=session.aborted,
        validate_only=session.dry_run,
    )
    session.changed("replaced" if allow_missing else "changed", made)
    return exits.DONE


def delete(session: Session, args: Args) -> int:
    words = Words(args.words)
    name = session.resource("endpoints", words.value("the endpoint's name"))
    abort = bool(words) and words.keyword(("abort",), "keyword") == "abort"
    words.end()
    answer = session.client.delete_endpoint(name, abort_sockets=abort, validate_only=session.dry_run)
    session.done(f"{name} deleted")
    session.aborted(answer.aborted_sockets)
    return exits.DONE


def show(session: Session, args: Args) -> int:
    if args.words:
        found = [session.client.get_endpoint(session.resource("endpoints", args.words[0]))]
    else:
        found = list(session.client.endpoints(session.parent()))
    if session.form not in ("table", "wide"):
        session.show(found, ())
        return exits.DONE
    several = session.parent() == ALL and not args.words
    for one in found:
        print(f"{middle(one.name)} {text.endpoint(one)}" if several else text.endpoint(one))
        if one.HasField("counters"):
            print(f"    {text.counters(one.counters)}")
    return exits.DONE
