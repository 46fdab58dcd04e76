# SPDX-License-Identifier: Apache-2.0
"""A namespace's table as the module has it, and as the store has it, in one shape."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from graft.v1 import acl_pb2, namespace_pb2, rule_pb2
from graftd.kernel import Client as Kernel
from graftd.model import PortRange, Protocols, Verdict
from integration.workload import Stubs


def table(kernel: Kernel, namespace: str) -> tuple[Any, ...]:
    """What the module has: endpoints, rules, and the ACL in order."""
    fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        entries, rules, acl = kernel.endpoints(fd), kernel.rules(fd).rules, kernel.acl(fd).rules
    finally:
        os.close(fd)
    endpoints: Counter[tuple[object, ...]] = Counter()
    for entry in entries:
        one = entry.endpoint
        assert one.ports is not None
        endpoints[(one.name, str(one.address), one.ports.low, one.ports.high, int(one.protocols))] += 1
    for rule in rules:
        assert (rule.protocols, rule.ports, rule.endpoint) == (Protocols.BOTH, PortRange.EVERY, ""), rule
    verdicts = Counter((rule.direction.word, str(rule.network), rule.verdict is Verdict.DENY) for rule in rules)
    return endpoints, verdicts, [(one.endpoint, one.allow) for one in acl]


def export(stubs: Stubs, namespace: str) -> tuple[Any, ...]:
    """The same as the store has it."""
    whole = stubs.namespaces.ExportNamespace(
        namespace_pb2.ExportNamespaceRequest(name=f"namespaces/{namespace}"), timeout=60
    )
    words = {rule_pb2.RULE_DIRECTION_EGRESS: "egress", rule_pb2.RULE_DIRECTION_INGRESS: "ingress"}
    return (
        Counter(
            (
                one.name.rpartition("/")[2],
                one.inet.address,
                one.inet.ports.low,
                one.inet.ports.high,
                int(Protocols.BOTH),
            )
            for one in whole.endpoints.endpoints
        ),
        Counter(
            (words[one.direction], one.network, one.verdict == rule_pb2.RULE_VERDICT_DENY) for one in whole.rules.rules
        ),
        [(one.endpoint, one.action == acl_pb2.ACL_ACTION_ALLOW) for one in whole.acl_rules.acl_rules],
    )
