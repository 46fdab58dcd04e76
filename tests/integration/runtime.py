# SPDX-License-Identifier: Apache-2.0
"""A runtime's part: containers, as far as a network namespace makes one, and calls of graft-cni."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from integration.api import eventually
from integration.bed import Bed
from integration.process import ROOT

_SECONDS = 60.0
# A table with an endpoint, an ingress rule to it and who may use it.
WEB = {
    "endpoints": [{"name": "http", "inet": {"address": "10.0.0.2", "ports": {"low": 80, "high": 80}}}],
    "rules": [
        {
            "direction": "RULE_DIRECTION_INGRESS",
            "ports": {"low": 80, "high": 80},
            "verdict": "RULE_VERDICT_ENDPOINT",
            "endpoint": "http",
        }
    ],
    "acl": [{"action": "ACL_ACTION_ALLOW", "endpoint": "http", "verbs": ["VERB_LISTEN"]}],
}


class Tools(NamedTuple):
    plugin: Path
    cnitool: Path


def build(folder: Path) -> Tools:
    """Build them, as they are packaged."""
    subprocess.run([ROOT / "tests/lab/lab", "go", folder], check=True, stdout=subprocess.DEVNULL)
    return Tools(folder / "graft-cni", folder / "cnitool")


class Container:
    """A network namespace with a process in it; the played kernel knows it by its process, as graftd does."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._process = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.path = f"/proc/{self._process.pid}/ns/net"
        self.id = f"c{self._process.pid}"
        own = Path("/proc/self/ns/net").readlink()
        eventually(lambda: Path(self.path).readlink() != own)
        self.place = str(self._process.pid)
        bed.kernel.add_namespace(self.place)

    def run(self, *command: str) -> str:
        done = subprocess.run(["nsenter", f"--net={self.path}", *command], check=True, capture_output=True, text=True)
        return done.stdout

    def links(self) -> str:
        return self.run("ip", "-o", "link", "show", "up")

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            self._bed.kernel.remove_namespace(self.place)


@contextmanager
def container(bed: Bed) -> Iterator[Container]:
    found = Container(bed)
    try:
        yield found
    finally:
        found.end()


class Plugin(NamedTuple):
    """Calls of the plugin as a runtime makes them. configuration: beside what every network has."""

    tools: Tools
    bed: Bed
    configuration: dict[str, Any]
    network: str = "pods"

    def call(self, command: str, of: Container | None = None, *, args: str = "", **more: Any) -> tuple[int, Any, str]:
        """The exit status, what was printed as JSON, and standard error."""
        stdin = {
            "cniVersion": "1.1.0",
            "name": self.network,
            "type": "graft-cni",
            "target": self.bed.graftd.target,
            **self.configuration,
            **more,
        }
        environment = {"CNI_COMMAND": command, "CNI_PATH": str(self.tools.plugin.parent), "CNI_ARGS": args}
        if of is not None:
            environment |= {"CNI_CONTAINERID": of.id, "CNI_NETNS": of.path, "CNI_IFNAME": "eth0"}
        done = subprocess.run(
            [os.fspath(self.tools.plugin)],
            env=os.environ | environment,
            input=json.dumps(stdin),
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    def good(self, command: str, of: Container | None = None, **more: Any) -> Any:
        status, answer, stderr = self.call(command, of, **more)
        assert (status, stderr) == (0, ""), answer
        return answer
