# SPDX-License-Identifier: Apache-2.0
"""Checks of graftd, its store and the module."""

from __future__ import annotations

from collections.abc import Iterator

from graft_client import GraftdError, probe
from graft_client import messages as m
from graftcli.doctor.facts import Facts
from graftcli.doctor.finding import ERROR, NOTE, WARNING, Finding
from graftcli.session import last

_START = "systemctl start graftd, and look at: journalctl -u graftd"
# Conditions that another check tells about in more words.
_TOLD_ELSEWHERE = ("MODULE_NOT_LOADED", "TABLES_CLAIMED")
_TOLD = 3
_PRELOAD = "or start the programs by graft(1), which preloads it"
# What the BPF door lacks: a code, and what to do.
_DOOR = {
    m.TRANSPARENT_STATE_NOT_LOADED: (
        "transparent-not-loaded",
        f"install graft-transparent, and: systemctl enable --now graft-transparent; {_PRELOAD}",
    ),
    m.TRANSPARENT_STATE_KERNEL_CANNOT: (
        "transparent-kernel-cannot",
        f"boot a kernel from 6.6 on with MPTCP (CONFIG_MPTCP); {_PRELOAD}",
    ),
    m.TRANSPARENT_STATE_FAILED: (
        "transparent-failed",
        f"systemctl restart graft-transparent, and look at: graft-transparent status; {_PRELOAD}",
    ),
}
_REMEDIES = {
    "STORE_FULL": "free some space on the disk of /var/lib/graftd; nothing has to be restarted",
    "STORE_READ_ONLY": "mount the disk of /var/lib/graftd read-write, and let graftd's user write there",
    "STORE_DAMAGED": "graftcli restore FILE, with a file that graftcli backup wrote",
    "STORE_TOO_NEW": "install the graftd that wrote the store, or restore a backup of this one's",
    "STORE_UNAVAILABLE": "see the disk of /var/lib/graftd, and who may write there: journalctl -u graftd",
    "STORE_BUSY": "see whether another process has /var/lib/graftd/graftd.db open, and how the disk does",
    "KERNEL_REFUSED": "the lines below say which resources; graftcli reconcile tries again",
}


def reachable(facts: Facts) -> Iterator[Finding]:
    """Whether graftd can be spoken to at all. What else graftd is asked makes no sense if not."""
    cause = probe(facts.client.target)
    if cause is None:
        try:
            facts.client.version()
            return
        except GraftdError as error:
            cause = error
    if cause.status in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
        remedy = "become a member of that group (usermod -aG GROUP USER, and log in anew), or root"
        yield Finding(ERROR, "no-permission", "graftd", str(cause), remedy)
    else:
        yield Finding(ERROR, "unreachable", "graftd", str(cause), _START)


def module(facts: Facts) -> Iterator[Finding]:
    """Whether the module is there and lets graftd write."""
    status = facts.status
    release = status.kernel.kernel_release if status else facts.host.kernel()
    state = status.kernel.module_state if status else m.MODULE_STATE_UNSPECIFIED
    if state == m.MODULE_STATE_NOT_LOADED or (status is None and not facts.host.module_loaded()):
        yield Finding(
            ERROR,
            "module-not-loaded",
            "kernel module",
            "the module graft is not loaded, so nothing can be grafted",
            f"modprobe graft; where it is not found, install the module for kernel {release}",
        )
    elif status and state == m.MODULE_STATE_REFUSING:
        yield _refusing(status.kernel)
    elif waiting := _waiting(facts, release):
        yield waiting
    elif status and status.kernel.module_version != status.version:
        yield Finding(
            WARNING,
            "module-version",
            "kernel module",
            f"the module is of version {status.kernel.module_version}, graftd of {status.version}",
            "install both of one version, then: systemctl stop graftd; rmmod graft; modprobe graft; "
            "systemctl start graftd",
        )


def _waiting(facts: Facts, release: str) -> Finding | None:
    """The module that is installed, where another one is loaded; only this machine can be looked at."""
    loaded, installed = facts.host.loaded_module(), facts.host.installed_module()
    if loaded is None or installed is None or loaded.source == installed.source or release != facts.host.kernel():
        return None
    newer = f"version {installed.version}" if loaded.version != installed.version else "another build of it"
    return Finding(
        WARNING,
        "module-waits",
        "kernel module",
        f"version {loaded.version} is loaded, and {newer} is installed and waits until that one is unloaded",
        "restart the machine; or end what graftcli list-sockets -A shows, then: systemctl stop graftd; rmmod graft;"
        " systemctl start graftd",
    )


def _refusing(kernel: m.KernelStatus) -> Finding:
    if kernel.claimant:
        return Finding(
            ERROR,
            "tables-claimed",
            "kernel module",
            f"the tables are claimed by {kernel.claimant} (pid {kernel.claimant_pid}), so graftd cannot write them",
            f"end that process if it should not have them: kill {kernel.claimant_pid}; graftd takes over by itself",
        )
    return Finding(
        ERROR,
        "module-refuses",
        "kernel module",
        "the module does not let graftd write the tables",
        "graftd needs CAP_NET_ADMIN in the host's network and user namespace: see systemctl cat graftd",
    )


def conditions(facts: Facts) -> Iterator[Finding]:
    """What graftd itself says is wrong."""
    for condition in facts.status.conditions if facts.status else ():
        if condition.reason in _TOLD_ELSEWHERE:
            continue
        yield Finding(
            ERROR,
            condition.reason.lower().replace("_", "-"),
            "store" if condition.reason.startswith("STORE") else "graftd",
            condition.message,
            _REMEDIES.get(condition.reason, "look at: journalctl -u graftd"),
        )


def transparent(facts: Facts) -> Iterator[Finding]:
    """Whether the BPF door is served where a namespace wants it."""
    wanting = [last(one.name) for one in facts.looked_at if one.transparent]
    if not wanting or facts.status is None:
        return
    door, found = facts.status.transparent, _DOOR.get(facts.status.transparent.state)
    if found is not None:
        code, remedy = found
        most = ", ".join(wanting[:_TOLD]) + (" and others" if len(wanting) > _TOLD else "")
        cause = f"{most} would have it, and its programs are grafted only if libgraft.so is preloaded: {door.detail}"
        yield Finding(WARNING, code, "BPF door", cause, remedy)
        return
    yield Finding(
        NOTE,
        "transparent-io-uring",
        "BPF door",
        "sockets that a program makes by io_uring do not pass it, and stay native",
        "where a program uses io_uring, let it make its sockets by socket(2); most do, or have an option for it",
    )


def frozen(facts: Facts) -> Iterator[Finding]:
    """Whether the whole node denies new grafts."""
    if facts.status and facts.status.frozen:
        why = f", because: {facts.status.freeze_reason}" if facts.status.freeze_reason else ""
        yield Finding(
            ERROR, "node-frozen", "node", f"new grafts are denied in every namespace{why}", "graftcli unfreeze --all"
        )
