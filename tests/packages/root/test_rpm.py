# SPDX-License-Identifier: Apache-2.0
"""The rpms are installed into a root with an empty database of packages, upgraded twice and erased.

The root is a Debian one, so what the packages want of the rpm family is not looked for. Its systemctl,
systemd-sysusers, systemd-tmpfiles and dkms are what the scriptlets call; no systemd runs in it, and it has no kernel.
The folders `installed`, `released` and `newer` in /mnt hold the same tree: as it is, with a higher release, with a
higher version and another explanation of the configuration.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import stat
import subprocess
from pathlib import Path

import pytest

PACKAGES = (
    *("graft", "graft-dkms", "graftcli", "graftd", "libgraft-preload", "python3-graft"),
    *("graft-cni", "graft-oci-hook", "graft-transparent"),
)
UNITS = (
    *("graftd.service", "graftd.socket", "graftd-admin.socket", "graftd-read-only.socket"),
    "graft-transparent.service",
)
CONFIGURATION = Path("/etc/graftd/graftd.toml")
EXPLAINED = Path("/usr/share/graftd/graftd.toml")
DATABASE = Path("/var/lib/graftd/graftd.db")
RUNTIME = Path("/run/graftd")
SITE = Path("/usr/lib/python3.14/site-packages")
BUNDLED = Path("/usr/lib/graftd")


def run(*words: str, check: bool = True) -> str:
    """What a command prints; one that fails fails the test with it."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0 or not check, f"{words}: status {done.returncode}: {done.stdout[-4000:]}"
    return done.stdout


def rpms(folder: str) -> list[str]:
    found = sorted(map(str, Path("/mnt", folder).glob("*.rpm")))
    assert found, f"{folder} has no packages"
    return [path for path in found if "debuginfo" not in path and "debugsource" not in path]


def install(folder: str) -> str:
    """Install or upgrade; every scriptlet has to succeed, and rpm warns of nothing."""
    said = run("rpm", "--upgrade", "--nodeps", "--verbose", *rpms(folder))
    complaints = [line for line in said.splitlines() if "scriptlet failed" in line or line.startswith("warning:")]
    assert complaints == []
    return said


def version_of(name: str) -> str:
    return run("rpm", "--query", "--queryformat", "%{VERSION}", name)


def enabled() -> dict[str, str]:
    return {unit: run("systemctl", "is-enabled", unit, check=False).strip() for unit in UNITS}


def owner(path: str | Path) -> tuple[str, str, int]:
    status = os.lstat(path)
    return pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name, stat.S_IMODE(status.st_mode)


@pytest.fixture(scope="module", autouse=True)
def _of_the_rpm_family() -> None:
    """There what is installed is not enabled."""
    preset = Path("/usr/lib/systemd/system-preset/99-default-disable.preset")
    preset.parent.mkdir(exist_ok=True)
    preset.write_text("disable *\n")


def test_installing_says_one_sentence_of_the_module_that_cannot_be_built() -> None:
    assert run("rpm", "--query", "--all") == ""
    said = [line for line in install("installed").splitlines() if line.startswith(("graft-dkms:", "Error"))]
    kernel = os.uname().release
    assert len(said) == 1
    assert said[0].startswith(f"graft-dkms: the running kernel {kernel} has no module graft")
    assert f"install kernel-devel-{kernel}," in said[0]


def test_what_is_installed_is_as_it_was_packed() -> None:
    assert run("rpm", "--verify", "--nodeps", *PACKAGES) == ""


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/etc/graftd", 0o755),
        ("/etc/graftd/graftd.toml", 0o644),
        ("/usr/sbin/graftd", 0o755),
        ("/usr/sbin/ip-graft", 0o755),
        ("/usr/bin/graft", 0o755),
        ("/usr/bin/graftcli", 0o755),
        ("/usr/lib/graft/libgraft.so", 0o644),
        ("/usr/lib/modules-load.d/graft.conf", 0o644),
        ("/usr/include/linux/graft.h", 0o644),
        ("/usr/libexec/cni/graft-cni", 0o755),
        ("/usr/libexec/graft/graft-oci-hook", 0o755),
        ("/usr/sbin/graft-transparent", 0o755),
        ("/etc/cdi/graft.json", 0o644),
        ("/usr/share/containers/oci/hooks.d/graft.json", 0o644),
        *((f"/usr/lib/systemd/system/{unit}", 0o644) for unit in UNITS),
    ],
)
def test_a_file_is_root_s_and_has_its_mode(path: str, mode: int) -> None:
    assert owner(path) == ("root", "root", mode)


def test_nothing_but_programs_can_be_executed() -> None:
    files = run("rpm", "--query", "--queryformat", "[%{FILEMODES:perms} %{FILENAMES}\\n]", *PACKAGES).splitlines()
    executable = {name for mode, name in (line.split() for line in files) if mode.startswith("-") and "x" in mode}
    assert executable == {
        *("/usr/bin/graft", "/usr/bin/graftcli", "/usr/sbin/graftd", "/usr/sbin/ip-graft"),
        *("/usr/libexec/cni/graft-cni", "/usr/libexec/graft/graft-oci-hook", "/usr/sbin/graft-transparent"),
    }


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("/usr/libexec/cni/graft-cni", "CNI plugin graft-cni {}"),
        ("/usr/libexec/graft/graft-oci-hook", "graft-oci-hook {}"),
        ("/usr/sbin/graft-transparent", "graft-transparent {}"),
    ],
)
def test_programs_in_go_are_of_the_packages_version(program: str, words: str) -> None:
    assert run(program, "--version").splitlines()[0] == words.format(version_of("graftd"))


def test_hooks_name_the_program_that_is_there() -> None:
    hooks = json.loads(Path("/usr/share/containers/oci/hooks.d/graft.json").read_text())
    devices = json.loads(Path("/etc/cdi/graft.json").read_text())["devices"]
    paths = {hook["path"] for device in devices for hook in device["containerEdits"].get("hooks", [])}
    assert paths == {hooks["hook"]["path"]} == {"/usr/libexec/graft/graft-oci-hook"}


def test_the_messages_do_without_what_protobuf_3_19_lacks() -> None:
    """They are imported by the Python of this root, and its protobuf."""
    modules = [path.relative_to(SITE) for path in (SITE / "graft").rglob("*_pb2.py")]
    assert modules
    assert "protobuf.internal import builder" not in "".join((SITE / path).read_text() for path in modules)
    names = [".".join(path.with_suffix("").parts) for path in modules]
    program = f"import sys; sys.path.append('{SITE}'); import {', '.join(names)}"
    assert run("python3", "-I", "-B", "-c", program) == ""


def test_graftd_finds_the_structlog_that_comes_along() -> None:
    assert run("rpm", "--query", "--requires", "graftd").count("structlog") == 0
    assert f'sys.path.append("{BUNDLED}")\n\nfrom graftd' in Path("/usr/sbin/graftd").read_text()
    program = f"import sys; sys.path.insert(0, '{BUNDLED}'); import structlog; print(structlog.__file__)"
    assert run("python3", "-I", "-B", "-c", program).strip() == f"{BUNDLED}/structlog/__init__.py"


def test_the_user_is_made() -> None:
    user = pwd.getpwnam("graftd")
    assert user.pw_dir == "/var/lib/graftd"
    assert user.pw_shell.endswith("/nologin")
    assert user.pw_uid < 1000
    assert grp.getgrgid(user.pw_gid).gr_name == "graftd"


def test_the_folder_of_the_sockets_is_made() -> None:
    assert owner(RUNTIME) == ("graftd", "graftd", 0o755)


def test_nothing_is_enabled() -> None:
    assert enabled() == dict.fromkeys(UNITS, "disabled")


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_has_nothing_to_say_of_the_units(unit: str) -> None:
    said = run("systemd-analyze", "verify", "--man=no", unit, check=False)
    assert [line for line in said.splitlines() if "graft" in line] == []


def test_dkms_knows_the_module() -> None:
    assert run("dkms", "status").strip() == f"graft/{version_of('graft-dkms')}: added"


def test_an_upgrade_keeps_what_is_the_administrator_s() -> None:
    """And what DKMS has, though both packages have it under the same version."""
    run("systemctl", "enable", "graftd.service", "graft-transparent.service")
    assert enabled() == dict.fromkeys(UNITS, "enabled")
    with CONFIGURATION.open("a") as file:
        file.write("# kept\n")
    DATABASE.parent.mkdir()
    DATABASE.write_text("a database")
    before = version_of("graft-dkms")
    install("released")
    assert version_of("graft-dkms") == before
    assert run("rpm", "--query", "--queryformat", "%{RELEASE}\\n", *PACKAGES).split() == ["2.fc43"] * len(PACKAGES)
    assert run("dkms", "status").strip() == f"graft/{before}: added"
    assert CONFIGURATION.read_text().endswith("# kept\n")
    assert enabled() == dict.fromkeys(UNITS, "enabled")
    assert DATABASE.read_text() == "a database"


def test_an_upgrade_leaves_one_module() -> None:
    before = version_of("graft-dkms")
    install("newer")
    after = version_of("graft-dkms")
    assert after == f"{before}.1"
    assert run("dkms", "status").strip() == f"graft/{after}: added"
    assert not Path(f"/usr/src/graft-{before}").exists()
    assert CONFIGURATION.read_text().endswith("# kept\n")
    assert not Path(f"{CONFIGURATION}.rpmnew").exists()
    assert EXPLAINED.read_text().endswith("# Newer.\n")
    assert enabled() == dict.fromkeys(UNITS, "enabled")
    assert run("rpm", "--verify", "--nodeps", *PACKAGES, check=False).split() == ["S.5....T.", "c", str(CONFIGURATION)]


def test_installing_anew_keeps_the_module() -> None:
    before = run("dkms", "status")
    run("rpm", "--reinstall", "--nodeps", *(path for path in rpms("newer") if "graft-dkms" in path))
    assert run("dkms", "status") == before


def test_erasing_leaves_the_database_and_the_configuration_that_was_edited() -> None:
    """What Python compiled when root ran it goes as well."""
    for name in ("graft", "graftcli", "graftd", "graft_client", "ip_graft"):
        (SITE / name / "__pycache__").mkdir()
    said = run("rpm", "--erase", "--nodeps", *PACKAGES)
    assert "scriptlet failed" not in said
    assert run("rpm", "--query", "--all") == ""
    saved = CONFIGURATION.with_name("graftd.toml.rpmsave")
    assert saved.read_text().endswith("# kept\n")
    assert DATABASE.read_text() == "a database"
    pwd.getpwnam("graftd")
    left = run("find", "/etc", "/usr", "/var", "/run", "-xdev", "-name", "*graft*").split()
    assert sorted(left) == ["/etc/graftd", "/etc/graftd/graftd.toml.rpmsave", "/var/lib/graftd", str(DATABASE)]
