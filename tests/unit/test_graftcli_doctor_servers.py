# SPDX-License-Identifier: Apache-2.0
"""What doctor says of who serves: in a namespace's own stack, and at the ports of endpoints."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import ip_address

import grpc
import pytest

from graft_client import messages as m
from graftcli.doctor.finding import NOTE, WARNING
from graftcli.doctor.host import Server, Trial
from unit.doctor_bed import Fault, Machine, absent, codes, examined, filled, run, status
from unit.graftcli_bed import Bed


@pytest.fixture
def bed() -> Iterator[Bed]:
    with filled() as one:
        yield one


@pytest.fixture
def machine() -> Machine:
    return Machine()


def serving(protocol: int) -> Fault:
    """The endpoint has a live socket."""

    def cause(bed: Bed, machine: Machine) -> None:
        local = m.SocketAddress(address="10.0.0.2", port=80)
        name = "namespaces/web/sockets/5"
        bed.fake.sockets = [m.Socket(name=name, cookie=5, endpoint="ep-http", local=local, protocol=protocol)]

    return cause


def test_a_port_of_its_own_socket_is_no_fault(bed: Bed, machine: Machine) -> None:
    machine.trials["10.0.0.2", 80] = Trial(errno.EADDRINUSE)
    name = "namespaces/web/sockets/5"
    for address in ("10.0.0.2", "::ffff:10.0.0.2", "::"):  # one of IPv6 may have it, for both
        local = m.SocketAddress(address=address, port=80)
        bed.fake.sockets = [m.Socket(name=name, cookie=5, endpoint="ep-http", local=local, protocol=6)]
        assert codes(bed, machine) == []
    for wrong in (
        m.Socket(name="namespaces/shop/sockets/5", local=local, protocol=6),
        m.Socket(name=name, local=m.SocketAddress(address="10.0.0.3", port=80), protocol=6),
        m.Socket(name=name, local=local, protocol=17),
    ):
        bed.fake.sockets = [wrong]
        assert codes(bed, machine) == ["port-taken"]


def listens(address: str, port: int) -> Server:
    return Server(stream=True, address=ip_address(address), port=port, inode="7")


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.9"])
def test_what_is_served_natively(bed: Bed, machine: Machine, address: str) -> None:
    """In the namespace's own stack, where a rule would have grafted it."""
    machine.native["/run/netns/web"] = [listens("0.0.0.0", 81), listens(address, 80), listens("10.0.0.8", 80)]
    (found,) = examined(bed, machine)
    shown = "[::]" if address == "::" else address
    assert (found.level, found.code, found.subject) == (WARNING, "native-server", "web")
    assert found.cause.startswith(f"nginx (pid 12) listens natively at {shown}:80, which rule http (")
    assert "graftcli doctor web --pid PID" in found.remedy


@pytest.mark.parametrize(
    ("address", "prepare"),
    [
        ("10.0.0.9", run("-n web add-rule stay --direction ingress --network 10.0.0.9 --native")),
        ("10.0.0.9", run("-n web update-rule http --protocol udp")),
        ("10.0.0.9", run("-n web update-rule http --network 10.0.0.8")),
        ("fd00::9", run("version")),  # its endpoint is of IPv4
        ("10.0.0.9", absent()),
        ("10.0.0.9", status(netns_cookie=2)),
        ("::", serving(6)),
    ],
    ids=["native", "protocol", "network", "family", "absent", "elsewhere", "served"],
)
def test_what_is_to_be_native(bed: Bed, machine: Machine, address: str, prepare: Fault) -> None:
    machine.native["/run/netns/web"] = [listens(address, 80)]
    prepare(bed, machine)
    assert "native-server" not in codes(bed, machine)


def test_a_narrow_rule_goes_before_a_wide_one(bed: Bed, machine: Machine) -> None:
    run("-n web add-rule rest --direction ingress --native")(bed, machine)
    machine.native["/run/netns/web"] = [listens("0.0.0.0", 80)]
    assert codes(bed, machine) == ["native-server"]


def test_a_socket_of_another_protocol_serves_nobody(bed: Bed, machine: Machine) -> None:
    serving(17)(bed, machine)
    machine.native["/run/netns/web"] = [listens("0.0.0.0", 80)]
    assert codes(bed, machine) == ["native-server"]


def test_where_sockets_may_not_be_listed_no_server_is_called_native(bed: Bed, machine: Machine) -> None:
    machine.native["/run/netns/web"] = [listens("0.0.0.0", 80)]
    bed.fake.failures["ListSockets"] = [(grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED", "that is for admins")] * 9
    assert codes(bed, machine) == ["not-asked"]


def test_a_namespace_that_may_not_be_entered(bed: Bed, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Machine, path: str) -> list[Server]:
        raise PermissionError(errno.EPERM, path)

    monkeypatch.setattr(Machine, "servers", refused)
    (found,) = examined(bed, machine)
    assert (found.level, found.code, found.subject) == (NOTE, "not-entered", "web")


def test_another_port_that_an_endpoint_gives_is_no_fault(bed: Bed, machine: Machine) -> None:
    """As where port 8080 of the host's is a container's 80."""
    run("-n web update-rule http --port 8080")(bed, machine)
    assert codes(bed, machine) == []
