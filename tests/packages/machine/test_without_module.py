# SPDX-License-Identifier: Apache-2.0
"""The service alone is installed, and then the module while it runs."""

from __future__ import annotations

from pathlib import Path

from packages.machine import host
from packages.machine.host import apt, asked, eventually, run


def test_the_service_is_there_for_who_reads() -> None:
    """And says to who writes what is missing."""
    assert not Path("/usr/sbin/graftd").exists()
    host.BEFORE.write_text("\n".join(host.files_of_ours()))
    apt("install", *host.of_packages(host.FIRST, *host.SERVICE_PACKAGES))
    run("systemctl", "start", "graftd")
    assert asked("status")["state"] == "degraded"
    assert host.endpoints() == []
    refusal = run("graftcli", "add-namespace", "web", "--netns", "web", check=False)
    assert "the kernel module graft is not loaded: load it with 'modprobe graft'" in refusal
    assert "module-not-loaded" in run("graftcli", "doctor", "-o", "name", check=False)


def test_it_gets_ready_when_the_module_comes() -> None:
    apt("install", *host.of_packages(host.FIRST, "graft-dkms"))
    run("modprobe", "graft")
    eventually(lambda: bool(asked("status")["state"] == "ready"), "graftd is ready")
    run("graftcli", "add-namespace", "web", "--netns", "web")
    run("graftcli", "delete-namespace", "web", "--yes")
    run("systemctl", "stop", "graftd", *host.UNITS)
    run("rmmod", "graft")
