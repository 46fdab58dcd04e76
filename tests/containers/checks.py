# SPDX-License-Identifier: Apache-2.0
"""What is true of every container that serves and fetches through its endpoints."""

from __future__ import annotations

import re

from containers.images import PORT, UNRULED
from containers.network import HOST, PEER, Peer
from service.place import run


def assert_serves_and_fetches(peer: Peer, port: int, pid: int, address: str = HOST) -> None:
    """Its program does both on the host's stack, and a port without a rule stays in the container.

    ``address`` is what its socket has; ``*`` is all of the host's.
    """
    peer.await_answer(port)
    assert peer.ask(port) == PEER
    assert peer.ask(port, "/fetch") == HOST
    assert listening() >= {f"{address}:{port}"}
    inside = listening("nsenter", "--net", "--target", str(pid))
    assert {one.rpartition(":")[2] for one in inside} == {str(UNRULED)}, inside
    assert not peer.answered(UNRULED)
    assert not peer.answered(PORT)


def listening(*inside: str) -> set[str]:
    """Return where TCP sockets listen, in the host or by a command that enters a namespace.

    An IPv4 address is written as one, whatever its socket's family.
    """
    places = (line.split()[3] for line in run(*inside, "ss", "-Htln").splitlines())
    return {re.sub(r"^\[::ffff:(.*)\]", r"\1", place) for place in places}
