# SPDX-License-Identifier: Apache-2.0
"""The packages are removed, and then purged, while a container serves."""

from __future__ import annotations

from pathlib import Path

from packages.machine import host
from packages.machine.host import apt, run


def test_removing_keeps_the_database() -> None:
    apt("remove", *host.PACKAGES)
    assert not any(host.is_active(unit) for unit in host.UNITS)
    assert host.DATABASE.exists()
    assert host.CONFIGURATION.exists()
    assert not Path("/usr/sbin/graftd").exists()
    assert host.pod_answers()


def test_purging_leaves_nothing() -> None:
    host.stop_pod()
    apt("purge", *host.PACKAGES)
    left = [
        path
        for pattern in ("etc/graftd", "var/lib/graftd", "run/graftd", "usr/src/graft-*", "var/lib/dkms/graft",
                        "lib/modules/*/updates/dkms/graft.ko*", "usr/lib/python3/dist-packages/graft*",
                        "usr/lib/python3/dist-packages/ip_graft", "usr/lib/graft", "usr/bin/*graft*",
                        "usr/sbin/*graft*", "usr/lib/systemd/system/graftd*", "etc/systemd/system/**/graftd*",
                        "usr/share/man/man?/*graft*",
                        "usr/lib/*.d/graft*", "etc/modules-load.d/graft*", "usr/share/*/*/*graft*",
                        "var/lib/systemd/deb-systemd-helper-*/**/graftd*")
        for path in Path("/").glob(pattern)
    ]  # fmt: skip
    assert left == []
    assert run("getent", "passwd", "graftd", check=False) == ""
    assert run("getent", "group", "graftd", check=False) == ""
    assert not host.MODULE.is_dir()
    assert "graft" not in run("dkms", "status")
    assert run("dpkg-query", "-W", "-f", "${Package} ${Status}\\n", "*graft*", check=False).count("installed ") == 0
