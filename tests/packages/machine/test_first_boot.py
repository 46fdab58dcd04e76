# SPDX-License-Identifier: Apache-2.0
"""A machine that has nothing of the project's yet: the packages are installed, and graftd is enabled."""

from __future__ import annotations

import pytest

from packages.machine import host
from packages.machine.host import apt, asked, eventually, run


def test_the_packages_are_installed() -> None:
    assert host.FIRST, "the share has no packages"
    if not host.BEFORE.exists():
        host.BEFORE.write_text("\n".join(host.files_of_ours()))
    apt("install", *host.FIRST)
    assert host.verify(*host.PACKAGES) == ""


def test_the_module_is_built_for_every_kernel_and_signed() -> None:
    assert host.kernels()
    assert host.built_for() == [f"{host.version_of(host.FIRST)} {kernel}" for kernel in host.kernels()]
    assert run("modinfo", "--field", "signer", "graft").strip() != ""


def test_nothing_runs_before_it_is_enabled() -> None:
    for unit in host.UNITS:
        assert run("systemctl", "is-enabled", unit, check=False).strip() == "disabled"
        assert not host.is_active(unit)


def test_enabling_is_all_there_is_to_do() -> None:
    run("systemctl", "enable", "--now", "graftd")
    assert host.endpoints() == []
    assert asked("status")["state"] == "ready"
    assert host.MODULE.is_dir()
    for unit in host.UNITS:
        assert host.is_active(unit)


@pytest.mark.parametrize("unit", host.UNITS)
def test_systemd_has_nothing_to_say_of_the_units(unit: str) -> None:
    said = run("systemd-analyze", "verify", "--man=no", unit)
    assert [line for line in said.splitlines() if "graft" in line] == []


def test_a_container_of_podman_serves_through_an_endpoint() -> None:
    host.network()
    host.image()
    run("graftcli", "add-namespace", "pod", "--container", host.pod())
    run("graftcli", "-n", "pod", "add", "ep-http", *["type", "ipv4", "addr", host.ADDRESS, "port", "80"])
    run("graftcli", "-n", "pod", "add-rule", "--direction", "ingress", "--port", "80", "--endpoint", "ep-http")
    host.start_pod()
    eventually(host.pod_answers, "nginx answers")


def test_another_namespace_gets_an_endpoint() -> None:
    run("graftcli", "add-namespace", "web", "--netns", "web")
    run("graftcli", "-n", "web", "add", "ep-echo", *["type", "ipv4", "addr", host.ADDRESS, "port", "7"])
    run("graftcli", "-n", "web", "add-rule", "--direction", "ingress", "--port", "7", "--endpoint", "ep-echo")
    assert host.endpoints() == host.ENDPOINTS


def test_the_administrator_edits_the_configuration() -> None:
    """What comes later finds it so."""
    with host.CONFIGURATION.open("a") as file:
        file.write("\n# kept\n")
