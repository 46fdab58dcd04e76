# SPDX-License-Identifier: Apache-2.0
"""A machine that has nothing of the project's yet: the packages are installed, and graftd is enabled."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_what_runtimes_run_is_in_its_place() -> None:
    version = host.version_of(host.FIRST)
    assert run("/usr/lib/cni/graft-cni", "--version").startswith(f"CNI plugin graft-cni {version}\n")
    assert run("/usr/libexec/graft/graft-oci-hook", "--version") == f"graft-oci-hook {version}\n"
    hook = json.loads(Path("/usr/share/containers/oci/hooks.d/graft.json").read_text())["hook"]
    assert hook["path"] == "/usr/libexec/graft/graft-oci-hook"
    assert Path("/etc/cdi/graft.json").read_text() == run(hook["path"], "cdi")


def test_enabling_is_all_there_is_to_do() -> None:
    run("systemctl", "enable", "--now", "graftd")
    assert host.endpoints() == []
    assert asked("status")["state"] == "ready"
    assert host.MODULE.is_dir()
    for unit in host.UNITS:
        assert host.is_active(unit)


def test_the_bpf_door_serves_where_the_kernel_has_it() -> None:
    assert run("systemctl", "is-enabled", host.DOOR, check=False).strip() == "disabled"
    run("systemctl", "enable", "--now", host.DOOR)
    assert host.is_active(host.DOOR) is host.kernel_has_door()
    assert host.door() == ("served" if host.kernel_has_door() else "kernel-cannot")


@pytest.mark.parametrize("unit", [*host.UNITS, host.DOOR])
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
