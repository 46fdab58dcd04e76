# SPDX-License-Identifier: Apache-2.0
"""What was refused or left native lately, explained."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from graft_client import messages as m
from graftcli import text
from graftcli.doctor.facts import Facts
from graftcli.doctor.finding import NOTE, WARNING, Finding
from graftcli.doctor.reasons import explain
from graftcli.forms import word_of, words_of
from graftcli.session import last, middle

_MOST = 20


def events(facts: Facts) -> Iterator[Finding]:
    """One finding for all that happened alike, the newest first."""
    groups: dict[tuple[str, int, int, str, int], list[m.SocketEvent]] = {}
    for event in facts.events:
        if not facts.pid or event.pid == facts.pid:
            key = (event.namespace, event.kind, event.reason, event.endpoint, event.address.port)
            groups.setdefault(key, []).append(event)
    newest = sorted(groups.values(), key=lambda group: group[-1].time.ToNanoseconds(), reverse=True)
    known = facts.namespaces
    all_are_known = facts.NAMESPACES not in facts.unasked
    for group in newest[:_MOST]:
        # What a container was refused that is gone, perhaps for that reason, is no fault any more.
        yield _finding(group, gone=all_are_known and group[-1].namespace not in known)


def _finding(group: list[m.SocketEvent], *, gone: bool) -> Finding:
    event = group[-1]
    reason = word_of(event, "reason")
    found = explain(reason)
    where = last(event.namespace)
    address = text.address(event.address) if event.HasField("address") else "an address"
    verbs = " and ".join(words_of(event, "verbs")) or "use"
    endpoint = f" through {event.endpoint}" if event.endpoint else ""
    error = f" with {errno.errorcode.get(event.error_number, event.error_number)}" if event.error_number else ""
    done = f"was refused{error}" if event.kind == m.SOCKET_EVENT_KIND_DENIED else "stayed native"
    times = f", {len(group)} times lately" if len(group) > 1 else ""
    cause = (
        f"pid {event.pid}'s {text.protocol(event.protocol)} {verbs} {address}{endpoint} {done}{times}: {found.cause}"
    )
    if event.detail:
        cause += f" (the kernel: {event.detail})"
    remedy = found.remedy.format(
        namespace=where,
        endpoint=event.endpoint or "NAME",
        address=event.address.address or "PREFIX",
        port=event.address.port or "PORT",
        direction="egress" if m.VERB_CONNECT in event.verbs else "ingress",
    )
    denied = event.kind == m.SOCKET_EVENT_KIND_DENIED
    subject = f"{where}, which is gone" if gone else where
    level = WARNING if denied and not gone else NOTE
    return Finding(level, f"{'denied' if denied else 'native'}-{reason or 'unknown'}", subject, cause, remedy)


def counters(facts: Facts) -> Iterator[Finding]:
    """Denials that were counted and whose events graftd no longer has."""
    told = {(event.namespace, event.endpoint, event.reason) for event in facts.events}
    for name, endpoint in facts.endpoints.items():
        where = middle(name)
        for denial in endpoint.counters.denials:
            if (f"namespaces/{where}", last(name), denial.reason) in told:
                continue
            reason = word_of(denial, "reason")
            found = explain(reason)
            remedy = found.remedy.format(
                namespace=where, endpoint=last(name), address="PREFIX", port="PORT", direction="ingress"
            )
            yield Finding(
                NOTE,
                f"counted-{reason}",
                f"{where} endpoint {last(name)}",
                f"{denial.count} denials since the module was loaded: {found.cause}",
                remedy,
            )
