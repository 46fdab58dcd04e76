# SPDX-License-Identifier: Apache-2.0
"""What the kernel's memory goes to, inside a lab guest.

Bytes are of all of the kernel's memory, since objects share their caches with others: of each cache in /proc/slabinfo
the active objects, each with its share of its slab's pages; the rest of /proc/meminfo's Slab, which is allocations too
large for a slab; VmallocUsed and Percpu. Descriptors' tables are of their full size before.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from bench.scale.plans import MEMORIES, MEMORY_RUNS, Memory
from bench.scale.programs import Holder, fill
from driver import testbed

_PAGE = 4096
# Namespaces and what waits for readers are freed in the background; what else comes and goes is less than this.
_SETTLE_SECONDS = 0.4
_SETTLE_READINGS = 50
_STEADY = 40 << 10
_HELD_ADDRESS = "127.1.0.1"
_HELD_PORTS = "10000-59999"
# fill's option, and what it is given for each object and besides: the grant has an egress rule of its own, and each of
# its two endpoints gets the ACL rules.
_FILLS = {"endpoint": ("-e", 1.0, 0), "rule": ("-r", 1.0, 1), "acl-rule": ("-a", 0.5, 0)}
_DOORS = {"host": 0, "af-graft": 1, "graft": 2}


def measure_memory(report: IO[str]) -> None:
    """Measure all of MEMORIES, MEMORY_RUNS times, where the testbed is; each gives a line of ``report``."""
    for run in range(1, MEMORY_RUNS + 1):
        for memory in MEMORIES:
            begun = time.monotonic()
            found = _measure(memory)
            report.write(json.dumps({"amount": memory.key, "run": run, "bytes": found}) + "\n")
            spent = time.monotonic() - begun
            print(f"scale: {memory.title}: {found:,.0f} bytes; {spent:.1f} s of the guest's", flush=True)


def _measure(memory: Memory) -> float:
    if memory.key == "table":
        without = _module_bytes(0)
        return (_module_bytes(memory.count) - without) / memory.count
    with ExitStack() as stack:
        if memory.key in _FILLS:
            stack.enter_context(_container())
            before = _kernel_bytes()
            option, factor, more = _FILLS[memory.key]
            fill(testbed.CONTAINER, option, str(int(memory.count * factor) + more))
        else:
            holder = stack.enter_context(_holder(memory.key))
            before = _kernel_bytes()
            holder.grow(memory.count)
        return (_kernel_bytes() - before) / memory.count


@contextmanager
def _container() -> Iterator[None]:
    """The container, with the grant and no more."""
    fill(testbed.CONTAINER)
    yield
    subprocess.run(("ip", "netns", "del", testbed.CONTAINER), check=True)
    subprocess.run(("ip", "netns", "add", testbed.CONTAINER), check=True)


@contextmanager
def _holder(key: str) -> Iterator[Holder]:
    """What holds sockets of ``key``, none of them yet."""
    kind, _, path = key.partition("-")
    namespace = testbed.HOST if path == "host" else testbed.CONTAINER
    address = testbed.PEER_ADDRESS if kind == "connected" else _HELD_ADDRESS
    with _container():
        fill(testbed.CONTAINER, "-h", f"{_HELD_ADDRESS},1,{_HELD_PORTS}")
        with Holder(namespace, kind, str(_DOORS[path]), address, _HELD_PORTS, "ep-held-") as holder:
            yield holder


def _module_bytes(namespaces: int) -> float:
    """What loading the module takes where there are so many namespaces more."""
    with Holder(testbed.HOST, "namespace") as holder:
        holder.grow(namespaces)
        subprocess.run(("rmmod", "graft"), check=True)
        before = _kernel_bytes()
        subprocess.run(("modprobe", "graft"), check=True)
        return _kernel_bytes() - before


def _kernel_bytes() -> float:
    """Bytes of kernel memory in use, once they do not change any more."""
    before = 0.0
    for _ in range(_SETTLE_READINGS):
        time.sleep(_SETTLE_SECONDS)
        now = _kernel_bytes_now()
        if abs(now - before) < _STEADY:
            return now
        before = now
    raise RuntimeError(f"the kernel's memory does not settle: {before:,.0f} bytes after {_SETTLE_READINGS} readings")


def _kernel_bytes_now() -> float:
    Path("/proc/sys/vm/drop_caches").write_text("2")
    # Objects of slabs that processors keep to themselves would count as active, and counters would lag behind.
    for cache in Path("/sys/kernel/slab").glob("*/shrink"):
        cache.write_text("1")
    Path("/proc/sys/vm/stat_refresh").write_text("1")
    return kernel_bytes(Path("/proc/slabinfo").read_text(), Path("/proc/meminfo").read_text())


def kernel_bytes(slabinfo: str, meminfo: str) -> float:
    """Return the bytes in use that these files tell of."""
    active, slabs = 0.0, 0
    # name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables ... : slabdata <active> <num> ...
    for line in slabinfo.splitlines()[2:]:
        objects, _, data = line.split(":")
        _, in_use, _, _, per_slab, pages = objects.split()
        active += int(in_use) * int(pages) * _PAGE / int(per_slab)
        slabs += int(data.split()[2]) * int(pages) * _PAGE
    sizes = {name: 1024 * int(rest.split()[0]) for name, rest in (line.split(":") for line in meminfo.splitlines())}
    return active + (sizes["Slab"] - slabs) + sizes["VmallocUsed"] + sizes["Percpu"]
