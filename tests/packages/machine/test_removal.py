# SPDX-License-Identifier: Apache-2.0
"""The packages are removed, and then purged, while a container serves."""

from __future__ import annotations

from pathlib import Path

from packages.machine import host
from packages.machine.host import apt, run


def _known() -> list[str]:
    """Packages of ours that dpkg knows, be it for what it keeps of them."""
    lines = run("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\\n", "*graft*", check=False).splitlines()
    return [line.split()[1] for line in lines if not line.startswith(("un", "dpkg-query:"))]


def test_removing_keeps_the_database() -> None:
    apt("remove", "graftd")  # and what depends on it
    assert not any(host.is_active(unit) for unit in host.UNITS)
    assert host.DATABASE.exists()
    assert host.CONFIGURATION.exists()
    assert not Path("/usr/sbin/graftd").exists()
    assert not Path("/sys/fs/bpf/graft").exists()
    assert not host.is_active(host.DOOR)
    assert not Path("/usr/bin/graftcli").exists()
    assert host.pod_answers()


def test_purging_leaves_nothing() -> None:
    host.stop_pod()
    apt("purge", *_known())
    left = host.files_of_ours() - set(host.BEFORE.read_text().splitlines())
    assert left == set()
    assert run("getent", "passwd", "graftd", check=False) == ""
    assert run("getent", "group", "graftd", check=False) == ""
    assert not host.MODULE.is_dir()
    assert "graft" not in run("dkms", "status")
    assert _known() == []
