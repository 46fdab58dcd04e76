# SPDX-License-Identifier: Apache-2.0
"""docker, which has no hooks.d: a CDI device brings the hook."""

from __future__ import annotations

import pytest

from containers import docker
from containers.annotations import grafted, options
from containers.checks import assert_serves_and_fetches
from containers.loaded import Images
from containers.network import Peer

_DEVICE = ("--device", "graft/container=hook")


@pytest.mark.usefixtures("dockerd")
@pytest.mark.parametrize("name", ["nginx", "go"])
def test_an_unmodified_program_serves_and_fetches(name: str, loaded: Images, peer: Peer) -> None:
    try:
        docker.start("web", loaded.docker(name), *_DEVICE, *options(grafted(8080)))
        assert_serves_and_fetches(peer, 8080, docker.pid("web"))
    finally:
        docker.remove("web")
