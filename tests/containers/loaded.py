# SPDX-License-Identifier: Apache-2.0
"""Images in both engines, made where they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from containers import docker, images, podman
from containers.network import UPSTREAM


class Images:
    """Makes the image of a program where it is first asked for, once for each engine."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._tars: dict[str, Path] = {}
        self._loaded: set[tuple[str, str]] = set()

    def podman(self, name: str) -> images.Program:
        """Return a program whose image podman has."""
        return self._in("podman", podman.load, name)

    def docker(self, name: str) -> images.Program:
        """Return a program whose image docker has."""
        return self._in("docker", docker.load, name)

    def _in(self, engine: str, load: Callable[[str, Path], None], name: str) -> images.Program:
        program = images.programs(UPSTREAM)[name]
        if (engine, name) not in self._loaded:
            if program.root:
                images.make_root()
            else:
                load(name, self._tar(name))
            self._loaded.add((engine, name))
        return program

    def _tar(self, name: str) -> Path:
        if name not in self._tars:
            self._tars[name] = images.make(name, UPSTREAM, self._work)
        return self._tars[name]
