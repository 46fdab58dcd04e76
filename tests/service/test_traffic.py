# SPDX-License-Identifier: Apache-2.0
"""What is grafted goes on while graftd does not run, and is seen when it does."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial

import pytest

from service.place import HOST, PEER, Place, cli, cli_json, eventually, run, status_of
from service.units import SERVICE, SOCKETS, pid, systemctl

_SECONDS = 12
# Says what it received, by its digest; and who sends for so many seconds, with the digest of what was sent.
_DIGEST = """
import hashlib, socket
peer, digest = socket.create_server(("", 5202)).accept()[0], hashlib.sha256()
while piece := peer.recv(1 << 16):
    digest.update(piece)
peer.sendall(digest.hexdigest().encode())
"""
_SEND = """
import hashlib, os, socket, sys, time
peer, digest, sent = socket.create_connection((sys.argv[1], 5202)), hashlib.sha256(), 0
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    piece = os.urandom(1 << 16)
    peer.sendall(piece)
    digest.update(piece)
    sent += len(piece)
peer.shutdown(socket.SHUT_WR)
print(sent, digest.hexdigest(), peer.makefile().read())
"""
_ACCEPT = "import socket; socket.create_server(('', 5201)).accept()"
_CONNECT = f"import socket; s = socket.create_connection(('{PEER}', 7), 10); print(s.getsockname()[0])"


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    cli("add-namespace web --netns web")
    cli(f"-n web add ep-iperf type ipv4 addr {HOST} port 5201")
    cli(f"-n web add ep-out type ipv4 addr {HOST} port any")
    cli(f"-n web add ep-digest type ipv4 addr {HOST} port 5202")
    cli("-n web add-rule --direction ingress --port 5201 --endpoint ep-iperf")
    cli("-n web add-rule --direction ingress --port 5202 --endpoint ep-digest")
    cli(f"-n web add-rule --direction egress --network {PEER}/32 --endpoint ep-out")
    yield made
    made.close()


def _listening(namespace: str, port: int) -> bool:
    """In a namespace, or in the host, on the endpoint's address; "" for the host."""
    inside = ("ip", "netns", "exec", namespace) if namespace else ()
    lines = run(*inside, "ss", "-Htln").splitlines()
    return any(f":{port} " in line and (bool(namespace) or HOST in line) for line in lines)


def test_not_a_byte_is_lost_while_graftd_is_restarted_killed_and_down(place: Place) -> None:
    place.start("web", "graft", "--", "iperf3", "-s")
    place.start("web", "graft", "--", "python3", "-c", _DIGEST)
    place.start("peer", "socat", "TCP-LISTEN:7,fork,reuseaddr", "EXEC:cat")
    for namespace, port in (("", 5201), ("", 5202), ("peer", 7)):
        eventually(partial(_listening, namespace, port), f"somebody listens on port {port}")
    iperf3 = place.start("peer", "iperf3", "--client", HOST, "--time", _SECONDS, "--json", output=subprocess.PIPE)
    sender = place.start("peer", "python3", "-c", _SEND, HOST, _SECONDS, output=subprocess.PIPE)
    time.sleep(1)
    systemctl("restart", SERVICE)
    subprocess.run(["kill", f"-{signal.SIGKILL}", str(pid())], check=True)
    systemctl("stop", *SOCKETS, SERVICE)
    # New connections keep being made while it is down.
    for _ in range(3):
        assert status_of("ip", "netns", "exec", "web", "graft", "--", "python3", "-c", _CONNECT) == (0, f"{HOST}\n")
    systemctl("start", *SOCKETS, SERVICE)
    assert iperf3.stdout is not None
    report = json.loads(iperf3.stdout.read())
    assert "error" not in report, report.get("error")
    assert iperf3.wait() == 0
    # What iperf3 counts at its two ends differs by what was on its way when the time was up, so bytes are counted here.
    assert sender.stdout is not None
    sent, here, there = sender.stdout.read().split()
    assert int(sent) > 2**20
    assert here == there
    assert cli_json("status")["reconcile"]["repaired"] == 0


def test_live_sockets_are_listed_watched_and_ended(place: Place) -> None:
    watch = subprocess.Popen(
        ["graftcli", "watch", "--sockets", "-n", "web"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        eventually(lambda: cli_json("status")["watchers"] == 1, "graftcli watches")
        server = place.start("web", "graft", "--", "python3", "-c", _ACCEPT)
        eventually(lambda: _listening("", 5201), "the server listens on the host's stack")
        eventually(lambda: bool(cli_json("-n web list-sockets")), "the socket is listed")
        (found,) = cli_json("-n web list-sockets")
        assert found["endpoint"] == "ep-iperf"
        assert cli_json("-n web show-endpoint ep-iperf")["counters"]["active"] == 1
        cli("-n web abort-sockets --endpoint ep-iperf --yes")
        assert server.wait(60) != 0  # its accept fails
        assert not _listening("", 5201)
        eventually(lambda: not cli_json("-n web list-sockets"), "the socket went with its program")
    finally:
        watch.send_signal(signal.SIGINT)
        said = watch.communicate(timeout=30)[0]
    assert "grafted" in said.lower(), said
    assert "ep-iperf" in said, said


def test_an_endpoint_is_deleted_with_its_sockets(place: Place) -> None:
    place.start("web", "graft", "--", "iperf3", "-s")
    eventually(lambda: _listening("", 5201), "iperf3 listens on the host's stack")
    cli("-n web delete-endpoint ep-iperf --abort-sockets")
    eventually(lambda: not _listening("", 5201), "its socket is gone")
