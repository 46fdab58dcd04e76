# SPDX-License-Identifier: Apache-2.0
"""What a run is taken on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from bench.errors import BenchError
from bench.record import Machine
from driver.lab import CHECKOUT
from lab.graftlab import host, qemu, roots, session
from lab.graftlab.cache import Cache, default_root
from lab.graftlab.errors import LabError
from lab.graftlab.suites import DEFAULT_SUITE


def machine() -> Machine:
    """Return this machine, its guests and the tree, making the guests' image where it is missing.

    Raises BenchError.
    """
    try:
        host.prepare()
        cache = Cache(default_root())
        root, _ = session.image(cache, DEFAULT_SUITE, "stock")
        program = qemu.find(cache)
        kvm = qemu.kvm_works(cache, program)
    except LabError as error:
        raise BenchError(f"the lab is not ready: {error.message} {error.hint}".rstrip(" .")) from error
    return Machine(
        processor=_processor(),
        processors=os.cpu_count() or 1,
        system=platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        qemu=_printed([*program, "--version"]).splitlines()[0].removeprefix("QEMU emulator version "),
        accelerator="kvm" if kvm else "tcg",
        kernel=roots.kernel_version(root, DEFAULT_SUITE),
        commit=_printed(["git", "rev-parse", "HEAD"]).strip(),
        changed=bool(_printed(["git", "status", "--porcelain"]).strip()),
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _printed(words: list[str]) -> str:
    """Return what a command prints, or nothing where it fails: a tree from an archive has no commit."""
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return done.stdout or "\n"
