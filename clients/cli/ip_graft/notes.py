# SPDX-License-Identifier: Apache-2.0
"""Remarks on what the kernel took but cannot work as things stand. None is a failure: the address, the
device or the endpoint may be about to come."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping
from functools import partial

from graftd.errors import KernelError
from graftd.kernel import Client, netns
from graftd.model import Endpoint, EndpointType, Rule
from ip_graft.session import Session
from ip_graft.values import safe


def on_endpoint(session: Session, endpoint: Endpoint, target_fd: int | None) -> None:
    """Say that the target lacks the endpoint's device or address."""
    look = partial(_lacks, endpoint)
    lacking = look() if target_fd is None else netns.call_in(target_fd, look)
    if lacking:
        name = safe(endpoint.name)
        session.say(f"note: the target namespace has no {lacking} now; until it does, '{name}' refuses every bind")


def on_rules(session: Session, client: Client, rules: Iterable[Rule], table_fd: int | None) -> None:
    """Say that a rule's endpoint is not in the table, or serves another family than the rule's prefix."""
    named = {rule.endpoint: rule for rule in rules if rule.endpoint}
    present = _endpoints(client, named, table_fd)
    for name, rule in named.items():
        endpoint = present.get(name)
        if endpoint is None:
            session.say(
                f"note: the table has no endpoint '{safe(name)}' now; until it does, what the rule matches is refused"
            )
        elif rule.network is not None and endpoint.type is not EndpointType[f"IPV{rule.network.version}"]:
            session.say(
                f"note: '{safe(name)}' is of type {endpoint.type.word}, and the rule's prefix is"
                f" IPv{rule.network.version}: no socket gets through it"
            )


def _lacks(endpoint: Endpoint) -> str:
    """What the calling thread's namespace lacks of the endpoint's; "" where it has it all."""
    if endpoint.address is None:
        return ""
    index = 0
    if endpoint.device:
        try:
            index = socket.if_nametoindex(endpoint.device)
        except OSError:
            return f"device '{safe(endpoint.device)}'"
    six = endpoint.address.version == 6
    try:
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((str(endpoint.address), 0, 0, index) if six else (str(endpoint.address), 0))
    except OSError as error:
        # of other errors it is not known what they say about the address
        if error.errno == errno.EADDRNOTAVAIL:
            return f"address {endpoint.address}"
    return ""


def _endpoints(client: Client, names: Mapping[str, Rule], table_fd: int | None) -> dict[str, Endpoint]:
    """Those of `names` that are in the table."""
    if not names:
        return {}
    if len(names) > 1:
        return {entry.endpoint.name: entry.endpoint for entry in client.endpoints(table_fd)}
    (name,) = names
    try:
        return {name: client.endpoint(name, table_fd).endpoint}
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        return {}
