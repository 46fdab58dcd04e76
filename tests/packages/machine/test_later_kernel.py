# SPDX-License-Identifier: Apache-2.0
"""Another kernel is installed on a machine that has the packages."""

from __future__ import annotations

from pathlib import Path

from packages.machine import host
from packages.machine.host import apt, run

_PACKAGES = sorted(map(str, Path("/usr/lib/graft-lab/later-kernel").glob("*.deb")))


def test_it_gets_its_module_by_itself() -> None:
    before = host.kernels()
    apt("install", *_PACKAGES)
    (later,) = set(host.kernels()) - set(before)
    (version,) = {line.partition(" ")[0] for line in host.built_for()}
    assert host.built_for() == [f"{version} {kernel}" for kernel in host.kernels()]
    assert run("modinfo", "--set-version", later, "--field", "version", "graft").strip() == version
