# SPDX-License-Identifier: Apache-2.0
"""What goes wrong while a container starts: the engine prints a sentence of ours, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from containers import bundle, podman
from containers.annotations import grafted, options
from containers.checks import assert_serves_and_fetches
from containers.images import Program
from containers.left import assert_nothing_is_left
from containers.loaded import Images
from containers.network import HOST, PEER, Peer
from containers.podman import RUNTIMES
from service.place import cli_json, eventually, run
from service.units import SERVICE, SOCKETS, pid, state, systemctl

_ASKED = options(grafted(8080))


@pytest.fixture
def program(loaded: Images) -> Iterator[Program]:
    """One that serves and fetches; what was started of it is removed."""
    yield loaded.podman("musl")
    podman.remove("web", "other")


@contextmanager
def _stopped_process(number: int) -> Iterator[None]:
    os.kill(number, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(number, signal.SIGCONT)


def _refused(runtime: str, program: Program, asked: Sequence[str]) -> str:
    """Return what podman says of a container that cannot be started.

    crun keeps to itself what a hook says, so what it said is taken from the system's log there.
    """
    before = int(time.time())
    said = podman.refused(runtime, "web", program, *asked)
    if runtime != "crun":
        return said
    assert "hook" in said
    return run("journalctl", "--quiet", "--output=cat", "--identifier=graft-oci-hook", f"--since=@{before}")


@pytest.mark.parametrize(("endpoint", "at_fault"), [(f"{PEER}:8080", PEER), (f"{HOST}:80", "port 80")])
def test_what_no_policy_allows_is_refused(program: Program, endpoint: str, at_fault: str) -> None:
    """An image may have brought the annotations along."""
    said = _refused("runc", program, options(grafted(8080, **{"endpoint.ep-http": endpoint})))
    assert "policy 'containers' does not allow" in said
    assert at_fault in said


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_stopped_graftd_is_said(runtime: str, program: Program) -> None:
    systemctl("stop", *SOCKETS, SERVICE)
    said = _refused(runtime, program, _ASKED)
    assert "graftd is not running" in said
    assert "systemctl start graftd" in said


def _start(program: Program) -> None:
    """Start the container while graftd is on its way.

    That takes seconds under emulation, and may take longer than a hook waits: then that is said, nothing is left, and
    another attempt succeeds.
    """
    started, said = podman.attempt("runc", "web", program, *_ASKED)
    if not started:
        assert "did not answer in time" in said
        podman.remove("web")
        eventually(lambda: state() == "active", "graftd serves")
        assert_nothing_is_left()
        podman.start("runc", "web", program, *_ASKED)


def test_a_graftd_that_its_socket_starts_serves(program: Program, peer: Peer) -> None:
    systemctl("stop", SERVICE)
    _start(program)
    assert_serves_and_fetches(peer, 8080, podman.pid("web"))


def test_a_graftd_that_hangs_is_said(program: Program) -> None:
    with _stopped_process(pid()):
        said = _refused("crun", program, _ASKED)
    assert "did not answer in time" in said
    # What it was asked for meanwhile it finds in its socket now, and the container is no more.
    assert_nothing_is_left()


def test_a_slow_graftd_delays_the_container(program: Program, peer: Peer) -> None:
    slow = _stopped_process(pid())
    with slow:
        starting = threading.Thread(target=podman.start, args=("crun", "web", program, *_ASKED))
        starting.start()
        time.sleep(5)
    starting.join()
    assert_serves_and_fetches(peer, 8080, podman.pid("web"))


def test_a_container_starts_while_graftd_restarts(program: Program, peer: Peer) -> None:
    restarting = subprocess.Popen(["systemctl", "restart", SERVICE])
    _start(program)
    assert restarting.wait() == 0
    assert_serves_and_fetches(peer, 8080, podman.pid("web"))


def test_a_container_keeps_its_table_when_graftd_restarts(program: Program, peer: Peer) -> None:
    podman.start("crun", "web", program, *_ASKED)
    systemctl("restart", SERVICE)
    assert_serves_and_fetches(peer, 8080, podman.pid("web"))


@pytest.mark.parametrize(
    ("annotation", "value", "wrong"),
    [
        ("endpoint.ep-http", HOST, f"{HOST}:80"),
        ("endpoint.ep-http", f"{HOST}:70000", "65535"),
        ("ingress", "*:80", "="),
        ("ingress", "*:80=ep-other", "ep-other"),
        ("egress", "10.9.0.0/33=ep-out", "10.9.0.0/33"),
        ("transparent", "perhaps", "perhaps"),
    ],
)
def test_a_malformed_annotation_is_said(annotation: str, value: str, wrong: str, program: Program) -> None:
    said = _refused("runc", program, options(grafted(8080, **{annotation: value})))
    assert f"graft.{annotation}" in said
    assert wrong in said


def test_a_port_that_is_mapped_already_stays_with_who_has_it(program: Program, peer: Peer) -> None:
    podman.start("crun", "web", program, *_ASKED)
    peer.await_answer(8080)
    podman.start("crun", "other", program, *_ASKED)
    eventually(lambda: run("podman", "wait", "other").strip() != "0", "the other one gives up")
    assert "in use" in run("podman", "logs", "other")
    assert_serves_and_fetches(peer, 8080, podman.pid("web"))


def test_a_container_killed_between_hook_and_start(program: Program) -> None:
    podman.create("crun", "web", program, *_ASKED)
    run("podman", "init", "web")
    (namespace,) = cli_json("list-namespaces")
    assert namespace["state"] == "present"
    podman.remove("web")
    assert_nothing_is_left()


def test_a_runtime_that_never_says_that_its_container_is_gone(tmp_path: Path, peer: Peer) -> None:
    """No poststop is run: graftd sees the namespace go."""
    bundle.write(tmp_path / "bundle", bundle.make_root(tmp_path), grafted(8080))
    process = bundle.start(tmp_path / "bundle", "lost")
    peer.await_answer(8080)
    assert peer.ask(8080) == PEER
    os.kill(process, signal.SIGKILL)
    assert_nothing_is_left()
    run(*bundle.crun("delete", "--force", "lost"))
