# SPDX-License-Identifier: Apache-2.0
"""status, freeze, unfreeze, reconcile, list-tables, version"""

from __future__ import annotations

from contextlib import suppress

from graft_client import GraftdError
from graft_client import messages as m
from graftcli import exits, text
from graftcli.cmdline import Args, UsageError
from graftcli.forms import as_dict, word_of
from graftcli.output import Column, counted
from graftcli.session import ALL, Session, last
from ip_graft.values import safe_sentence as safe


def _store(one: m.NodeStatus) -> str:
    store = one.store
    return (
        f"revision {store.revision}, namespaces {store.namespaces_present} present {store.namespaces_absent} absent,"
        f" endpoints {store.endpoints}, rules {store.rules}, acl {store.acl_rules}, {store.size_bytes} bytes"
    )


def _module(one: m.NodeStatus) -> str:
    kernel = one.kernel
    words = [word_of(kernel, "module_state")]
    if kernel.module_version:
        words.append(f"version {kernel.module_version} family {kernel.capabilities.family}")
        words.append(f"ipv6 {'on' if kernel.capabilities.ipv6 else 'off'}")
        words.append(f"sol-socket {'on' if kernel.capabilities.sol_socket else 'off'}")
    if kernel.claimant:
        words.append(f"claimed by {kernel.claimant} (pid {kernel.claimant_pid})")
    return " ".join(words)


def _reconcile(one: m.NodeStatus) -> str:
    done = one.reconcile
    if not done.HasField("last_time"):
        return text.sync_detail(done.sync)
    return (
        f"{text.sync_detail(done.sync)}, last {done.last_time.ToJsonString()} in"
        f" {done.last_duration.ToMilliseconds()} ms, {done.repaired} repaired"
    )


def _transparent(one: m.NodeStatus) -> str:
    door = one.transparent
    state = word_of(door, "state")
    if door.state == m.TRANSPARENT_STATE_SERVED:
        return f"{state}, {counted(door.namespaces, 'namespace')}"
    return f"{state}: {door.detail}" if door.detail else state


STATUS: list[Column[m.NodeStatus]] = [
    Column("STATE", lambda one: word_of(one, "state")),
    Column("FROZEN", lambda one: f"frozen {one.freeze_reason}".strip() if one.frozen else ""),
    Column("VERSION", lambda one: one.version),
    Column("STARTED", lambda one: one.start_time.ToJsonString()),
    Column("KERNEL", lambda one: one.kernel.kernel_release),
    Column("MODULE", _module),
    Column("BPF-DOOR", _transparent),
    Column("STORE", _store),
    Column("SYNC", _reconcile),
    Column("WATCHERS", lambda one: str(one.watchers)),
]
_TABLES: list[Column[m.Table]] = [
    Column("COOKIE", lambda one: str(one.netns_cookie)),
    Column("NAMESPACE", lambda one: last(one.namespace)),
    Column("FOUND-AS", lambda one: " ".join(_hint(hint) for hint in one.hints)),
    Column("ENDPOINTS", lambda one: f"{one.endpoints}/{one.max_endpoints}"),
    Column("RULES", lambda one: str(one.rules)),
    Column("ACL", lambda one: str(one.acl_rules)),
    Column("SOCKETS", lambda one: f"{one.sockets}/{one.max_sockets}"),
    Column("EPHEMERAL", lambda one: f"{one.ephemeral}/{one.max_ephemeral}", wide=True),
    Column("FROZEN", lambda one: "frozen" if one.frozen else ""),
    Column("OWNER", lambda one: str(one.owner_netns_cookie or ""), wide=True),
    Column("GENERATION", lambda one: str(one.generation), wide=True),
]


def _hint(hint: m.NamespaceHint) -> str:
    match hint.WhichOneof("by"):
        case "iproute2_name":
            return f"netns {hint.iproute2_name}"
        case "path":
            return f"path {hint.path}"
    return f"pid {hint.pid}"


def status(session: Session, _args: Args) -> int:
    found = session.client.status()
    session.tell(found, STATUS)
    if session.form in ("table", "wide"):
        for condition in found.conditions:
            print(session.colors.paint(safe(f"{condition.reason}: {condition.message}"), "bad"))
    return exits.DONE


def _whole_node(args: Args) -> bool:
    everything = "all" in args or "all-namespaces" in args
    if everything and args.words:
        raise UsageError(f"'{args.words[0]}' is one namespace and --all means all: say one of them")
    return everything


def freeze(session: Session, args: Args) -> int:
    reason = args.text("reason") or ""
    if not _whole_node(args):
        name = session.namespace(args.words[0] if args.words else None)
        session.changed("frozen", session.client.freeze_namespace(name, reason, validate_only=session.dry_run))
        return exits.DONE
    # There is no validate_only: what a freeze would meet is what is there.
    count = session.client.status().store.namespaces_present if session.dry_run else session.client.freeze(reason)
    session.done(f"the node is frozen: {counted(count, 'namespace')} deny new grafts")
    return exits.DONE


def unfreeze(session: Session, args: Args) -> int:
    if not _whole_node(args):
        name = session.namespace(args.words[0] if args.words else None)
        session.changed("unfrozen", session.client.unfreeze_namespace(name, validate_only=session.dry_run))
        # Who may not ask for the status is told nothing.
        with suppress(GraftdError):
            if session.client.status().frozen:
                session.say("note: the node is frozen, so new grafts stay denied: graftcli unfreeze --all")
        return exits.DONE
    if session.dry_run:
        count = sum(one.frozen for one in session.client.namespaces(state=m.NAMESPACE_STATE_PRESENT))
    else:
        count = session.client.unfreeze()
    stay = f"; {counted(count, 'namespace')} stay frozen by themselves" if count else ""
    session.done(f"the node is not frozen any more{stay}")
    return exits.DONE


def reconcile(session: Session, _args: Args) -> int:
    parent = session.parent()
    answer = session.client.reconcile("" if parent == ALL else parent, validate_only=session.dry_run)
    if session.plain:
        session.write(as_dict(answer))
    else:
        for one in answer.repairs:
            print(safe(one.name if session.form == "name" else f"{one.name} {word_of(one, 'kind')}"))
        for failure in answer.failures:
            session.say(f"{failure.name}: the kernel refuses: {failure.message}")
        if session.form != "name":
            session.done(f"{answer.repaired} repaired, {answer.failed} refused, revision {answer.revision}")
    return exits.FAILED if answer.failed else exits.DONE


def tables(session: Session, args: Args) -> int:
    session.show(session.client.tables(unregistered_only="unregistered" in args), _TABLES)
    return exits.DONE


def version(session: Session, _args: Args) -> int:
    from graftd import __version__

    try:
        found = session.client.version()
    except GraftdError as error:
        if session.plain:
            session.write({"graftcli": __version__, "graftd": None})
        else:
            print(f"graftcli {__version__}")
            session.say(f"graftd's is not known: {error}")
        return exits.DONE
    if session.plain:
        session.write({"graftcli": __version__, "graftd": found.version, "api": list(found.api_packages)})
    else:
        print(f"graftcli {__version__}\ngraftd {safe(found.version)}")
    return exits.DONE
