# SPDX-License-Identifier: Apache-2.0
"""What doctor says of containers that are well, and of those that are not; and the BPF door that is not there."""

from __future__ import annotations

from containers import images, podman
from containers.annotations import grafted, options
from containers.checks import assert_serves_and_fetches
from containers.loaded import Images
from containers.network import Peer
from service.place import cli_outcome, eventually
from service.units import systemctl

_DOOR = "graft-transparent.service"


def test_a_container_that_serves_another_port_is_well(loaded: Images, peer: Peer) -> None:
    try:
        podman.start("crun", "web", loaded.podman("go"), *options(grafted(8080)))
        assert_serves_and_fetches(peer, 8080, podman.pid("web"))
        status, said = cli_outcome("doctor")
        assert status == 0, said
    finally:
        podman.remove("web")


def test_a_program_that_stays_native_is_found(loaded: Images, peer: Peer) -> None:
    """A static one, in a container that is to preload."""
    try:
        podman.start("crun", "web", loaded.podman("go"), *options(grafted(8080, transparent="false")))
        pid = podman.pid("web")
        sentence = f"(pid {pid}) listens natively at [::]:{images.PORT}"
        eventually(lambda: sentence in cli_outcome("doctor")[1], "it is found")
        assert cli_outcome("doctor")[0] != 0
        assert "a static Go program" in cli_outcome(f"doctor --pid {pid}")[1]
        assert not peer.answered(8080)
    finally:
        podman.remove("web")


def test_a_container_whose_door_is_not_there_does_not_start(loaded: Images, peer: Peer) -> None:
    program = loaded.podman("musl")
    systemctl("stop", _DOOR)
    try:
        said = podman.refused("runc", "web", program, *options(grafted(8080)))
        assert "its programs would not be grafted: the BPF door's program is not loaded" in said
        assert "systemctl start graft-transparent" in said
    finally:
        systemctl("start", _DOOR)
        podman.remove("web")


def test_a_door_that_was_stopped_serves_who_was_there(loaded: Images, peer: Peer) -> None:
    try:
        podman.start("crun", "web", loaded.podman("go"), *options(grafted(8080)))
        assert_serves_and_fetches(peer, 8080, podman.pid("web"))
        systemctl("stop", _DOOR)
        systemctl("start", _DOOR)
        assert_serves_and_fetches(peer, 8080, podman.pid("web"))
    finally:
        systemctl("start", _DOOR)
        podman.remove("web")
