# SPDX-License-Identifier: Apache-2.0
"""Containers of LXC's, as their administrator makes them: of Debian's busybox, with an init of their own."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from containers.images import PORT, UNRULED, place_go
from containers.network import UPSTREAM
from service.place import run, status_of

_HOOK = "/usr/libexec/graft/graft-oci-hook"
_FOLDER = Path("/var/lib/lxc")


class Container:
    """A container whose init starts the tests' Go program, and again where that ends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._configuration = _FOLDER / name / "config"
        self._log = _FOLDER / name / "log"
        run("lxc-create", "--name", name, "--template", "busybox")
        root = _FOLDER / name / "rootfs"
        place_go(root, "/srv/web")
        # What the template has starts a DHCP client, without which a container with an interface does not go on.
        (root / "etc/inittab").write_text(f"::respawn:/srv/web {PORT} {UNRULED} {UPSTREAM}\n")
        lines = self._configuration.read_text().splitlines()
        self._made = [line for line in lines if not line.startswith(("lxc.net.", "lxc.apparmor."))]

    def configure(self, network: str, options: Sequence[str], version: int = 0) -> None:
        """Write its configuration, with a network of this type and the hook, which gets the options.

        ``version`` is that of how LXC tells a hook of its container.
        """
        lines = [
            *self._made,
            # The guest has not what loads profiles.
            "lxc.apparmor.profile = unconfined",
            f"lxc.net.0.type = {network}",
            f"lxc.hook.version = {version}",
            f"lxc.hook.start-host = {_HOOK} lxc start-host {shlex.join(options)}",
            f"lxc.hook.post-stop = {_HOOK} lxc post-stop",
        ]
        self._configuration.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Start it, and wait until it runs."""
        run(*self._start_words())

    def refused(self) -> str:
        """Return what LXC logs where it does not start."""
        self._log.unlink(missing_ok=True)
        status, said = status_of(*self._start_words(), "--logpriority", "DEBUG", "--logfile", self._log)
        assert status, said
        return self._log.read_text()

    def pid(self) -> int:
        """Return the process id of its init; -1 while there is none."""
        return int(run("lxc-info", "--name", self.name, "--no-humanize", "--pid").strip() or -1)

    def attach(self, *command: str) -> str:
        """Return what a command prints in it."""
        return run("lxc-attach", "--name", self.name, "--", *command)

    def ask(self, command: str) -> None:
        """Run a command in it that its end may overtake."""
        status_of("lxc-attach", "--name", self.name, "--", command)

    def stop(self) -> None:
        """Have its init end it."""
        run("lxc-stop", "--name", self.name)

    def end(self) -> None:
        """Kill it where it runs."""
        status_of("lxc-stop", "--name", self.name, "--kill")

    def destroy(self) -> None:
        """Take it away."""
        run("lxc-destroy", "--name", self.name, "--force")

    def _start_words(self) -> list[str]:
        return ["lxc-start", "--name", self.name]
