# SPDX-License-Identifier: Apache-2.0
"""The machine has booted again; then the packages are installed anew, removed and purged."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

from packages.machine.host import ADDRESS, DEBS, MODULE, UNITS, apt, container, eventually, run, serves

CONFIGURATION = Path("/etc/graftd/graftd.toml")
DATABASE = Path("/var/lib/graftd/graftd.db")
ECHO = """
import socket
with socket.create_server(("", 80)) as server:
    peer = server.accept()[0]
    while data := peer.recv(9):
        peer.sendall(data)
"""
PACKAGES = ("graft", "graft-dkms", "graftd", "graftcli", "python3-graft", "libgraft-preload")


def _state_of_web() -> str:
    return str(json.loads(run("graftcli", "show-namespace", "web", "-o", "json"))["state"])


def test_all_is_back() -> None:
    assert MODULE.is_dir()
    for unit in UNITS:
        assert run("systemctl", "is-active", unit).strip() == "active"
    assert run("graftcli", "list-endpoints", "-o", "name").split() == ["namespaces/web/endpoints/ep-http"]
    assert _state_of_web() == "absent"
    container()
    eventually(lambda: _state_of_web() == "present", "the table is back")
    serves()


def test_an_installation_anew_breaks_no_connection() -> None:
    """An upgrade of the same version: graftd is another process, its sockets and the module are the same."""
    before = run("systemctl", "show", "--value", "-p", "MainPID", "graftd").strip()
    inode = Path("/run/graftd/graftd.sock").stat().st_ino
    with subprocess.Popen(["ip", "netns", "exec", "web", "graft", "--", "python3", "-c", ECHO]) as server:
        try:
            eventually(lambda: f"{ADDRESS}:80" in run("ss", "-tln"), "the container listens")
            with socket.create_connection((ADDRESS, 80), 30) as client:
                apt("install", "--reinstall", *DEBS)
                client.sendall(b"alive")
                assert client.recv(9) == b"alive"
        finally:
            server.terminate()
    eventually(lambda: run("systemctl", "is-active", "graftd", check=False).strip() == "active", "graftd is back")
    assert run("systemctl", "show", "--value", "-p", "MainPID", "graftd").strip() != before
    assert Path("/run/graftd/graftd.sock").stat().st_ino == inode
    assert run("graftcli", "list-endpoints", "-o", "name").split() == ["namespaces/web/endpoints/ep-http"]
    assert CONFIGURATION.read_text().endswith("# kept\n")


def test_removing_keeps_the_database() -> None:
    apt("remove", *PACKAGES)
    for unit in UNITS:
        assert run("systemctl", "is-active", unit, check=False).strip() != "active"
    assert DATABASE.exists()
    assert CONFIGURATION.exists()
    assert not Path("/usr/sbin/graftd").exists()


def test_purging_leaves_nothing() -> None:
    apt("purge", *PACKAGES)
    left = [
        path
        for pattern in ("etc/graftd", "var/lib/graftd", "run/graftd", "usr/src/graft*", "var/lib/dkms/graft",
                        "lib/modules/*/updates/dkms/graft.ko*", "usr/lib/python3/dist-packages/graft*",
                        "usr/lib/systemd/system/graftd*", "etc/systemd/system/**/graftd*", "usr/share/man/man?/*graft*",
                        "var/lib/systemd/deb-systemd-helper-enabled/**/graftd*")
        for path in Path("/").glob(pattern)
    ]  # fmt: skip
    # The tree that the tests come from is the lab's.
    assert [path for path in left if path != Path("/usr/src/graft")] == []
    assert run("getent", "passwd", "graftd", check=False) == ""
    assert run("getent", "group", "graftd", check=False) == ""
    assert not MODULE.is_dir()
    assert run("dpkg-query", "-W", "-f", "${Package} ${Status}\\n", "*graft*", check=False).count("installed ") == 0
