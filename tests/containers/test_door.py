# SPDX-License-Identifier: Apache-2.0
"""podman and the BPF door: an annotation is all that it takes, and no image is changed."""

from __future__ import annotations

import pytest

from containers import images, podman
from containers.annotations import grafted, options
from containers.checks import assert_serves_and_fetches
from containers.loaded import Images
from containers.network import HOST, Peer
from containers.podman import RUNTIMES
from service.place import cli_json


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["nginx", "go", "musl", "node"])
def test_an_unmodified_program_serves_and_fetches(runtime: str, name: str, loaded: Images, peer: Peer) -> None:
    try:
        podman.start(runtime, "web", loaded.podman(name), *options(grafted(8080)))
        assert_serves_and_fetches(peer, 8080, podman.pid("web"))
        (namespace,) = cli_json("list-namespaces")
        assert namespace["transparent"]
    finally:
        podman.remove("web")


def test_two_containers_talk_through_their_endpoints(loaded: Images, peer: Peer) -> None:
    loaded.podman("go")
    one, other = (images.programs(f"{HOST}:{port}")["go"] for port in (8082, 8081))
    try:
        podman.start("crun", "one", one, *options(grafted(8081)))
        podman.start("runc", "other", other, *options(grafted(8082)))
        for port in (8081, 8082):
            peer.await_answer(port)
        for port in (8081, 8082):
            assert peer.ask(port, "/fetch") == HOST
    finally:
        podman.remove("one", "other")


def test_a_container_without_annotations_is_left_alone(loaded: Images, peer: Peer) -> None:
    try:
        podman.start("crun", "web", loaded.podman("musl"))
        assert cli_json("list-namespaces") == []
        assert not peer.answered(images.PORT)
    finally:
        podman.remove("web")
