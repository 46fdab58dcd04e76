# SPDX-License-Identifier: Apache-2.0
"""One boot of a guest that is reset under a workload from eight clients; matrix/resets.py does the resetting.

    python3 -m service.resets SEED [last]

It checks what the reset before left: every acknowledged change is there, none is half applied, and store and kernel
are equal, as graftd says and as the tables are read past it. Then, unless this boot is the last, it has the clients
go on from there until the guest is reset.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from graft.v1 import common_pb2, namespace_pb2
from graftd.kernel import Client as Kernel
from integration.workload import Client, State, Stubs, check, check_kernel, state_of
from service import record
from service.equal import export, table
from service.place import eventually, run
from service.units import journal

_NAMESPACES = [f"reset{number}" for number in range(3)]
_CLIENTS = 8
_TARGET = "unix:/run/graftd/admin.sock"
_SHARE = Path("/mnt/share")
_SECONDS = 300.0


@dataclass
class RecordedClient(Client):
    """A client whose memory is in the share."""

    writer: record.Writer | None = None

    def _intend(self, wanted: State) -> None:
        assert self.writer
        self.writer.intend(wanted)
        super()._intend(wanted)

    def _acknowledge(self, wanted: State) -> None:
        assert self.writer
        self.writer.done(wanted)
        super()._acknowledge(wanted)


def main() -> None:
    seed, *rest = sys.argv[1:]
    # Resets take network namespaces away, so they are made again, and graftd finds them.
    for name in _NAMESPACES:
        run("ip", "netns", "add", name)
    files = record.newest(_SHARE)
    chances = [random.Random(f"{seed} {number} {record.acknowledged(_SHARE)}") for number in range(_CLIENTS)]
    clients = [RecordedClient(number, _NAMESPACES, chances[number]) for number in range(_CLIENTS)]
    stubs = Stubs(_TARGET)
    if not files:
        _register(stubs)
    else:
        for client, file in zip(clients, files, strict=True):
            client.known, client.pending = record.read(file)
        _check(stubs, clients)
    stubs.close()
    if not rest:
        writers = record.begin(_SHARE, [client.known for client in clients])
        for client, writer in zip(clients, writers, strict=True):
            client.writer = writer
        _work(clients)


def _register(stubs: Stubs) -> None:
    for name in _NAMESPACES:
        namespace = namespace_pb2.Namespace(
            name=f"namespaces/{name}", selector=namespace_pb2.NamespaceSelector(iproute2_name=name)
        )
        request = namespace_pb2.UpdateNamespaceRequest(namespace=namespace, allow_missing=True)
        stubs.namespaces.UpdateNamespace(request, wait_for_ready=True, timeout=_SECONDS)


def _check(stubs: Stubs, clients: list[RecordedClient]) -> None:
    before = time.monotonic()
    for name in _NAMESPACES:
        eventually(partial(_is_in_sync, stubs, name), f"the table of {name} is back", _SECONDS)
    found = state_of(stubs, _NAMESPACES)
    on_their_way = [client for client in clients if client.pending is not None]
    pending = [client.pending for client in on_their_way]
    check(list(clients), found)
    done = sum(client.known == wanted for client, wanted in zip(on_their_way, pending, strict=True))
    check_kernel(stubs)
    with Kernel.open() as kernel:
        for name in _NAMESPACES:
            assert table(kernel, name) == export(stubs, name)
    print(
        f"{record.acknowledged(_SHARE)} acknowledged changes are there, and {done} of {len(pending)} that were on"
        f" their way; {len(found)} resources in store and kernel; {time.monotonic() - before:.1f} s",
        flush=True,
    )


def _is_in_sync(stubs: Stubs, name: str) -> bool:
    request = namespace_pb2.GetNamespaceRequest(name=f"namespaces/{name}")
    namespace = stubs.namespaces.GetNamespace(request, wait_for_ready=True, timeout=_SECONDS)
    return bool(
        namespace.state == namespace_pb2.NAMESPACE_STATE_PRESENT
        and namespace.sync.state == common_pb2.SYNC_STATE_IN_SYNC
    )


def _work(clients: list[RecordedClient]) -> None:
    """Until the guest is reset."""
    threads = [threading.Thread(target=client.run, args=(_TARGET, threading.Event())) for client in clients]
    for thread in threads:
        thread.start()
    while all(thread.is_alive() for thread in threads):
        time.sleep(0.2)
    wrong = [sentence for client in clients for sentence in client.wrong]
    sys.exit(f"a client ended by itself: {wrong or 'its connection broke'}\n{journal()}")


if __name__ == "__main__":
    main()
