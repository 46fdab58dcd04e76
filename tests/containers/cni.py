# SPDX-License-Identifier: Apache-2.0
"""Networks and containers by the CNI project's own tool, as a container engine calls plugins."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from containers.images import PORT, UNRULED
from containers.network import HOST, UPSTREAM
from service.place import eventually, run

_TOOL = "/usr/lib/graft/tests/cnitool"
_PLUGINS = "/usr/lib/cni"
_WEB = "/usr/lib/graft/tests/web"
# Connections to what is around the host. Ports of the host's come by portMappings.
TABLE = {
    "endpoints": [{"name": "ep-out", "inet": {"address": HOST, "ports": {}}}],
    "rules": [
        {
            "direction": "RULE_DIRECTION_EGRESS",
            "network": "10.9.0.0/24",
            "verdict": "RULE_VERDICT_ENDPOINT",
            "endpoint": "ep-out",
        }
    ],
}


class Network:
    """A network of plugins, the last of which is graft-cni."""

    def __init__(self, folder: Path, name: str, *before: Mapping[str, Any], version: str = "1.1.0") -> None:
        self._name = name
        self._folder = folder
        ours = {"type": "graft-cni", "capabilities": {"portMappings": True}, **TABLE}
        configuration = {"cniVersion": version, "name": name, "plugins": [*before, ours]}
        (folder / f"{name}.conflist").write_text(json.dumps(configuration))

    def call(
        self, verb: str, container: Container, port: int = 0, arguments: str = ""
    ) -> tuple[int, dict[str, Any], str]:
        """Return cnitool's exit status, the result that it printed, and what else it said."""
        mapping = {"hostIP": HOST, "hostPort": port, "containerPort": PORT, "protocol": "tcp"}
        done = subprocess.run(
            [_TOOL, verb, self._name, container.netns],
            env={
                **os.environ,
                "NETCONFPATH": str(self._folder),
                "CNI_PATH": _PLUGINS,
                "CNI_ARGS": arguments,
                "CAP_ARGS": json.dumps({"portMappings": [mapping]} if port else {}),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        result = json.loads(done.stdout) if done.stdout.startswith("{") else {}
        return done.returncode, result, done.stdout + done.stderr

    def good(self, verb: str, container: Container, port: int = 0) -> dict[str, Any]:
        """Return the result of what has to succeed."""
        status, result, said = self.call(verb, container, port)
        assert status == 0, f"cnitool {verb}: {said}"
        return result


class Container:
    """A network namespace, in which the tests' Go program is started."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.netns = f"/run/netns/{name}"
        self._program: subprocess.Popen[bytes] | None = None
        run("ip", "netns", "add", name)

    def serve(self, upstream: str = UPSTREAM) -> int:
        """Start the program, which is to fetch from ``upstream``; return its process id."""
        command = ["ip", "netns", "exec", self._name, _WEB, str(PORT), str(UNRULED), upstream]
        self._program = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        return self._program.pid

    def links(self) -> set[str]:
        """Return the interfaces that are up."""
        # ip prints {} for each that is not.
        return {one["ifname"] for one in json.loads(run("ip", "-n", self._name, "-j", "link", "show", "up")) if one}

    def end(self) -> None:
        """Kill the program, and take the namespace away."""
        if self._program:
            self._program.kill()
            self._program.wait()
            self._program = None
        if Path(self.netns).exists():
            run("ip", "netns", "delete", self._name)
            eventually(lambda: not Path(self.netns).exists(), f"{self._name} is gone")
