# SPDX-License-Identifier: Apache-2.0
"""The program that af_graft(7) shows does what the page says of it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from socket import SOCK_STREAM

import pytest

import programs
from box import Box
from expect import receive
from tables import deny, ingress
from world import BOX4, HOST4


@pytest.fixture
def granted(box: Box) -> Box:
    box.endpoint("ep-echo", HOST4, 7007)
    box.endpoint("ep-out", HOST4)
    box.rules(ingress("ep-echo", port=7))
    return box


@contextmanager
def serving(box: Box, port: int, said: str) -> Iterator[None]:
    """The server in the container, which says so at first."""
    server = programs.start(box.ns, "echo", "server", port)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == f"server: {said}\n"
        yield
    finally:
        server.kill()
        server.communicate()


def ask(box: Box, *arguments: object) -> tuple[int, str, str]:
    """The client in the container: its status, and what it printed on either."""
    with box.ns:
        done = subprocess.run(
            [f"{programs.FOLDER}/echo", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
        )
    return done.returncode, done.stdout, done.stderr


def test_both_doors(granted: Box) -> None:
    with serving(granted, 7, "grafted through ep-echo"):
        answer = ask(granted, "client", "ep-out", HOST4, 7007, "hello")
        assert answer == (0, "client: grafted through ep-out\nhello\n", "")
        client = granted.client(granted.world.peer, HOST4, 7007)
        client.sendall(b"from elsewhere")
        assert receive(client) == b"from elsewhere"


def test_what_it_says_without_a_rule(granted: Box) -> None:
    with serving(granted, 8, "native"), granted.ns.open_socket(2, SOCK_STREAM) as client:
        client.connect((BOX4, 8))
        client.sendall(b"inside")
        assert receive(client) == b"inside"


def test_its_refusals(granted: Box) -> None:
    client = ask(granted, "client", "nothing", HOST4, 7007, "hello")
    assert client == (1, "", "echo: bind to nothing: Cannot assign requested address\n")
    granted.acl(deny("ep-echo"))
    assert ask(granted, "server", 7) == (1, "", "echo: bind to port 7: Permission denied\n")
