# SPDX-License-Identifier: Apache-2.0
"""The part of the figures in time that runs in the lab guest: makes the machines, runs the programs.

    python3 -m bench.timed.inside PLAN FILE

FILE receives a JSON object a line: a figure of one run, or what is missing and why.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from statistics import median
from typing import IO

from bench.plans import AF_GRAFT, GRAFT, NAT
from bench.timed import machines, paths, rootless, tools
from bench.timed.machines import PeerError
from bench.timed.paths import Path
from bench.timed.plans import PLANS, Measure, Plan
from driver import testbed
from driver.servers import Running, Server, ServerError, serving

_RUN_SECONDS = 60.0
_REASON = 600  # characters
_PEERS = {
    paths.IPVLAN: machines.ipvlan,
    paths.NETKIT: machines.netkit,
    paths.PASTA: rootless.pasta,
    paths.BYPASS4NETNS: rootless.bypass4netns,
}
_ROOTLESS = (paths.PASTA, paths.BYPASS4NETNS)


class RunError(Exception):
    """A client failed; the text is a sentence."""


class Timing:
    """The measuring of one plan, into one file."""

    def __init__(self, plan: Plan, report: IO[str]) -> None:
        self._plan = plan
        self._report = report
        self._paths: list[Path] = []
        # Why a path could not be made, by its name.
        self._not_made: dict[str, str] = {}

    def run(self) -> None:
        """Make the machines, run everything, take them away.

        Raises RunError or ServerError where a path of ours fails.
        """
        with ExitStack() as stack:
            self._make(stack)
            for number, measure in enumerate(self._plan.measures, start=1):
                self._measure(measure, f"{number} of {len(self._plan.measures)}")

    def _make(self, stack: ExitStack) -> None:
        _say("making the machines")
        stack.enter_context(_folder())
        own = [path for path in paths.own(tools.PROGRAMS) if path.name in self._plan.paths]
        pairs = paths.between_containers()
        stack.enter_context(testbed.Testbed(forwarded=_ports(own, NAT)))
        machines.grant(testbed.CONTAINER, [*_ports(own + pairs, GRAFT), *_ports(own, AF_GRAFT)])
        machines.grant(testbed.CONTAINER_TOO, [])
        self._paths = own
        if any(name in self._plan.paths for name in _ROOTLESS):
            stack.enter_context(rootless.user())
        for number, (name, make) in enumerate(_PEERS.items(), start=len(own)):
            if name not in self._plan.paths:
                continue
            _say(f"making the path {name}")
            ports = [first + number for first in tools.PROGRAMS]
            try:
                self._paths.append(stack.enter_context(make(number, ports)))
            except (PeerError, subprocess.CalledProcessError, OSError) as error:
                self._not_made[name] = f"its path cannot be made here: {error}"
                _say(f"{name}: {self._not_made[name]}")

    def _measure(self, measure: Measure, which: str) -> None:
        chosen = paths.between_containers() if measure.pair else self._paths
        chosen = [path for path in chosen if path.name in measure.paths(self._plan)]
        title = measure.figures[0].title
        _say(f"{which}: {title}: {', '.join(path.name for path in chosen)}")
        if not measure.pair:
            for name, reason in self._not_made.items():
                self._missing(measure, name, reason)
        found: dict[str, list[list[float]]] = {path.name: [] for path in chosen}
        with ExitStack() as stack:
            stack.enter_context(machines.without_nat() if measure.pair else nullcontext())
            stack.enter_context(machines.without_offloads() if measure.small else nullcontext())
            ready = {}
            for path in chosen:
                if measure.tool.datagrams and path.no_datagrams:
                    self._missing(measure, path.name, path.no_datagrams)
                    continue
                try:
                    ready[path] = stack.enter_context(serving(_server(measure, path)))
                except ServerError as error:
                    self._failed(measure, path, error)
            for number in range(1, self._plan.rounds + 1):
                # Each goes first in turn.
                order = list(ready)
                shift = (number - 1) % len(order) if order else 0
                for path in (*order[shift:], *order[:shift]):
                    server = ready[path]
                    try:
                        results = _run(measure, path, server)
                    except RunError as error:
                        self._failed(measure, path, error)
                        del ready[path]
                        continue
                    found[path.name].append(results)
                    self._write_results(measure, path, number, results)
            for path in ready:
                medians = (f"{median(column):,.1f}" for column in zip(*found[path.name], strict=True))
                _say(f"{which}:   {path.name} {' and '.join(medians)} {measure.figures[0].unit}")

    def _failed(self, measure: Measure, path: Path, error: Exception) -> None:
        if path.ours:
            raise error
        _say(f"{path.name} is left out: {error}")
        self._missing(measure, path.name, _short(str(error)))

    def _write_results(self, measure: Measure, path: Path, number: int, results: Sequence[float]) -> None:
        server, client = _server(measure, path).command, _client(measure, path)
        for figure, result in zip(measure.figures, results, strict=True):
            self._write(
                key=figure.key,
                path=path.name,
                round=number,
                result=result,
                server=shlex.join(server),
                client=shlex.join(client),
            )

    def _missing(self, measure: Measure, path: str, reason: str) -> None:
        for figure in measure.figures:
            self._write(key=figure.key, path=path, missing=reason)

    def _write(self, **line: object) -> None:
        self._report.write(json.dumps(line) + "\n")
        self._report.flush()


def main() -> int:
    """Run the plan that the command line names."""
    plan, file = sys.argv[1:]
    with open(file, "w", encoding="utf-8") as report:
        try:
            Timing(PLANS[plan], report).run()
        except (PeerError, RunError, ServerError) as error:
            _say(str(error))
            return 1
    return 0


def _ports(chosen: Sequence[Path], name: str) -> list[int]:
    """Return the ports of the path of this name, for every program."""
    return [path.port(first) for path in chosen if path.name == name for first in tools.PROGRAMS]


def _server(measure: Measure, path: Path) -> Server:
    end = path.near if measure.serving else path.far
    port = path.port(measure.tool.ports)
    return Server(end.namespace, (*end.prefix, *measure.tool.server(port)), end.stack, port, measure.tool.protocol)


def _client(measure: Measure, path: Path) -> list[str]:
    client, server = (path.far, path.near) if measure.serving else (path.near, path.far)
    return [*client.prefix, *measure.tool.client(server.address, path.port(measure.tool.ports))]


def _run(measure: Measure, path: Path, server: Running) -> list[float]:
    """Return a run's figures, or those of a second one where the first printed none. Raises RunError."""
    where = (path.far if measure.serving else path.near).namespace
    words = _client(measure, path)
    what = f"{measure.figures[0].title}, {path.name}: '{shlex.join(words)}'"
    output = _output(what, where, words, server)
    try:
        return measure.tool.read(output)
    except tools.NoFigureError as error:
        # sockperf calls no observation valid where the machine stood still for most of its second.
        _say(f"{what} gave no figure, so once more: {error}. It printed:\n{output}")
    output = _output(what, where, words, server)
    try:
        return measure.tool.read(output)
    except tools.NoFigureError as error:
        raise RunError(f"{what} gave no figure twice: {error}. It printed:\n{output}{_of(server)}") from error


def _output(what: str, where: str, words: Sequence[str], server: Running) -> str:
    try:
        done = subprocess.run(
            ["ip", "netns", "exec", where, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_RUN_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(f"{what} was not done within {_RUN_SECONDS:.0f} seconds.{_of(server)}") from error
    if done.returncode:
        raise RunError(f"{what} failed with status {done.returncode}. It printed:\n{done.stdout}{_of(server)}")
    return done.stdout


def _of(server: Running) -> str:
    return f"\nIts server printed:\n{server.printed()}"


@contextmanager
def _folder() -> Iterator[None]:
    tools.FOLDER.mkdir()
    try:
        for number in range(paths.PORTS):
            tools.prepare(number)
        yield
    finally:
        shutil.rmtree(tools.FOLDER)


def _short(text: str) -> str:
    """Return a reason as the report holds it: one line, with what a program printed cut in the middle."""
    line = " ".join(tools.plain(text).split())
    return line if len(line) <= _REASON else f"{line[: _REASON // 2]} [...] {line[-_REASON // 2 :]}"


def _say(text: str) -> None:
    print(f"timed: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
