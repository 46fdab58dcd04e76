# SPDX-License-Identifier: Apache-2.0
"""podman and the preload library, which CDI brings in: where there is no BPF door, or it is not wanted."""

from __future__ import annotations

import pytest

from containers import podman
from containers.annotations import grafted, options
from containers.checks import assert_serves_and_fetches
from containers.loaded import Images
from containers.network import Peer
from containers.podman import RUNTIMES
from service.place import cli_json

_DEVICE = ("--device", "graft/container=preload")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["nginx", "node"])
def test_a_dynamically_linked_program_serves_and_fetches(runtime: str, name: str, loaded: Images, peer: Peer) -> None:
    asked = grafted(8080, transparent="false")
    try:
        podman.start(runtime, "web", loaded.podman(name), *_DEVICE, *options(asked))
        assert_serves_and_fetches(peer, 8080, podman.pid("web"))
        (namespace,) = cli_json("list-namespaces")
        assert not namespace.get("transparent")
    finally:
        podman.remove("web")
