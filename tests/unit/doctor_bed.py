# SPDX-License-Identifier: Apache-2.0
"""A graftd that doctor asks and a machine that it looks at, both well unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

from graft_client import messages as m
from graftcli import doctor
from graftcli.doctor.facts import Facts
from graftcli.doctor.finding import Finding
from graftcli.doctor.host import Host, Module, Process, Server, Trial
from unit.graftcli_bed import Bed, running

PROCESS = Process("nginx", 4096, True, False, False, False, False)


class Machine(Host):
    """A host that is well, unless a test says otherwise."""

    def __init__(self) -> None:
        self.trials: dict[tuple[str, int], Trial] = {}
        self.processes: dict[int, Process] = {}
        self.loaded = True
        self.release = ""
        self.installed = Module("1.2.3", "AB12")
        self.native: dict[str, list[Server]] = {}
        self.names = {"web"}
        self.tried: list[tuple[str | None, str, int, bool]] = []

    def module_loaded(self) -> bool:
        return self.loaded

    def kernel(self) -> str:
        return self.release

    def loaded_module(self) -> Module | None:
        return Module("1.2.3", "AB12")

    def installed_module(self) -> Module | None:
        return self.installed

    def has_netns(self, name: str) -> bool:
        return name in self.names

    def cookie(self, path: str | None) -> int | None:
        return 1

    def try_bind(self, path: str | None, address: str, port: int, device: str, *, stream: bool) -> Trial:
        self.tried.append((path, address, port, stream))
        return self.trials.get((address, port), Trial())

    def holder(self, path: str | None, port: int, *, stream: bool) -> str:
        return "nginx (pid 12)"

    def servers(self, path: str) -> list[Server]:
        return self.native.get(path, [])

    def owner(self, *inodes: str) -> str:
        return "nginx (pid 12)"

    def process(self, pid: int) -> Process | None:
        return self.processes.get(pid)


@contextmanager
def filled() -> Iterator[Bed]:
    """A graftd with a table. What it has to tell of the past comes at once, and then its streams end."""
    with mock.patch("graftcli.doctor.facts._RECENT_SECONDS", 20.0), running() as one:
        one.fake.end_watches.set()
        one.fill()
        one.fake.status.netns_cookie = 1
        one.fake.sockets = []
        yield one


def examined(bed: Bed, machine: Machine, wanted: str = "web", pid: int = 0) -> list[Finding]:
    with bed.client() as graftd:
        facts = Facts(graftd, machine, f"namespaces/{wanted}" if wanted else "", pid)
        return list(doctor.examine(facts))


def codes(bed: Bed, machine: Machine, wanted: str = "web", pid: int = 0) -> list[str]:
    return [one.code for one in examined(bed, machine, wanted, pid)]


# What makes a fault of one of these.
Fault = Callable[[Bed, Machine], None]


def run(*lines: str) -> Fault:
    def cause(bed: Bed, machine: Machine) -> None:
        for line in lines:
            done = bed.run(line)
            assert done.status == 0, done.err

    return cause


def status(**fields: object) -> Fault:
    def cause(bed: Bed, machine: Machine) -> None:
        for path, value in fields.items():
            part: object = bed.fake.status
            *outer, last = path.split("__")
            for one in outer:
                part = getattr(part, one)
            setattr(part, last, value)

    return cause


def absent(**selector: object) -> Fault:
    def cause(bed: Bed, machine: Machine) -> None:
        web = bed.fake.namespaces["namespaces/web"]
        web.state = m.NAMESPACE_STATE_ABSENT
        if selector:
            web.selector.CopyFrom(m.NamespaceSelector(**selector))  # type: ignore[arg-type]
        machine.names.clear()

    return cause
