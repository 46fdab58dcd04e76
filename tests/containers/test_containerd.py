# SPDX-License-Identifier: Apache-2.0
"""containerd, asked by what plays a kubelet for pods, and by its own ctr for containers."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from containers import images
from containers.annotations import grafted
from containers.bundle import HOOK
from containers.checks import assert_serves_and_fetches
from containers.cni import TABLE
from containers.containerd import Containerd, Kubelet, ctr
from containers.images import UNRULED, Program
from containers.left import assert_nothing_is_left
from containers.network import HOST, UPSTREAM, Peer
from service.place import cli_json, run

_GRAFT = {"type": "graft-cni", "capabilities": {"portMappings": True}, **TABLE}
_GATEWAY = "10.88.0.1"
_BRIDGE = {
    "type": "bridge",
    "bridge": "cni-test",
    "isGateway": True,
    "ipam": {"type": "host-local", "subnet": "10.88.0.0/16"},
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    made = Containerd(tmp_path_factory.mktemp("containerd"))
    made.add_network("alone", {**_GRAFT, "podAddresses": [HOST]})
    made.add_network("behind", _BRIDGE, _GRAFT)
    made.add_network("nowhere", _GRAFT)
    made.start()
    yield made
    made.end()
    run("ip", "link", "delete", _BRIDGE["bridge"], check=False)


@pytest.fixture(scope="module")
def program(engine: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Program:
    made = images.programs(UPSTREAM)["go"]
    engine.load(made, images.make(made.name, UPSTREAM, tmp_path_factory.mktemp("images")))
    return made


@pytest.fixture
def kubelet(engine: Containerd) -> Iterator[Kubelet]:
    made = Kubelet()
    yield made
    made.end()


def _links(process: int) -> set[str]:
    shown = run("nsenter", "--net", "--target", str(process), "ip", "-brief", "link")
    return {line.split()[0].partition("@")[0] for line in shown.splitlines()}


def _ask(address: str, port: int) -> str:
    connection = http.client.HTTPConnection(address, port, timeout=20)
    connection.request("GET", "/")
    return connection.getresponse().read().decode().strip().removeprefix("::ffff:")


def test_a_pod_without_an_interface(kubelet: Kubelet, program: Program, peer: Peer) -> None:
    pod = kubelet.run("web", "alone", 8080)
    process = pod.start(program)
    assert_serves_and_fetches(peer, 8080, process, "*")
    assert _links(process) == {"lo"}
    assert pod.address() == HOST
    assert _pods_of_graftd() == {"shop/web": pod.id}
    pod.stop()
    assert_nothing_is_left()


def test_a_pod_behind_a_bridge_outlives_containerd(
    engine: Containerd, kubelet: Kubelet, program: Program, peer: Peer
) -> None:
    pod = kubelet.run("web", "behind", 8080)
    process = pod.start(program)
    assert_serves_and_fetches(peer, 8080, process, "*")
    assert _ask(pod.address(), UNRULED) == _GATEWAY
    said = kubelet.refused("other", "alone", 8080)
    assert 'plugin type="graft-cni" failed (add): the host\'s port 0.0.0.0:8080/tcp is mapped already' in said
    engine.restart()
    assert_serves_and_fetches(peer, 8080, process, "*")
    pod.stop()
    assert_nothing_is_left()
    assert run("ip", "-brief", "link", "show", "master", _BRIDGE["bridge"]) == ""
    pod.remove()
    another = kubelet.run("web", "behind", 8080)
    assert _pods_of_graftd() == {"shop/web": another.id}


def _pods_of_graftd() -> dict[str, str]:
    notes = [one["annotations"] for one in cli_json("list-namespaces")]
    return {note["graft.pod"]: note["graft.container"] for note in notes}


def test_a_pod_without_any_address_is_refused(kubelet: Kubelet) -> None:
    """By containerd, which has graft-cni take back what it gave."""
    assert "failed to find network info for sandbox" in kubelet.refused("web", "nowhere", 8080)
    assert_nothing_is_left()


@pytest.fixture
def configuration(engine: Containerd, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What ctr has for a container of its namespace, with the hook."""
    root = tmp_path / "root"
    images.place_go(root, "/srv/web")
    made = json.loads(ctr("oci", "spec"))
    made["root"] = {"path": str(root)}
    made["process"]["args"] = list(images.programs(UPSTREAM)["go"].command)
    made["linux"]["cgroupsPath"] = "/web"
    made["hooks"] = {stage: [{"path": HOOK, "args": [HOOK, stage]}] for stage in ("createRuntime", "poststop")}
    yield made
    for kind, *force in (("task", "--force"), ("container",)):
        ctr(kind, "delete", *force, "web", "refused", check=False)


def test_ctr_runs_a_container_with_the_hook(configuration: dict[str, Any], tmp_path: Path, peer: Peer) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**configuration, "annotations": grafted(80)}))
    said = ctr("run", "--detach", "--config", file, "refused", check=False)
    assert "policy 'containers' does not allow" in said
    file.write_text(json.dumps({**configuration, "annotations": grafted(8080)}))
    ctr("run", "--detach", "--config", file, "web")
    (line,) = ctr("task", "list").splitlines()[1:]
    assert_serves_and_fetches(peer, 8080, int(line.split()[1]))
