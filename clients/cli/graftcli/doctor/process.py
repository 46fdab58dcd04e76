# SPDX-License-Identifier: Apache-2.0
"""Checks of one process."""

from __future__ import annotations

from collections.abc import Iterator

from graft_client import messages as m
from graftcli.doctor.facts import Facts
from graftcli.doctor.finding import ERROR, NOTE, Finding
from graftcli.doctor.host import Process
from graftcli.session import last

_START = "start it through `graft -- COMMAND`; `graft -v` says what is in force"


def process(facts: Facts) -> Iterator[Finding]:
    """Whether a process is in the namespace, and asks for graftable sockets."""
    if not facts.pid:
        return
    found = facts.host.process(facts.pid)
    if found is None:
        yield Finding(
            ERROR, "no-process", f"pid {facts.pid}", "there is no such process", "ps -e shows those there are"
        )
        return
    subject = f"{found.command} (pid {facts.pid})"
    yield from _place(facts, subject, found)
    if not _passes_bpf_door(facts, found):
        yield from _door(subject, found)
    if found.can_configure:
        plain = [one for export in facts.exports.values() for one in export.endpoints.endpoints if not one.privileged]
        if plain:
            yield Finding(
                ERROR,
                "capable",
                subject,
                "it has CAP_NET_ADMIN without CAP_SYS_ADMIN in the host's user namespace: it could configure the host's"
                f" network, so endpoints that are not privileged refuse it ({last(plain[0].name)} and {len(plain) - 1}"
                " others)",
                "take CAP_NET_ADMIN from its container, or, if it is trusted, update-endpoint NAME --privileged",
            )


def _place(facts: Facts, subject: str, found: Process) -> Iterator[Finding]:
    """Which namespace it is in."""
    if found.cookie is None:
        yield Finding(NOTE, "not-root", subject, "its network namespace may not be looked at", "run this as root")
        return
    by_cookie = {one.netns_cookie: one for one in facts.namespaces.values() if one.netns_cookie}
    here = by_cookie.get(found.cookie)
    if facts.wanted and here is not None and here.name != facts.wanted:
        cause = f"it is in namespace {last(here.name)}, and not in {last(facts.wanted)}"
        yield Finding(ERROR, "wrong-namespace", subject, cause, f"graftcli doctor {last(here.name)} --pid {facts.pid}")
    elif here is None and facts.status and found.cookie == facts.status.netns_cookie:
        cause = "it is in the host's own network namespace, where nothing is grafted"
        remedy = "start it in the container's namespace: ip netns exec NAME graft -- COMMAND"
        yield Finding(ERROR, "in-host-namespace", subject, cause, remedy)
    elif here is None:
        cause = f"its network namespace (cookie {found.cookie}) is not registered"
        if facts.wanted:
            cause += f", and is another than that of {last(facts.wanted)}"
        yield Finding(ERROR, "wrong-namespace", subject, cause, f"graftcli add-namespace NAME --pid {facts.pid}")


def _passes_bpf_door(facts: Facts, found: Process) -> bool:
    """Whether each socket that it makes is graftable, whatever it is made of."""
    served = facts.status is not None and facts.status.transparent.state == m.TRANSPARENT_STATE_SERVED
    here = [one for one in facts.namespaces.values() if found.cookie and one.netns_cookie == found.cookie]
    return served and any(one.transparent for one in here)


def _door(subject: str, found: Process) -> Iterator[Finding]:
    """Whether its sockets are asked for so that they can be grafted."""
    if found.has_library:
        return
    if found.has_library is None:
        yield Finding(NOTE, "not-root", subject, "its memory map may not be looked at", "run this as root")
    elif found.is_static:
        kind = "a static Go program" if found.is_go else "a static program"
        cause = f"it is {kind}, which loads no library, so `graft` cannot make its sockets graftable"
        remedy = "link it dynamically, or let it ask for IPPROTO_GRAFT (254) or AF_GRAFT itself"
        yield Finding(ERROR, "static-program", subject, cause, remedy)
    elif found.is_privileged:
        cause = "it runs with more rights than its user (setuid), and such programs take no preload library"
        yield Finding(ERROR, "setuid-program", subject, cause, "start it as the user that it is to be")
    elif found.is_go:
        cause = "it is a Go program: it makes system calls of its own, past libgraft.so"
        yield Finding(ERROR, "go-program", subject, cause, "let it ask for IPPROTO_GRAFT (254) or AF_GRAFT itself")
    else:
        cause = "libgraft.so is not loaded into it, so its sockets are native unless it asks for AF_GRAFT itself"
        yield Finding(ERROR, "not-through-graft", subject, cause, _START)


def sockets(facts: Facts) -> Iterator[Finding]:
    """What the process asked for lately that was not grafted, where there is nothing at all to be seen."""
    if not facts.pid or any(event.pid == facts.pid for event in facts.events):
        return
    process_found = facts.host.process(facts.pid)
    if process_found is None or not process_found.has_library:
        return
    yield Finding(
        NOTE,
        "no-events",
        f"pid {facts.pid}",
        "nothing of it was refused or left native lately: it has asked for no socket since, or all were grafted",
        "graftcli list-sockets; graftcli watch --sockets, and let it try again",
    )
