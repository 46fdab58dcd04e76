# SPDX-License-Identifier: Apache-2.0
"""LXC, by its hooks: a container with an init of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from containers.checks import assert_serves_and_fetches
from containers.left import assert_nothing_is_left
from containers.lxc import Container
from containers.network import HOST, UPSTREAM, Peer
from service.place import cli_json, eventually, run

_OPTIONS = (
    *("--endpoint", f"http={HOST}:8080/tcp", "--endpoint", f"out={HOST}:any"),
    *("--ingress", "*:80=http", "--egress", "10.9.0.0/24=out"),
)


@pytest.fixture(scope="module")
def made() -> Iterator[Container]:
    container = Container("web")
    yield container
    container.destroy()


@pytest.fixture
def web(made: Container) -> Iterator[Container]:
    yield made
    made.end()


def _told(since: float) -> str:
    return run("journalctl", "--quiet", "--output=cat", "--identifier=graft-oci-hook", f"--since=@{int(since)}")


@pytest.mark.parametrize(("network", "version"), [("empty", 0), ("veth", 1)])
def test_its_services_serve_and_fetch(network: str, version: int, web: Container, peer: Peer) -> None:
    web.configure(network, _OPTIONS, version)
    web.start()
    assert_serves_and_fetches(peer, 8080, web.pid())
    (namespace,) = cli_json("list-namespaces")
    assert namespace["name"] == "namespaces/lxc-web"
    assert namespace["transparent"]
    assert web.attach("/bin/wget", "-q", "-O", "-", f"http://{UPSTREAM}/") == f"{HOST}\n"
    web.stop()
    assert_nothing_is_left()


def test_a_reboot_is_a_stop_and_a_start(web: Container, peer: Peer) -> None:
    web.configure("empty", _OPTIONS)
    web.start()
    peer.await_answer(8080)
    before = web.pid()
    web.ask("/bin/reboot")
    eventually(lambda: web.pid() not in {-1, before}, "it is up again")
    assert_serves_and_fetches(peer, 8080, web.pid())
    web.ask("/bin/poweroff")
    assert_nothing_is_left()


def test_one_that_never_says_that_it_is_gone(web: Container, peer: Peer) -> None:
    """No post-stop is run: graftd sees the namespace go."""
    web.configure("empty", _OPTIONS)
    web.start()
    peer.await_answer(8080)
    init = web.pid()
    (monitor,) = run("pgrep", "--full", "^\\[lxc monitor\\] .* web$").split()
    os.kill(int(monitor), signal.SIGKILL)
    os.kill(init, signal.SIGKILL)
    assert_nothing_is_left()


def test_one_on_the_hosts_network_does_not_start(web: Container) -> None:
    web.configure("none", _OPTIONS)
    before = time.time()
    web.refused()
    assert "the host's own network namespace" in _told(before)


def test_options_that_make_no_sense_are_said(web: Container) -> None:
    web.configure("empty", ["--ingress", "*:80=http"])
    before = time.time()
    reason = "lxc start-host: a rule leads to the endpoint 'http', which there is not"
    assert reason in web.refused()
    assert reason in _told(before)
