# SPDX-License-Identifier: Apache-2.0
"""A container and a peer: network namespaces of a test, and programs in them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

from service.units import journal

HOST, PEER = "10.9.0.1", "10.9.0.2"


def run(*words: object, check: bool = True) -> str:
    """What a command prints; one that fails fails the test, with what it said and the service's journal."""
    done = subprocess.run(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0 or not check, f"{words}: status {done.returncode}: {done.stdout}\n{journal()}"
    return done.stdout


def graftcli(*words: object, check: bool = True) -> str:
    return run("graftcli", *words, check=check)


def graftcli_json(*words: object) -> Any:
    return json.loads(graftcli(*words, "-o", "json"))


def status_of(*words: object) -> tuple[int, str]:
    """A command's exit status, and what it printed."""
    done = subprocess.run(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


def kernel(namespace: str) -> dict[str, list[Any]]:
    """A table as the module has it, read without graftd."""
    return {
        "endpoints": json.loads(run("ip-graft", "--json", "-n", namespace, "show")),
        "rules": json.loads(run("ip-graft", "--json", "-n", namespace, "rule", "show")),
        "acl": json.loads(run("ip-graft", "--json", "-n", namespace, "acl", "show")),
    }


def names(namespace: str) -> list[str]:
    """The endpoints that the module has."""
    return sorted(one["name"] for one in kernel(namespace)["endpoints"])


def eventually(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {seconds} s\n{journal()}"
        time.sleep(0.1)


class Place:
    """The namespace `web`, which has lo alone, and `peer`, which the host reaches by a veth."""

    def __init__(self) -> None:
        self._programs: list[subprocess.Popen[bytes]] = []
        run("ip", "netns", "add", "web")
        run("ip", "-n", "web", "link", "set", "lo", "up")
        run("ip", "netns", "add", "peer")
        run("ip", "link", "add", "to-peer", "type", "veth", "peer", "name", "to-host", "netns", "peer")
        run("ip", "address", "add", f"{HOST}/24", "dev", "to-peer")
        run("ip", "link", "set", "to-peer", "up")
        run("ip", "-n", "peer", "address", "add", f"{PEER}/24", "dev", "to-host")
        run("ip", "-n", "peer", "link", "set", "to-host", "up")

    def start(self, namespace: str, *words: object, output: int | None = None) -> subprocess.Popen[bytes]:
        command = ["ip", "netns", "exec", namespace, *map(str, words)]
        program = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output or subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        self._programs.append(program)
        return program

    def close(self) -> None:
        for program in self._programs:
            program.kill()
            program.wait()
        for name in ("web", "peer"):
            if os.path.exists(f"/run/netns/{name}"):
                run("ip", "netns", "delete", name)
        run("ip", "link", "delete", "to-peer", check=False)
        for name in ("web", "peer"):
            graftcli("delete-namespace", name, "--force", check=False)
