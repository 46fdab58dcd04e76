# SPDX-License-Identifier: Apache-2.0
"""What the checks look at. Everything is asked for once, when a check wants it first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TypeVar

from graft_client import Client, GraftdError
from graft_client import messages as m
from graftcli.doctor.host import Host
from graftcli.session import ALL

Answer = TypeVar("Answer")
_RECENT = 200
_RECENT_SECONDS = 0.7


class Facts:
    """`wanted` is the one namespace to look at, "" for all; `pid` a process, 0 for none."""

    # Names of what may be unasked.
    NAMESPACES = "the namespaces"
    SOCKETS = "the live sockets"

    def __init__(self, client: Client, host: Host, wanted: str, pid: int) -> None:
        self.client = client
        self.host = host
        self.wanted = wanted
        self.parent = wanted or ALL
        self.pid = pid
        # What could not be asked, and why: told once, as a note.
        self.unasked: dict[str, str] = {}

    def ask(self, what: str, question: Callable[[], Answer], otherwise: Answer) -> Answer:
        """What graftd answers; `otherwise` where it refuses."""
        try:
            return question()
        except GraftdError as error:
            # That a namespace is not registered is a finding of its own.
            if error.status != "NOT_FOUND":
                self.unasked[what] = str(error)
            return otherwise

    @cached_property
    def status(self) -> m.NodeStatus | None:
        return self.ask("the status", self.client.status, None)

    @cached_property
    def namespaces(self) -> dict[str, m.Namespace]:
        """Those that are registered, by resource name."""
        found: list[m.Namespace] = self.ask(self.NAMESPACES, lambda: list(self.client.namespaces(full=True)), [])
        return {one.name: one for one in found}

    @property
    def looked_at(self) -> Iterable[m.Namespace]:
        """The namespaces that the checks are about."""
        if self.wanted:
            return [self.namespaces[self.wanted]] if self.wanted in self.namespaces else []
        return self.namespaces.values()

    @cached_property
    def exports(self) -> dict[str, m.ExportNamespaceResponse]:
        """The whole content of these."""
        found = {}
        for one in self.looked_at:
            export = self.ask(f"the table of {one.name}", lambda one=one: self.client.export_namespace(one.name), None)  # type: ignore[misc]
            if export is not None:
                found[one.name] = export
        return found

    @cached_property
    def endpoints(self) -> dict[str, m.Endpoint]:
        """Endpoints with their counters, by resource name."""
        found: list[m.Endpoint] = self.ask(
            "the endpoints' counters", lambda: list(self.client.endpoints(self.parent, full=True)), []
        )
        return {one.name: one for one in found}

    @cached_property
    def sockets(self) -> list[m.Socket]:
        return self.ask(self.SOCKETS, lambda: list(self.client.sockets(self.parent)), [])

    @cached_property
    def tables(self) -> list[m.Table]:
        return self.ask("the tables in the kernel", lambda: list(self.client.tables()), [])

    @cached_property
    def events(self) -> list[m.SocketEvent]:
        """What became of sockets lately, oldest first."""

        def read() -> list[m.SocketEvent]:
            answers = self.client.watch_sockets(
                self.parent,
                kinds=[m.SOCKET_EVENT_KIND_NATIVE, m.SOCKET_EVENT_KIND_DENIED],
                recent=_RECENT,
                seconds=_RECENT_SECONDS,
            )
            return [event for answer in answers for event in answer.events]

        return self.ask("what became of sockets", read, [])
