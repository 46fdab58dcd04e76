# SPDX-License-Identifier: Apache-2.0
"""A machine that has nothing of the project's yet: the packages are installed, and graftd is enabled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from packages.machine.host import DEBS, MODULE, UNITS, apt, container, run, serves


def test_the_packages_are_installed() -> None:
    assert DEBS, "the share has no packages"
    assert not Path("/usr/sbin/graftd").exists()
    apt("install", *DEBS)
    run("dpkg", "--verify", "graftd", "graftcli", "python3-graft", "libgraft-preload", "graft-dkms")


def test_the_module_is_built_for_every_kernel() -> None:
    kernels = {path.parent.name for path in Path("/lib/modules").glob("*/build")}
    status = run("dkms", "status", "graft")
    assert kernels
    assert all(f"{kernel}, x86_64: installed" in status for kernel in kernels), status


def test_nothing_runs_before_it_is_enabled() -> None:
    for unit in UNITS:
        assert run("systemctl", "is-enabled", unit, check=False).strip() == "disabled"
        assert run("systemctl", "is-active", unit, check=False).strip() == "inactive"


def test_enabling_is_all_there_is_to_do() -> None:
    run("systemctl", "enable", "--now", "graftd")
    assert run("graftcli", "list-endpoints", "-o", "name") == ""
    assert json.loads(run("graftcli", "status", "-o", "json"))["state"] == "ready"
    assert MODULE.is_dir()
    for unit in UNITS:
        assert run("systemctl", "is-active", unit).strip() == "active"


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_has_nothing_to_say_of_the_units(unit: str) -> None:
    said = run("systemd-analyze", "verify", "--man=no", unit)
    assert [line for line in said.splitlines() if "graft" in line] == []


def test_a_container_serves_through_an_endpoint() -> None:
    container()
    run("graftcli", "add-namespace", "web", "--netns", "web")
    run("graftcli", "-n", "web", *["add", "ep-http", "type", "ipv4", "addr", "10.9.0.1", "port", "80"])
    run("graftcli", "-n", "web", "add-rule", "--direction", "ingress", "--port", "80", "--endpoint", "ep-http")
    serves()


def test_the_administrator_edits_the_configuration() -> None:
    """The next boot finds it so."""
    with open("/etc/graftd/graftd.toml", "a") as file:
        file.write("\n# kept\n")
