# SPDX-License-Identifier: Apache-2.0
"""graftcli against graftd itself, the kernel played: what it says, round trips, and a watch through a crash."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

from graftcli import main
from integration.api import eventually
from integration.process import ROOT, Graftd

PATH = os.pathsep.join(str(ROOT / part) for part in ("", "clients/cli", "clients/python", "build/stubs"))


@pytest.fixture
def graftd(tmp_path: Path) -> Iterator[Graftd]:
    service = Graftd(tmp_path)
    service.play_kernel(["web", "edge"])
    service.start()
    try:
        yield service
    finally:
        service.close()


def run(service: Graftd, line: str, stdin: str = "", status: int = 0) -> str:
    """What a command line prints. It is carried out in this process, as most of a process is its imports."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict("os.environ", {"GRAFTD_TARGET": service.target}),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        done = main.run(shlex.split(line))
    assert done == status, err.getvalue()
    return out.getvalue() or err.getvalue()


def fill(service: Graftd) -> None:
    for line in (
        "add-namespace web --netns web --max-sockets 100 --label tier=front --annotation note='a: b'",
        "add-namespace edge --netns edge",
        "-n web add ep-http type ipv4 addr 10.0.0.2 port 80 netns edge",
        "-n web add-endpoint ep-out --address fd00::2 --port any --protocol tcp --mark 7 --max-sockets 9 --label a=b",
        r"-n web add-endpoint ep-unix --path '@a\x00\xff'",
        "-n web add-rule --direction ingress --port any --native",
        "-n web add-rule http --direction ingress --network 10.0.0.0/8 --port 80 --endpoint ep-http",
        "-n web add-rule out --direction egress --protocol tcp --endpoint ep-out",
        "-n web add-acl-rule --allow --endpoint ep-out --verb connect --uid 0-99 --gid 5 --own-ids --local --port 1-9",
        "-n web add-acl-rule first --deny --index 1 --network fd00::/8 --protocol udp",
    ):
        run(service, line)


def test_what_is_exported_is_applied_without_a_difference(graftd: Graftd, tmp_path: Path) -> None:
    fill(graftd)
    written = run(graftd, "export")
    assert run(graftd, "diff -f -", written) == ""
    assert run(graftd, "apply -f -", written).splitlines() == ["namespaces/edge unchanged", "namespaces/web unchanged"]
    assert run(graftd, "diff -f -", run(graftd, "export -o json")) == ""
    # Away, and from the file again.
    run(graftd, "delete-namespace web --force")
    assert "+ web endpoint ep-http: type ipv4" in run(graftd, "diff -f -", written, status=7)
    run(graftd, "apply -f -", written)
    assert run(graftd, "export") == written


def test_a_backup_is_restored(graftd: Graftd, tmp_path: Path) -> None:
    fill(graftd)
    before = run(graftd, "export")
    run(graftd, f"backup {tmp_path}/copy.db")
    run(graftd, "delete-namespace web --force")
    run(graftd, f"restore {tmp_path}/copy.db --dry-run")
    assert "name: web" not in run(graftd, "export")
    run(graftd, f"restore {tmp_path}/copy.db")
    assert run(graftd, "export") == before


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("-n web show-endpoint none", 3, "no endpoint 'none'"),
        ("-n none list-endpoints", 3, "no namespace 'none'"),
        ("-n edge add-endpoint .x --address 10.0.0.2 --port 80", 2, "'.x' cannot name an endpoint"),
        ("add-namespace edge --netns other", 4, "namespace 'edge' exists"),
        ("add-namespace other --netns edge", 4, "has the selector netns 'edge' already"),
        ("delete-namespace web", 1, "holds endpoints or rules"),
    ],
)
def test_refusals(graftd: Graftd, line: str, status: int, words: str) -> None:
    run(graftd, "add-namespace web --netns web")
    run(graftd, "add-namespace edge --netns edge")
    run(graftd, "-n web add ep-http type ipv4 addr 10.0.0.2 port 80")
    said = run(graftd, line, status=status)
    assert said.startswith("graftcli: ")
    assert words in said


def test_a_watch_misses_nothing_while_graftd_is_killed(graftd: Graftd) -> None:
    run(graftd, "add-namespace web --netns web")
    watch = subprocess.Popen(
        [sys.executable, "-m", "graftcli", "watch", "-o", "json"],
        env={**os.environ, "PYTHONPATH": PATH, "GRAFTD_TARGET": graftd.target},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    found: list[str] = []

    def read() -> None:
        assert watch.stdout is not None
        found.extend(json.loads(line)["endpoint"]["name"].rpartition("/")[2] for line in watch.stdout)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        wait_for_watchers(graftd, 1)
        for number in range(3):
            run(graftd, f"-n web add e{number} type ipv4 addr 10.0.0.2 port {number + 1}")
            graftd.kill()
            graftd.start()
        eventually(lambda: len(found) >= 3)  # a watcher that is back may have to be told yet
    finally:
        watch.terminate()
        watch.wait()
        reader.join(20)
    assert found == ["e0", "e1", "e2"]


def wait_for_watchers(graftd: Graftd, count: int) -> None:
    until = time.monotonic() + 60
    while json.loads(run(graftd, "status -o json"))["watchers"] < count:
        assert time.monotonic() < until


def test_doctor_names_what_is_wrong(graftd: Graftd) -> None:
    fill(graftd)
    run(graftd, "-n web delete-endpoint ep-out")
    run(graftd, "freeze web --reason tests")
    codes = run(graftd, "doctor web -o name", status=8).split()
    assert {"endpoint-missing", "namespace-frozen", "acl-endpoint-missing"} <= set(codes)
    graftd.stop()
    assert run(graftd, "doctor web -o name", status=8).split()[0] == "unreachable"
