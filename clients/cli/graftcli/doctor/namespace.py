# SPDX-License-Identifier: Apache-2.0
"""Checks of the namespaces as such."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from graft_client import messages as m
from graftcli.doctor.facts import Facts
from graftcli.doctor.finding import ERROR, NOTE, WARNING, Finding
from graftcli.session import last, middle

# Folders that graftd.service hides, and the setting that shows them.
_HIDDEN = {
    "/home": "ProtectHome=no",
    "/root": "ProtectHome=no",
    "/run/user": "ProtectHome=no",
    "/tmp": "PrivateTmp=no",  # noqa: S108
    "/var/tmp": "PrivateTmp=no",  # noqa: S108
}


def registered(facts: Facts) -> Iterator[Finding]:
    """Whether the namespace that was asked about is registered."""
    if not facts.wanted or facts.wanted in facts.namespaces or "the namespaces" in facts.unasked:
        return
    name = last(facts.wanted)
    near = get_close_matches(name, [last(one) for one in facts.namespaces], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    unregistered = [table for table in facts.tables if not table.namespace]
    if any(hint.iproute2_name == name for table in unregistered for hint in table.hints):
        remedy = f"it has a table in the kernel: graftcli import {name} --netns {name}"
    elif facts.host.has_netns(name):
        remedy = f"graftcli add-namespace {name} --netns {name}"
    else:
        remedy = f"graftcli add-namespace {name}, with what selects it; graftcli list-namespaces shows what there is"
    yield Finding(ERROR, "not-registered", name, f"no namespace {name} is registered{hint}", remedy)


def present(facts: Facts) -> Iterator[Finding]:
    """Whether each network namespace is there."""
    for one in facts.looked_at:
        if one.state == m.NAMESPACE_STATE_ABSENT:
            yield _absent(facts, one)


def _absent(facts: Facts, one: m.Namespace) -> Finding:
    selector = one.selector
    match selector.WhichOneof("by"):
        case "iproute2_name":
            name = selector.iproute2_name
            there = facts.host.has_netns(name)
            cause = (
                f"`ip netns` has a file for {name}, and it is no namespace" if there else f"there is no netns {name}"
            )
            remedy = f"ip netns add {name}, or give it another selector: graftcli update-namespace {last(one.name)}"
        case "path":
            cause = f"{selector.path} is no namespace file, or is not there"
            remedy = f"start what makes that file, or: graftcli update-namespace {last(one.name)} --path PATH"
            remedy += _hidden(selector.path)
        case "process":
            cause = f"process {selector.process.pid}, by which it was found, has ended, and a pid is looked up once"
            remedy = (
                f"graftcli update-namespace {last(one.name)} --pid PID, or better by --netns, --container or --unit"
            )
        case "container_id":
            cause = f"no container {selector.container_id} runs where graftd looks for containers"
            remedy = "start it; if it runs, its runtime's folder is missing in graftd.toml"
        case _:
            cause = f"the unit {selector.systemd_unit} does not run, or has no namespace of its own"
            remedy = f"systemctl start {selector.systemd_unit}; the unit needs PrivateNetwork= or NetworkNamespacePath="
    return Finding(ERROR, "namespace-absent", last(one.name), f"the network namespace is not there: {cause}", remedy)


def _hidden(path: str) -> str:
    """What to do besides where graftd.service keeps the path from graftd, which then never sees it; "" elsewhere."""
    path = path.removeprefix("/var") if path.startswith("/var/run/") else path
    for folder, setting in _HIDDEN.items():
        if path.startswith(f"{folder}/"):
            return (
                f"; if it is there, graftd's unit hides {folder} from it: systemctl edit graftd, "
                f"[Service] {setting}, and restart it"
            )
    return ""


def frozen(facts: Facts) -> Iterator[Finding]:
    """Whether a namespace denies new grafts."""
    for one in facts.looked_at:
        if one.frozen:
            why = f", because: {one.freeze_reason}" if one.freeze_reason else ""
            name = last(one.name)
            yield Finding(ERROR, "namespace-frozen", name, f"new grafts are denied{why}", f"graftcli unfreeze {name}")


def in_sync(facts: Facts) -> Iterator[Finding]:
    """Whether everything is in the kernel as it is in the store."""
    for one in facts.looked_at:
        if one.state == m.NAMESPACE_STATE_ABSENT:
            # Everything waits then, and for that.
            continue
        where = last(one.name)
        export = facts.exports.get(one.name)
        if export is None:
            parts = [(where, one.sync)]
        else:
            parts = [(f"{where} endpoint {last(part.name)}", part.sync) for part in export.endpoints.endpoints]
            parts += [(f"{where} rule {last(part.name)}", part.sync) for part in export.rules.rules]
            parts += [(f"{where} acl-rule {last(part.name)}", part.sync) for part in export.acl_rules.acl_rules]
        for subject, sync in parts:
            if sync.state == m.SYNC_STATE_FAILED:
                cause = f"the kernel refuses it: {sync.detail}"
                yield Finding(ERROR, "kernel-refuses", subject, cause, "correct that; graftcli reconcile tries again")
            elif sync.state == m.SYNC_STATE_PENDING:
                cause = f"it is not in the kernel yet: {sync.detail or 'it waits'}"
                yield Finding(WARNING, "pending", subject, cause, "graftcli reconcile, once what it waits for is there")


def limits(facts: Facts) -> Iterator[Finding]:
    """Whether a limit on sockets is reached."""
    for one in facts.looked_at:
        table = next((table for table in facts.tables if table.namespace == one.name), None)
        if table is None:
            continue
        name = last(one.name)
        for used, most, option in (
            (table.sockets, table.max_sockets, "max-sockets"),
            (table.ephemeral, table.max_ephemeral, "max-ephemeral"),
        ):
            if most and used >= most:
                cause = f"{used} of at most {most} are in use, so the next graft is refused"
                remedy = f"graftcli update-namespace {name} --{option} N, or end some: graftcli abort-sockets"
                yield Finding(ERROR, f"{option}-reached", f"{name} {option}", cause, remedy)
    for name, endpoint in facts.endpoints.items():
        active = endpoint.counters.active
        if endpoint.max_sockets and active >= endpoint.max_sockets:
            where = middle(name)
            yield Finding(
                ERROR,
                "max-sockets-reached",
                f"{where} endpoint {last(name)}",
                f"{active} of at most {endpoint.max_sockets} live sockets are in use, so the next graft is refused",
                f"graftcli -n {where} update-endpoint {last(name)} --max-sockets N",
            )


def content(facts: Facts) -> Iterator[Finding]:
    """Whether a table can graft anything."""
    for name, export in facts.exports.items():
        where = last(name)
        if not export.endpoints.endpoints:
            yield Finding(
                WARNING,
                "no-endpoints",
                where,
                "the namespace has no endpoints, so it may use nothing of the host's",
                f"graftcli -n {where} add-endpoint NAME --address ADDRESS --port PORT",
            )
        elif not export.rules.rules:
            yield Finding(
                WARNING,
                "no-rules",
                where,
                "the namespace has no rules: only programs that name an endpoint themselves are grafted",
                f"graftcli -n {where} add-rule --direction ingress --port PORT --endpoint NAME",
            )


def unregistered(facts: Facts) -> Iterator[Finding]:
    """Tables in the kernel that are nobody's, where all namespaces are looked at."""
    if facts.wanted:
        return
    for table in facts.tables:
        if table.namespace or not (table.endpoints or table.rules or table.acl_rules):
            continue
        hint = next((one for one in table.hints if one.WhichOneof("by") == "iproute2_name"), None)
        name = hint.iproute2_name if hint else "NAME"
        yield Finding(
            NOTE,
            "table-unregistered",
            f"table of cookie {table.netns_cookie}",
            f"it holds {table.endpoints} endpoints that graftd did not put there, and leaves alone",
            f"graftcli import {name} --netns {name}",
        )
