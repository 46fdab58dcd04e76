# SPDX-License-Identifier: Apache-2.0
"""docker, as its user calls it."""

from __future__ import annotations

import json
from pathlib import Path

from containers.images import Program
from service.place import run, status_of
from service.units import systemctl

# Docker 26 reads CDI specifications where it is told to. It needs no bridge for containers without a network.
_SETTINGS = {"features": {"cdi": True}, "bridge": "none", "iptables": False, "ip6tables": False}


def begin() -> None:
    """Start the daemon."""
    Path("/etc/docker").mkdir(exist_ok=True)
    Path("/etc/docker/daemon.json").write_text(json.dumps(_SETTINGS))
    systemctl("start", "docker")


def end() -> None:
    """Stop the daemon, and what it started."""
    systemctl("stop", "docker.service", "docker.socket", "containerd.service")


def load(name: str, tar: Path) -> None:
    """Make an image."""
    run("docker", "import", tar, name)


def start(name: str, program: Program, *options: str) -> str:
    """Run a container without a network, and return its id."""
    return run(*_words(name, program, options)).split()[-1]


def refused(name: str, program: Program, *options: str) -> str:
    """Return what is said where a container cannot be started."""
    status, said = status_of(*_words(name, program, options))
    assert status, said
    return said


def pid(name: str) -> int:
    """Return the process id of the container's first process."""
    return int(run("docker", "inspect", "--format", "{{.State.Pid}}", name))


def remove(*names: str) -> None:
    """Kill containers, and remove them."""
    run("docker", "rm", "--force", *names)


def _words(name: str, program: Program, options: tuple[str, ...]) -> list[str]:
    words = ["docker", "run", "--detach", "--name", name, "--network", "none", *options]
    return [*words, program.name, *program.command]
