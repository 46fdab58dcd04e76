# SPDX-License-Identifier: Apache-2.0
"""podman, as its user calls it, with one runtime or another."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from containers.images import Program
from service.place import run, status_of

# Those of Debian.
RUNTIMES = ("crun", "runc")


def begin() -> None:
    """Keep images and containers in memory: quicker, and an overlay of the machine's root cannot lie in that root."""
    Path("/var/lib/containers").mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "containers", "/var/lib/containers")


def end() -> None:
    """Let go of all of them."""
    run("podman", "rm", "--all", "--force", "--time", "0")
    run("umount", "--recursive", "/var/lib/containers")


def load(name: str, tar: Path) -> None:
    """Make an image."""
    run("podman", "import", "--quiet", tar, name)


def create(runtime: str, name: str, program: Program, *options: str) -> str:
    """Create a container without a network, and return its id."""
    return run(*_words(runtime, "create", name, program, options)).split()[-1]


def start(runtime: str, name: str, program: Program, *options: str) -> str:
    """Run a container without a network, and return its id."""
    return run(*_words(runtime, "run", name, program, ["--detach", *options])).split()[-1]


def attempt(runtime: str, name: str, program: Program, *options: str) -> tuple[bool, str]:
    """Try the same; return whether it runs, and what podman said."""
    status, said = status_of(*_words(runtime, "run", name, program, ["--detach", *options]))
    return status == 0, said


def refused(runtime: str, name: str, program: Program, *options: str) -> str:
    """Return what is said where a container cannot be started."""
    started, said = attempt(runtime, name, program, *options)
    assert not started, said
    return said


def pid(name: str) -> int:
    """Return the process id of the container's first process."""
    return int(run("podman", "inspect", "--format", "{{.State.Pid}}", name))


def remove(*names: str) -> None:
    """Kill containers, and remove them."""
    run("podman", "rm", "--force", "--ignore", "--time", "0", *names)


def _words(runtime: str, verb: str, name: str, program: Program, options: Iterable[str]) -> list[str]:
    return [
        *("podman", "--runtime", runtime, verb, "--name", name, "--network", "none"),
        *options,
        *(("--rootfs", f"{program.root}:O") if program.root else (program.name,)),
        *program.command,
    ]
