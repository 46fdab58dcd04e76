# SPDX-License-Identifier: Apache-2.0
"""The machine that the lab runs on: what it must have, and what is installed when it does not."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import LabError
from .progress import Progress

# command or file -> the package that has it
_NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "unshare": "util-linux",
    "zstd": "zstd",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    "/usr/share/keyrings/debian-archive-trixie-stable.gpg": "debian-archive-keyring",
}
_APT_STATE = Path("/var/lib/apt")
_LOCKED = "Could not get lock"
_LOCKED_SECONDS = 600.0
_PAUSE_SECONDS = 2.0


def missing_packages() -> list[str]:
    """Return the packages that the lab needs and this machine lacks."""
    found = set()
    for thing, package in _NEEDED.items():
        there = Path(thing).exists() if thing.startswith("/") else shutil.which(thing, path=_search_path())
        if not there:
            found.add(package)
    return sorted(found)


def prepare() -> None:
    """Install what is missing, without asking.

    Raises LabError where the machine is no Debian, the user is not root, or apt-get fails.
    """
    if os.geteuid() != 0:
        raise LabError("the lab makes root file systems, so it runs as root", "Run it with sudo.")
    if not missing_packages():
        return
    with _alone():
        packages = missing_packages()
        if packages:
            _install(packages)


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other labs, and tests/prepare, which takes the same lock, from installing meanwhile."""
    if not _APT_STATE.is_dir():
        yield
        return
    handle = os.open(_APT_STATE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _install(packages: list[str]) -> None:
    if not shutil.which("apt-get"):
        raise LabError(
            f"this machine lacks {', '.join(packages)} and has no apt-get to install them with",
            "Use a Debian machine.",
        )
    with Progress("host packages") as progress:
        progress.stage("apt-get update")
        _apt("update")
        progress.stage(f"installing {' '.join(packages)}")
        _apt("install", "--yes", "--no-install-recommends", *packages)


def _search_path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _apt(*arguments: str) -> None:
    command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=600", *arguments]
    # The words that tell of a lock are apt's own in this locale alone.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    until = time.monotonic() + _LOCKED_SECONDS
    while True:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        # The timeout of the option above is dpkg's: apt gives up on its lists at once, when a timer's apt reads them.
        if done.returncode == 0 or _LOCKED not in done.stderr or time.monotonic() > until:
            break
        time.sleep(_PAUSE_SECONDS)
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise LabError(f"'{' '.join(command)}' failed:\n{tail}", "See that apt-get works, then try again.")
