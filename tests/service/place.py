# SPDX-License-Identifier: Apache-2.0
"""A container and a peer: network namespaces of a test, and programs in them."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import graftcli.main
import ip_graft.main
from service.units import journal

HOST, PEER = "10.9.0.1", "10.9.0.2"


def run(*words: object, check: bool = True) -> str:
    """What a command prints; one that fails fails the test, with what it said and the service's journal."""
    done = subprocess.run(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0 or not check, f"{words}: status {done.returncode}: {done.stdout}\n{journal()}"
    return done.stdout


def cli(line: str) -> str:
    """What a command line of graftcli prints; one that fails fails the test."""
    status, said = cli_outcome(line)
    assert status == 0, f"graftcli {line}: status {status}: {said}\n{journal()}"
    return said


def cli_json(line: str) -> Any:
    return json.loads(cli(f"{line} -o json"))


def cli_outcome(line: str) -> tuple[int, str]:
    """The exit status of a command line of graftcli, and what it printed."""
    return _carried_out(graftcli.main.run, line)


def _carried_out(command: Callable[[list[str]], int], line: str) -> tuple[int, str]:
    """In this process, for most of a command is Python's start and its imports."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = command(shlex.split(line))
    return status, out.getvalue() or err.getvalue()


def status_of(*words: object) -> tuple[int, str]:
    """A command's exit status, and what it printed."""
    done = subprocess.run(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


def kernel(namespace: str) -> dict[str, list[Any]]:
    """A table as the module has it, read without graftd."""
    return {
        "endpoints": _shown(namespace, "show"),
        "rules": _shown(namespace, "rule show"),
        "acl": _shown(namespace, "acl show"),
    }


def names(namespace: str) -> list[str]:
    """The endpoints that the module has."""
    return sorted(one["name"] for one in _shown(namespace, "show"))


def _shown(namespace: str, command: str) -> list[Any]:
    status, said = _carried_out(ip_graft.main.run, f"--json -n {namespace} {command}")
    assert status == 0, f"ip-graft {command}: status {status}: {said}"
    shown: list[Any] = json.loads(said)
    return shown


def eventually(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {seconds} s\n{journal()}"
        time.sleep(0.1)


def add_peer(host: str, peer: str) -> None:
    """Make the namespace `peer`, which the host reaches by a veth, and these addresses of its ends."""
    run("ip", "netns", "add", "peer")
    run("ip", "link", "add", "to-peer", "type", "veth", "peer", "name", "to-host", "netns", "peer")
    run("ip", "address", "add", f"{host}/24", "dev", "to-peer")
    run("ip", "link", "set", "to-peer", "up")
    run("ip", "-n", "peer", "address", "add", f"{peer}/24", "dev", "to-host")
    run("ip", "-n", "peer", "link", "set", "to-host", "up")


class Place:
    """The namespace `web`, which has lo alone, and `peer`, which the host reaches by a veth."""

    def __init__(self) -> None:
        self._programs: list[subprocess.Popen[bytes]] = []
        run("ip", "netns", "add", "web")
        run("ip", "-n", "web", "link", "set", "lo", "up")
        add_peer(HOST, PEER)

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
            cli_outcome(f"delete-namespace {name} --force")
