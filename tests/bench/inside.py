# SPDX-License-Identifier: Apache-2.0
"""The part of the figures that runs in the lab guest: makes the machines and their tables, runs opcost.

    python3 -m bench.inside PLAN FILE

FILE receives opcost's lines, each with the name of its comparison.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import IO

from bench import plans
from bench.plans import PLANS, Comparison
from driver import testbed
from graftd.kernel import Client, netns
from graftd.model import Direction, Endpoint, EndpointType, PortRange, Rule, Verdict

_PROGRAMS = Path("/usr/lib/graft/tests")
_CROWD = "crowd"
_SERVER = "ep-server"
_CLIENT = "ep-client"
# path -> namespace, door, port
_PATHS = {
    plans.HOST: (testbed.HOST, 0, 7001),
    plans.HOST_BOUND: (testbed.HOST, 3, 7001),
    plans.NAT: (testbed.BRIDGED, 0, 7002),
    plans.GRAFT: (testbed.CONTAINER, 2, 7003),
    plans.AF_GRAFT: (testbed.CONTAINER, 1, 7003),
    plans.CROWDED: (_CROWD, 2, 7003),
    plans.AF_CROWDED: (_CROWD, 1, 7003),
}
_GRAFT_PORT = 7003
_NAT_PORT = 7002


def main() -> int:
    """Measure the plan that the command line names."""
    plan, report = sys.argv[1:]
    crowded = any(path in (plans.CROWDED, plans.AF_CROWDED) for comparison in PLANS[plan] for path in comparison.paths)
    with ExitStack() as stack:
        file = stack.enter_context(open(report, "w", encoding="utf-8"))
        stack.enter_context(testbed.Testbed(forwarded=[_NAT_PORT]))
        _grant(testbed.CONTAINER)
        if crowded:
            _fill(testbed.CONTAINER, plans.FEW_ENDPOINTS)
            stack.enter_context(_crowd())
        for comparison in PLANS[plan]:
            _compare(comparison, file)
    return 0


@contextmanager
def _crowd() -> Iterator[None]:
    """Another container, with a large table."""
    subprocess.run(("ip", "netns", "add", _CROWD), check=True)
    try:
        _grant(_CROWD)
        _fill(_CROWD, plans.MANY_ENDPOINTS)
        yield
    finally:
        subprocess.run(("ip", "netns", "del", _CROWD), check=True)


def _grant(container: str) -> None:
    """Give the container one server's port at the host's address, and connections to the peer's network."""
    address = IPv4Address(testbed.HOST_ADDRESS)
    port = PortRange.single(_GRAFT_PORT)
    table = netns.open_selected(container)
    with Client.open(netns.open_selected(testbed.HOST)) as client:
        client.put_endpoint(Endpoint(_SERVER, EndpointType.IPV4, address, port), table)
        client.put_endpoint(Endpoint(_CLIENT, EndpointType.IPV4, address, PortRange.ANY), table)
        client.set_rules(
            (
                Rule(Direction.INGRESS, Verdict.ENDPOINT, IPv4Network(address), ports=port, endpoint=_SERVER),
                Rule(Direction.EGRESS, Verdict.ENDPOINT, IPv4Network(testbed.PEER_NETWORK), endpoint=_CLIENT),
            ),
            table,
        )


def _fill(container: str, endpoints: int) -> None:
    """Add so many endpoints that nobody uses."""
    testbed.inside(testbed.HOST, str(_PROGRAMS / "fill"), f"/run/netns/{container}", str(endpoints))


def _compare(comparison: Comparison, report: IO[str]) -> None:
    words = [str(_PROGRAMS / "opcost"), "-r", str(comparison.rounds), "-P", f"{testbed.PEER},{testbed.PEER_ADDRESS}"]
    for number, path in enumerate(comparison.paths):
        namespace, door, port = _PATHS[path]
        bind = testbed.BRIDGED_ADDRESS if path == plans.NAT else testbed.HOST_ADDRESS
        words += ["-p", f"{number},{namespace},{door},{bind},{testbed.HOST_ADDRESS},{port},{_SERVER},{_CLIENT}"]
    for operation in comparison.operations:
        words += ["-o", operation]
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
