# SPDX-License-Identifier: Apache-2.0
"""The part of the demo that runs in the lab guest: builds the machines, shows the graft, times the programs.

    python3 -m demo.inside FILE

FILE receives the results of every run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from demo import show
from demo.errors import DemoError
from demo.measures import (
    GRAFT,
    HOST,
    IPERF3_PORTS,
    MEASURES,
    MOST_ROUNDS,
    NAT,
    PATHS,
    ROUNDS,
    SOCKPERF_PORTS,
    Measure,
    slow,
    unsteady,
)
from driver import testbed
from driver.servers import Server, ServerError, serving

_RUN_SECONDS = 60.0
# When this is over nothing but a failure is measured again: what else the demo does fits into four minutes with it.
_MEASURE_SECONDS = 145.0
_NAMESPACES = {HOST: testbed.HOST, NAT: testbed.BRIDGED, GRAFT: testbed.CONTAINER}
# The namespace whose stack a path's servers listen in.
_STACKS = {HOST: testbed.HOST, NAT: testbed.BRIDGED, GRAFT: testbed.HOST}
_EGRESS = ["-e", f"{testbed.PEER_NETWORK}=ep-out"]
_ENDPOINTS = {
    "ep-iperf3": ("port", str(IPERF3_PORTS[GRAFT]), "proto", "tcp"),
    "ep-sockperf": ("port", str(SOCKPERF_PORTS[GRAFT])),
    "ep-out": ("port", "any"),
}


def main() -> int:
    """Run the demo's part in the guest."""
    try:
        results = _demo()
    except (DemoError, ServerError) as error:
        print(f"demo: {error}", flush=True)
        return 1
    Path(sys.argv[1]).write_text(json.dumps(results), encoding="utf-8")
    return 0


def _demo() -> dict[str, Any]:
    with ExitStack() as stack:
        stack.enter_context(testbed.Testbed(forwarded=[IPERF3_PORTS[NAT], SOCKPERF_PORTS[NAT]]))
        _machines()
        _grant()
        _start_servers(stack)
        proof = _look_closer()
        runs = _measure()
    return {"kernel": Path("/proc/sys/kernel/osrelease").read_text().strip(), "proof": proof, "runs": runs}


def _machines() -> None:
    show.heading("The machines: a peer, a host, and two containers, one behind a bridge, one with no interface but lo")
    for namespace in testbed.NAMESPACES:
        show.command(namespace, "ip", "-br", "address")


def _grant() -> None:
    show.heading("The container without an interface is given three endpoints of the host's")
    for name, words in _ENDPOINTS.items():
        address = ("type", "ipv4", "addr", testbed.HOST_ADDRESS, *words, "netns", testbed.HOST)
        show.command(testbed.HOST, "ip-graft", "-n", testbed.CONTAINER, "add", name, *address)
    show.command(testbed.HOST, "ip-graft", "-n", testbed.CONTAINER, "show")


def _start_servers(stack: ExitStack) -> None:
    show.heading("The servers")
    for server in (
        *_servers(testbed.PEER, testbed.PEER, HOST),
        *(server for path in PATHS for server in _servers(_NAMESPACES[path], _STACKS[path], path)),
    ):
        show.typed(server.namespace, server.command)
        stack.enter_context(serving(server))


def _servers(namespace: str, stack: str, path: str) -> Iterator[Server]:
    for program, port, endpoint, protocol, options in (
        (("iperf3", "-s"), IPERF3_PORTS[path], "ep-iperf3", "tcp", ()),
        (("sockperf", "server"), SOCKPERF_PORTS[path], "ep-sockperf", "udp", ()),
        (("sockperf", "server"), SOCKPERF_PORTS[path], "ep-sockperf", "tcp", ("--tcp",)),
    ):
        graft = ("graft", "-i", f"*:{port}={endpoint}", "--") if path == GRAFT else ()
        yield Server(namespace, (*graft, *program, "-p", str(port), *options), stack, port, protocol)


def _look_closer() -> dict[str, Any]:
    """Show a transfer of the grafted iperf3 from the host's side, and prove that it is grafted."""
    show.heading("While the container's iperf3 serves: what the host sees")
    port = IPERF3_PORTS[GRAFT]
    client = ["ip", "netns", "exec", testbed.PEER, "iperf3", "-c", testbed.HOST_ADDRESS, "-p", str(port), "-R"]
    # It is ended as soon as everything has been looked at.
    client += ["-t", "600"]
    with subprocess.Popen(client, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for_transfer(process, port)
            listing = show.command(testbed.HOST, "ss", "-tnp", f"sport = :{port}")
            dump = show.command(testbed.HOST, "ip-graft", "-n", testbed.CONTAINER, "sockets", "show")
            dumped = json.loads(
                testbed.inside(testbed.HOST, "ip-graft", "-j", "-n", testbed.CONTAINER, "sockets", "show")
            )
        finally:
            process.kill()
    return {"ss": listing, "dump": dump, "socket": _grafted(listing, dumped, port)}


def _wait_for_transfer(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + _RUN_SECONDS
    # A connection for control, and one for the data.
    while len(testbed.inside(testbed.HOST, "ss", "-Htn", "state", "established", f"sport = :{port}").splitlines()) < 2:
        if process.poll() is not None or time.monotonic() > until:
            raise DemoError(f"the peer's iperf3 got no connection to the container's server at port {port}")
        time.sleep(0.1)


def _grafted(listing: str, dumped: list[dict[str, Any]], port: int) -> dict[str, Any]:
    """Return the kernel's entry of the socket that serves the transfer.

    Raises DemoError where the kernel's dump lacks it, or ss does not show a process of the container's.
    """
    pids = show.pids(listing)
    container = (Path("/run/netns") / testbed.CONTAINER).stat().st_ino
    if not pids or any(Path(f"/proc/{pid}/ns/net").stat().st_ino != container for pid in pids):
        raise DemoError("ss in the host does not show the grafted socket with the container's process")
    for entry in dumped:
        if entry["local_port"] == port and entry["state"] == "ESTAB" and entry["endpoint"] == "ep-iperf3":
            return entry
    raise DemoError("the grafted socket is missing from the kernel's dump of grafted sockets")


def _measure() -> list[dict[str, Any]]:
    """Run all measures in rounds.

    Those whose rounds disagree get more of them, whichever way they disagree, for as long as there is time. One that
    would fail the demo gets more in any case: a machine that others disturb is not to be taken for a slow graft.
    """
    runs: list[dict[str, Any]] = []
    wanted: Sequence[Measure] = MEASURES
    until = time.monotonic() + _MEASURE_SECONDS
    for number in range(1, MOST_ROUNDS + 1):
        which = "" if number <= ROUNDS else f", again for {', '.join(measure.title for measure in wanted)}"
        show.heading(f"Round {number}: host, NAT and graft in turn{which}")
        for measure in wanted:
            runs.extend(_run(measure, path, number) for path in PATHS)
        if number >= ROUNDS:
            wanted = _doubtful(runs, in_time=time.monotonic() < until)
            if not wanted:
                break
    return runs


def _doubtful(runs: Sequence[dict[str, Any]], *, in_time: bool) -> list[Measure]:
    """Return the measures to run again: all that fail, and one whose rounds disagree."""
    found = slow(runs)
    if in_time:
        found += [measure for measure in unsteady(runs) if measure not in found][:1]
    return found


def _run(measure: Measure, path: str, number: int) -> dict[str, Any]:
    ports = IPERF3_PORTS if measure.program == "iperf3" else SOCKPERF_PORTS
    if measure.serving:
        namespace, words = testbed.PEER, measure.client(testbed.HOST_ADDRESS, ports[path])
    else:
        namespace, words = _NAMESPACES[path], measure.client(testbed.PEER_ADDRESS, ports[HOST])
        if path == GRAFT:
            words = ["graft", *_EGRESS, "--", *words]
    output = _client(namespace, words)
    if not measure.result(output):
        # sockperf calls no observation valid where the machine stood still for most of its second.
        print(f"\n{measure.title}, {path}: no result, so once more. It printed:\n{output}", flush=True)
        output = _client(namespace, words)
    result = measure.result(output)
    if not result:
        raise DemoError(f"{measure.title}, {path}: {measure.program} printed no result:\n{output}")
    # The first round shows what each program prints; the others would repeat it.
    show.result(f"{measure.title}, {path}", namespace, words, output if number == 1 else measure.result_line(output))
    return {"measure": measure.title, "path": path, "round": number, "result": result}


def _client(namespace: str, words: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            ["ip", "netns", "exec", namespace, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_RUN_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"'{' '.join(words)}' was not done within {_RUN_SECONDS:.0f} seconds") from error
    if done.returncode:
        raise DemoError(f"'{' '.join(words)}' failed with status {done.returncode}:\n{done.stdout}")
    return show.plain(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
