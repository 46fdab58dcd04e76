# SPDX-License-Identifier: Apache-2.0
"""The kernel's side of the node: its module, and the tables that it holds."""

from __future__ import annotations

from collections.abc import Iterable

from graft.v1 import node_pb2
from graftd.api import names
from graftd.api.text import utf8
from graftd.model import ModuleInfo, Selector, SelectorKind, Table
from graftd.reconcile import TransparentStatus

HINTS_MAX = 16


def kernel_status(release: str, info: ModuleInfo | None, *, refusing: bool = False) -> node_pb2.KernelStatus:
    """release: as `uname -r` says. info None: the module is not loaded. refusing: it does not let graftd write."""
    if info is None:
        return node_pb2.KernelStatus(kernel_release=utf8(release), module_state=node_pb2.MODULE_STATE_NOT_LOADED)
    return node_pb2.KernelStatus(
        kernel_release=utf8(release),
        module_state=node_pb2.MODULE_STATE_REFUSING if refusing else node_pb2.MODULE_STATE_LOADED,
        module_version=utf8(info.version),
        claimant=utf8(info.claimant),
        claimant_pid=info.claimant_pid,
        capabilities=node_pb2.KernelCapabilities(family=info.family, ipv6=info.ipv6, sol_socket=info.sol_socket),
    )


def transparent_status(found: TransparentStatus) -> node_pb2.TransparentStatus:
    return node_pb2.TransparentStatus(
        state=node_pb2.TransparentState.Name(found.state.value),
        detail=utf8(found.detail),
        namespaces=found.namespaces,
    )


def table_message(table: Table, *, namespace: str = "", hints: Iterable[Selector] = ()) -> node_pb2.Table:
    """namespace: the id of the resource; "" for a table of none. hints: those that can be told, of the first kinds of
    selectors (a name, a path, a process), HINTS_MAX at most."""
    told = [hint for hint in map(_hint, hints) if hint is not None]
    return node_pb2.Table(
        netns_cookie=table.netns_cookie,
        namespace=names.namespace(namespace) if namespace else "",
        hints=told[:HINTS_MAX],
        owner_netns_cookie=table.owner_cookie,
        generation=table.generation,
        max_sockets=table.max_sockets,
        max_ephemeral=table.max_ephemeral,
        max_endpoints=table.max_endpoints,
        frozen=table.frozen,
        endpoints=table.endpoints,
        rules=table.rules,
        acl_rules=table.acls,
        sockets=table.sockets,
        ephemeral=table.ephemeral,
    )


def _hint(selector: Selector) -> node_pb2.NamespaceHint | None:
    match selector.kind:
        case SelectorKind.NETNS:
            return node_pb2.NamespaceHint(iproute2_name=utf8(selector.value))
        case SelectorKind.PATH:
            return node_pb2.NamespaceHint(path=utf8(selector.value))
        case SelectorKind.PID:
            return node_pb2.NamespaceHint(pid=int(selector.value))
        case _:
            return None
