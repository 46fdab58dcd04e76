# SPDX-License-Identifier: Apache-2.0
"""The part of the scale curves that runs in the lab guest.

    python3 -m bench.scale.inside PLAN FILE

FILE receives a JSON object a line: of a curve a batch's "curve", "path", "size", "round" and "instructions", of memory
"amount", "run" and "bytes".
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

from bench.ends import End
from bench.plans import AF_GRAFT, GRAFT, HOST
from bench.scale import plans
from bench.scale.memory import measure_memory
from bench.scale.plans import GROWTHS, MEMORY, Growth
from bench.scale.programs import GRAFT_PORT, PROGRAMS, Holder, fill
from driver import testbed

_HOST_PORT = 7001
_PEER = End(testbed.PEER, 0, testbed.PEER_ADDRESS, 7900)
_DOORS = {HOST: 0, AF_GRAFT: 1, GRAFT: 2}
_CONTENTS = {plans.ENDPOINTS: "-e", plans.RULES: "-r", plans.ACL: "-a"}

# Sockets are held at addresses and ports that nothing measured uses, and the kernel would not choose by itself.
_HELD_ADDRESS = "127.1.0.1"
_HELD_ADDRESSES = 3
_HELD_PORTS = "10000-29999"


def main() -> int:
    """Measure the plan that the command line names."""
    plan, report = sys.argv[1:]
    with ExitStack() as stack:
        file = stack.enter_context(open(report, "w", encoding="utf-8"))
        # A host that tracks connections pays so much for each that it would hide what grows.
        stack.enter_context(testbed.Testbed(forwarded=[]))
        if plan == MEMORY:
            measure_memory(file)
            return 0
        for growth in GROWTHS[plan]:
            if growth.axis in _CONTENTS:
                _measure_tables(growth, file)
        if plan == "namespaces":
            _measure_namespaces(GROWTHS[plan], file)
        if plan == "sockets":
            _measure_sockets(GROWTHS[plan], file)
    return 0


def _measure_tables(growth: Growth, report: IO[str]) -> None:
    """Measure with the sizes as tables of as many containers, which take turns."""
    with ExitStack() as stack:
        for size in growth.sizes:
            stack.enter_context(_container(f"size-{size}", _CONTENTS[growth.axis], str(size)))
        for path in growth.paths:
            _count(growth, [(f"size-{size}", path, size) for size in growth.sizes], report)


def _measure_namespaces(growths: Sequence[Growth], report: IO[str]) -> None:
    """Measure in one container while the namespaces beside it become more."""
    with _container(testbed.CONTAINER), Holder(testbed.HOST, "namespace") as holder:
        for size in growths[0].sizes:
            holder.grow(size - 1)
            for growth in growths:
                _count(growth, [(_namespace(path), path, size) for path in growth.paths], report)


def _measure_sockets(growths: Sequence[Growth], report: IO[str]) -> None:
    """Measure in one container while it holds more and more sockets: half of them TCP listeners, half bound UDP."""
    ports = (_HELD_ADDRESS, _HELD_PORTS)
    with (
        _container(testbed.CONTAINER, "-h", f"{_HELD_ADDRESS},{_HELD_ADDRESSES},{_HELD_PORTS}"),
        Holder(testbed.CONTAINER, "listener", "2", *ports) as listeners,
        Holder(testbed.CONTAINER, "bound", "2", *ports) as datagrams,
    ):
        for size in growths[0].sizes:
            listeners.grow(size - size // 2)
            datagrams.grow(size // 2)
            for growth in growths:
                _count(growth, [(_namespace(path), path, size) for path in growth.paths], report)


def _namespace(path: str) -> str:
    return testbed.HOST if path == HOST else testbed.CONTAINER


@contextmanager
def _container(name: str, *contents: str) -> Iterator[None]:
    """A container with the grant and ``contents``, fill's options."""
    begun = time.monotonic()
    if name not in testbed.NAMESPACES:
        subprocess.run(("ip", "netns", "add", name), check=True)
    try:
        fill(name, *contents)
        print(f"scale: {name} is filled after {time.monotonic() - begun:.1f} s", flush=True)
        yield
    finally:
        if name not in testbed.NAMESPACES:
            subprocess.run(("ip", "netns", "del", name), check=True)


def _count(growth: Growth, ends: Sequence[tuple[str, str, int]], report: IO[str]) -> None:
    """Count instructions at ``ends``, each a namespace, its path and the size that it stands for, which take turns."""
    begun = time.monotonic()
    words = [str(PROGRAMS / "opcost"), "-r", str(growth.rounds), "-e", _PEER.words("peer")]
    for number, (namespace, path, _) in enumerate(ends):
        end = End(namespace, _DOORS[path], testbed.HOST_ADDRESS, _HOST_PORT if path == HOST else GRAFT_PORT)
        words += ["-e", end.words(f"near-{number}"), "-p", f"{number},near-{number},peer"]
    words += ["-o", growth.operation]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            batch = json.loads(line)
            _, path, size = ends[int(batch["path"])]
            found = {"round": batch["round"], "instructions": batch["instructions"]}
            report.write(json.dumps({"curve": growth.key, "path": path, "size": size, **found}) + "\n")
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    shown = ", ".join(f"{size:,} on {path}" for _, path, size in ends)
    print(f"scale: {growth.key}: {shown}; {time.monotonic() - begun:.1f} s of the guest's", flush=True)


if __name__ == "__main__":
    sys.exit(main())
