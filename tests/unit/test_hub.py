# SPDX-License-Identifier: Apache-2.0
"""Whom a change wakes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from graftd.api.hub import Hub
from graftd.model import (
    Change,
    ChangeKind,
    Endpoint,
    EndpointRecord,
    EndpointType,
    Namespace,
    NamespaceRecord,
    Record,
    Selector,
    SelectorKind,
    TargetedEndpoint,
    Version,
)

NOW = datetime(2026, 11, 26, tzinfo=UTC)
SELECTOR = Selector(SelectorKind.NETNS, "web")


def change(revision: int, record: Record) -> Change:
    return Change(revision, NOW, ChangeKind.CREATED, record)


def endpoint(revision: int) -> Change:
    value = TargetedEndpoint(Endpoint("ep", EndpointType.UNIX, path=b"x"))
    return change(revision, EndpointRecord("web", "uid", value, Version(revision, NOW, NOW)))


def namespace(revision: int) -> Change:
    return change(revision, NamespaceRecord("uid", Namespace("web", SELECTOR), None, Version(revision, NOW, NOW)))


def told(changed: Callable[[Hub], Awaitable[None]]) -> list[str]:
    """The namespaces that were told of."""
    found: list[str] = []

    async def run() -> None:
        hub = Hub(asyncio.get_running_loop(), most_watchers=2, most_changes=10, recent_events=1)
        hub.on_namespaces = lambda records: found.extend(one.namespace.name for one in records)
        await changed(hub)

    asyncio.run(run())
    return found


def test_an_endpoint_that_nobody_watches_wakes_nobody() -> None:
    async def changed(hub: Hub) -> None:
        hub.changed([endpoint(7)])
        assert hub.revision == 7

    assert told(changed) == []


def test_a_namespace_is_told_of_whoever_watches() -> None:
    async def changed(hub: Hub) -> None:
        hub.changed([namespace(7), endpoint(7)])
        await asyncio.sleep(0)
        assert hub.revision == 7

    assert told(changed) == ["web"]


def test_a_watcher_has_a_revision_before_it_is_the_newest() -> None:
    """Else a Watch would say that it had come so far, and pass over what it has still to tell."""

    async def changed(hub: Hub) -> None:
        with hub.watcher() as watcher:
            hub.changed([endpoint(7)])
            assert hub.revision == 0
            commit = await watcher.next(10)
            assert commit is not None
            assert (commit.revision, hub.revision) == (7, 7)

    assert told(changed) == []


def test_a_revision_never_goes_back() -> None:
    """One that was still to be told of as the last watcher left comes after a newer one."""

    async def changed(hub: Hub) -> None:
        with hub.watcher():
            hub.changed([endpoint(7)])
        hub.changed([endpoint(8)])
        await asyncio.sleep(0)
        assert hub.revision == 8

    assert told(changed) == []
