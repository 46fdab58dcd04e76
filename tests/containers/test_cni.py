# SPDX-License-Identifier: Apache-2.0
"""graft-cni by cnitool: alone, where a container has lo and nothing else, and behind plugins that make interfaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from containers.checks import assert_serves_and_fetches
from containers.cni import Container, Network
from containers.images import PORT
from containers.left import assert_nothing_is_left, left
from containers.network import HOST, Peer
from service.place import cli, cli_json, run
from service.units import SERVICE, SOCKETS, systemctl

_ADDRESSES = {"type": "host-local", "subnet": "10.88.0.0/16"}
_BRIDGE = {"type": "bridge", "bridge": "cni-test", "ipam": _ADDRESSES}
_PTP = {"type": "ptp", "ipam": _ADDRESSES}
_LINKS = Path("/run/systemd/network/10-veth.link")


@pytest.fixture
def one() -> Iterator[Container]:
    made = Container("one")
    yield made
    made.end()


@pytest.fixture
def other() -> Iterator[Container]:
    made = Container("other")
    yield made
    made.end()


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_alone_it_takes_no_interface(version: str, tmp_path: Path, one: Container, peer: Peer) -> None:
    network = Network(tmp_path, "alone", version=version)
    result = network.good("add", one, 8080)
    assert [interface["name"] for interface in result["interfaces"]] == ["lo"]
    assert not result.get("ips")
    assert one.links() == {"lo"}
    assert_serves_and_fetches(peer, 8080, one.serve())
    network.good("check", one, 8080)
    network.good("del", one, 8080)
    assert left() == []
    network.good("del", one, 8080)


@pytest.fixture
def _no_bridge() -> Iterator[None]:
    """The plugin leaves its bridge to the next container. udev gives no veth another address: CHECK would find it."""
    _LINKS.parent.mkdir(exist_ok=True)
    _LINKS.write_text("[Match]\nDriver=veth\n\n[Link]\nMACAddressPolicy=none\n")
    run("udevadm", "control", "--reload")
    yield
    _LINKS.unlink()
    run("udevadm", "control", "--reload")
    run("ip", "link", "delete", _BRIDGE["bridge"], check=False)


@pytest.mark.usefixtures("_no_bridge")
@pytest.mark.parametrize("before", [_BRIDGE, _PTP], ids=["bridge", "ptp"])
def test_behind_a_plugin_its_result_goes_on(
    before: dict[str, object], tmp_path: Path, one: Container, peer: Peer
) -> None:
    # Debian 13 has the plugins of version 1.0.0 of the specification.
    network = Network(tmp_path, f"behind-{before['type']}", before, version="1.0.0")
    result = network.good("add", one, 8080)
    assert [address["address"].startswith("10.88.") for address in result["ips"]] == [True]
    assert "eth0" in one.links()
    assert_serves_and_fetches(peer, 8080, one.serve())
    network.good("check", one, 8080)
    network.good("del", one, 8080)
    assert "eth0" not in one.links()
    network.good("del", one, 8080)


def test_a_namespace_that_is_gone_is_deleted(tmp_path: Path, one: Container) -> None:
    network = Network(tmp_path, "gone")
    network.good("add", one, 8080)
    one.end()
    network.good("del", one, 8080)
    assert_nothing_is_left()


def test_two_containers_talk_through_their_endpoints(
    tmp_path: Path, one: Container, other: Container, peer: Peer
) -> None:
    network = Network(tmp_path, "pair")
    for container, port in ((one, 8081), (other, 8082)):
        network.good("add", container, port)
    one.serve(f"{HOST}:8082")
    other.serve(f"{HOST}:8081")
    for port in (8081, 8082):
        peer.await_answer(port)
    for port in (8081, 8082):
        assert peer.ask(port, "/fetch") == HOST
    for container in (one, other):
        network.good("del", container)


def test_a_port_that_another_container_has_is_refused(tmp_path: Path, one: Container, other: Container) -> None:
    network = Network(tmp_path, "taken")
    network.good("add", one, 8080)
    status, _, said = network.call("add", other, 8080)
    assert status
    assert f"{HOST}:8080" in said
    assert len(cli_json("list-namespaces")) == 1
    network.good("del", other, 8080)
    network.good("del", one, 8080)


def test_gc_takes_away_what_no_attachment_is_valid_for(tmp_path: Path, one: Container, other: Container) -> None:
    network, elsewhere = Network(tmp_path, "swept"), Network(tmp_path, "elsewhere")
    network.good("add", one, 8081)
    elsewhere.good("add", other, 8082)
    network.good("gc", one)
    (namespace,) = cli_json("list-namespaces")
    assert namespace["labels"]["graft.network"] == "elsewhere"
    elsewhere.good("del", other)


def test_status_fails_while_graftd_cannot_serve(tmp_path: Path, one: Container) -> None:
    network = Network(tmp_path, "asked")
    network.good("status", one)
    cli("freeze --all --reason drill")
    status, _, said = network.call("status", one)
    cli("unfreeze --all")
    assert status
    assert "drill" in said
    systemctl("stop", *SOCKETS, SERVICE)
    status, _, said = network.call("status", one)
    assert status
    assert "systemctl start graftd" in said


def test_while_graftd_is_away_add_fails_and_del_does_not(tmp_path: Path, one: Container) -> None:
    network = Network(tmp_path, "away")
    network.good("add", one, 8080)
    systemctl("stop", *SOCKETS, SERVICE)
    network.good("del", one, 8080)
    status, _, said = network.call("add", one, 8080)
    assert status
    assert "systemctl start graftd" in said
    one.end()


def test_arguments_name_endpoints_and_rules(tmp_path: Path, one: Container, peer: Peer) -> None:
    network = Network(tmp_path, "told")
    arguments = f"GRAFT_ENDPOINT=ep-http->{HOST}:8080/tcp;GRAFT_INGRESS=*:{PORT}->ep-http"
    status, _, said = network.call("add", one, arguments=arguments)
    assert status == 0, said
    assert_serves_and_fetches(peer, 8080, one.serve())
    network.good("del", one)


def test_arguments_that_make_no_sense_are_said(tmp_path: Path, one: Container) -> None:
    network = Network(tmp_path, "wrong")
    status, _, said = network.call("add", one, arguments="GRAFT_ENDPOINT=ep-http")
    assert status
    assert "GRAFT_ENDPOINT is 'ep-http'" in said
