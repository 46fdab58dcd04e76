# SPDX-License-Identifier: Apache-2.0
"""The part of the figures that runs in the lab guest: makes the machines and their tables, runs opcost.

    python3 -m bench.inside PLAN FILE [COMPARISON:OPERATION]...

FILE receives opcost's lines, each with the name of its comparison. Without operations all of the plan's are measured.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import IO

from bench import ends, plans
from bench.plans import PLANS, Comparison
from driver import testbed
from graftd.kernel import Client, TransparentMap, netns
from graftd.model import Direction, Endpoint, EndpointType, PortRange, Rule, Verdict

_PROGRAMS = Path("/usr/lib/graft/tests")
_LOADER = "graft-transparent"


def main() -> int:
    """Measure the plan that the command line names."""
    plan, report, *wanted = sys.argv[1:]
    comparisons = [_chosen(one, wanted) for one in PLANS[plan] if wanted or not one.of]
    with open(report, "w", encoding="utf-8", buffering=1) as file:
        for tracked in (True, False):
            chosen = [one for one in comparisons if one.tracked == tracked and one.operations]
            if chosen:
                _measure(chosen, [ends.NAT_PORT] if tracked else [], file)
    return 0


def _chosen(comparison: Comparison, wanted: Sequence[str]) -> Comparison:
    """Return a comparison of what is wanted of its operations."""
    chosen = tuple(each for each in comparison.operations if not wanted or f"{comparison.name}:{each}" in wanted)
    return replace(comparison, operations=chosen)


def _measure(comparisons: Sequence[Comparison], forwarded: Sequence[int], report: IO[str]) -> None:
    """Measure on machines of their own, whose NAT passes on these ports."""
    paths = {path for comparison in comparisons for path in comparison.paths}
    with ExitStack() as stack:
        stack.enter_context(testbed.Testbed(forwarded))
        _grant(testbed.CONTAINER, ends.GRAFT_PORT)
        _grant(testbed.CONTAINER_TOO, ends.TOO_PORT)
        if paths.intersection(plans.CROWDS):
            _fill(testbed.CONTAINER, plans.FEW_ENDPOINTS)
            stack.enter_context(_crowd())
        for comparison in comparisons:
            with _door() if plans.LOADED.intersection(comparison.paths) else nullcontext():
                _compare(comparison, report)


@contextmanager
def _door() -> Iterator[None]:
    """The BPF door, for the container. Whoever measures takes its program, and attaches it in turn."""
    container = netns.open_selected(testbed.CONTAINER)
    try:
        subprocess.run((_LOADER, "load"), check=True)
        TransparentMap().equalize(frozenset({netns.cookie_of(container)}), whole=True)
        yield
    finally:
        os.close(container)
        subprocess.run((_LOADER, "unload"), check=True)


@contextmanager
def _crowd() -> Iterator[None]:
    """Another container, with a large table."""
    subprocess.run(("ip", "netns", "add", ends.CROWD), check=True)
    try:
        _grant(ends.CROWD, ends.CROWD_PORT)
        _fill(ends.CROWD, plans.MANY_ENDPOINTS)
        yield
    finally:
        subprocess.run(("ip", "netns", "del", ends.CROWD), check=True)


def _grant(container: str, number: int) -> None:
    """Give the container one port of the host's addresses, and connections to the peer's networks."""
    port = PortRange.single(number)
    table = netns.open_selected(container)
    rules = []
    with Client.open(netns.open_selected(testbed.HOST)) as client:
        for kind, host, network in (
            (EndpointType.IPV4, testbed.HOST_ADDRESS, testbed.PEER_NETWORK),
            (EndpointType.IPV6, testbed.HOST_ADDRESS6, testbed.PEER_NETWORK6),
        ):
            address = ip_address(host)
            server, connector = ends.SERVERS[address.version], ends.CLIENTS[address.version]
            client.put_endpoint(Endpoint(server, kind, address, port), table)
            client.put_endpoint(Endpoint(connector, kind, address, PortRange.ANY), table)
            rules += [
                Rule(Direction.INGRESS, Verdict.ENDPOINT, ip_network(address), ports=port, endpoint=server),
                Rule(Direction.EGRESS, Verdict.ENDPOINT, ip_network(network), endpoint=connector),
            ]
        client.set_rules(rules, table)


def _fill(container: str, endpoints: int) -> None:
    """Add so many endpoints that nobody uses."""
    testbed.inside(testbed.HOST, str(_PROGRAMS / "fill"), f"/run/netns/{container}", str(endpoints))


def _compare(comparison: Comparison, report: IO[str]) -> None:
    words = [str(_PROGRAMS / "opcost"), "-r", str(comparison.rounds)]
    for number, path in enumerate(comparison.paths):
        near, far = ends.PATHS[path]
        words += ["-e", near.words(f"near-{number}"), "-e", far.words(f"far-{number}")]
        words += ["-p", f"{number},near-{number},far-{number}"]
        if path in plans.LOADED:
            words += ["-t", str(number)]
    for operation in comparison.operations:
        words += ["-o", operation]
    report.write(json.dumps({"comparison": comparison.name, "command": shlex.join(words)}) + "\n")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            batch = json.loads(line)
            batch["comparison"] = comparison.name
            batch["path"] = comparison.paths[int(batch["path"])]
            report.write(json.dumps(batch) + "\n")
            if batch["round"] == 1 and batch["path"] == comparison.paths[0]:
                print(f"measuring {batch['operation']}: {', '.join(comparison.paths)}", flush=True)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)


if __name__ == "__main__":
    sys.exit(main())
