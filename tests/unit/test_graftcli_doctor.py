# SPDX-License-Identifier: Apache-2.0
"""doctor names the cause of each prepared fault, and of a healthy node says that nothing is wrong."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import grpc
import pytest

from graft_client import messages as m
from graftcli import doctor, exits
from graftcli.cmdline import parse
from graftcli.doctor.finding import ERROR, NOTE
from graftcli.doctor.host import Module, Process, Trial
from unit.doctor_bed import PROCESS, Fault, Machine, absent, codes, examined, filled, run, status
from unit.graftcli_bed import Bed


@pytest.fixture
def bed() -> Iterator[Bed]:
    with filled() as one:
        yield one


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_a_healthy_node_has_no_findings(bed: Bed, machine: Machine) -> None:
    assert examined(bed, machine) == []
    assert examined(bed, machine, "") == []
    assert (None, "10.0.0.2", 80, True) in machine.tried
    assert (None, "fd00::2", 0, False) in machine.tried


def test_no_module_waits_on_another_machine(bed: Bed, machine: Machine) -> None:
    installed("1.2.4", "CD34")(bed, machine)
    machine.release += "-other"
    assert examined(bed, machine) == []


def installed(version: str, source: str) -> Fault:
    def cause(bed: Bed, machine: Machine) -> None:
        machine.release = bed.fake.status.kernel.kernel_release
        machine.installed = Module(version, source)

    return cause


def condition(reason: str) -> Fault:
    def cause(bed: Bed, machine: Machine) -> None:
        bed.fake.status.conditions.add(reason=reason, message=f"the sentence of {reason}")

    return cause


def trial(address: str, port: int, found: Trial) -> Fault:
    def cause(bed: Bed, machine: Machine) -> None:
        machine.trials[address, port] = found

    return cause


def sync(state: m.SyncState) -> Fault:
    def cause(bed: Bed, machine: Machine) -> None:
        bed.fake.endpoints["namespaces/web/endpoints/ep-http"].sync.CopyFrom(m.Sync(state=state, detail="no device"))

    return cause


def table(**fields: int) -> Fault:
    def cause(bed: Bed, machine: Machine) -> None:
        bed.fake.tables = [m.Table(netns_cookie=4096, namespace="namespaces/web", **fields)]  # type: ignore[arg-type]

    return cause


def counted(bed: Bed, machine: Machine) -> None:
    counters = bed.fake.endpoints["namespaces/web/endpoints/ep-http"].counters
    counters.active = 5
    bed.fake.endpoints["namespaces/web/endpoints/ep-http"].max_sockets = 5


def door(state: m.TransparentState) -> Fault:
    def cause(bed: Bed, machine: Machine) -> None:
        bed.fake.namespaces["namespaces/web"].transparent = True
        bed.fake.status.transparent.CopyFrom(m.TransparentStatus(state=state, detail=f"the sentence of {state}"))

    return cause


FAULTS: dict[str, tuple[Fault, str, str, str]] = {
    # what was prepared: code, words of the cause, words of the remedy
    "module": (
        status(kernel__module_state=m.MODULE_STATE_NOT_LOADED, kernel__kernel_release="6.1.0-1"),
        "module-not-loaded",
        "the module graft is not loaded",
        "modprobe graft; where it is not found, install the module for kernel 6.1.0-1",
    ),
    "claimed": (
        status(kernel__module_state=m.MODULE_STATE_REFUSING, kernel__claimant="other", kernel__claimant_pid=99),
        "tables-claimed",
        "claimed by other (pid 99)",
        "kill 99",
    ),
    "refusing": (
        status(kernel__module_state=m.MODULE_STATE_REFUSING),
        "module-refuses",
        "does not let graftd write",
        "CAP_NET_ADMIN",
    ),
    "version": (
        status(kernel__module_version="0.9"),
        "module-version",
        "of version 0.9, graftd of 1.2.3",
        "rmmod graft",
    ),
    "newer module": (
        installed("1.2.4", "CD34"),
        "module-waits",
        "version 1.2.3 is loaded, and version 1.2.4 is installed and waits",
        "restart the machine; or end",
    ),
    "other build": (installed("1.2.3", "CD34"), "module-waits", "another build of it is installed", "rmmod graft"),
    "full": (condition("STORE_FULL"), "store-full", "the sentence of STORE_FULL", "free some space"),
    "read-only": (condition("STORE_READ_ONLY"), "store-read-only", "the sentence of", "mount the disk"),
    "damaged": (condition("STORE_DAMAGED"), "store-damaged", "the sentence of", "graftcli restore FILE"),
    "node frozen": (run("freeze --all --reason tests"), "node-frozen", "because: tests", "graftcli unfreeze --all"),
    "frozen": (run("freeze web --reason x"), "namespace-frozen", "because: x", "graftcli unfreeze web"),
    "absent": (absent(), "namespace-absent", "there is no netns web", "ip netns add web"),
    "no unit": (absent(systemd_unit="w.service"), "namespace-absent", "unit w.service does not run", "systemctl start"),
    "no container": (absent(container_id="abc"), "namespace-absent", "no container abc runs", "start it"),
    "no path": (absent(path="/run/x"), "namespace-absent", "/run/x is no namespace file", "--path PATH"),
    "path of a user": (
        absent(path="/run/user/1000/netns/x"),
        "namespace-absent",
        "/run/user/1000/netns/x is no namespace file",
        "graftd's unit hides /run/user from it: systemctl edit graftd, [Service] ProtectHome=no, and restart it",
    ),
    "path by another name": (
        absent(path="/var/run/user/1/x"),
        "namespace-absent",
        "/var/run/user/1/x",
        "ProtectHome=no",
    ),
    "path of root": (absent(path="/root/x"), "namespace-absent", "/root/x is no", "hides /root from it"),
    "temporary path": (absent(path="/var/tmp/x"), "namespace-absent", "/var/tmp/x is no", "PrivateTmp=no"),
    "no process": (
        absent(process=m.ProcessSelector(pid=7)),
        "namespace-absent",
        "process 7, by which it was found, has ended",
        "update-namespace web --pid PID",
    ),
    "door not loaded": (
        door(m.TRANSPARENT_STATE_NOT_LOADED),
        "transparent-not-loaded",
        "web would have it, and its programs are grafted only if libgraft.so is preloaded: the sentence of 2",
        "systemctl enable --now graft-transparent; or start the programs by graft(1)",
    ),
    "door that cannot be": (
        door(m.TRANSPARENT_STATE_KERNEL_CANNOT),
        "transparent-kernel-cannot",
        "the sentence of 3",
        "boot a kernel from 6.6 on with MPTCP",
    ),
    "door that fails": (
        door(m.TRANSPARENT_STATE_FAILED),
        "transparent-failed",
        "the sentence of 4",
        "systemctl restart graft-transparent",
    ),
    "door and io_uring": (
        door(m.TRANSPARENT_STATE_SERVED),
        "transparent-io-uring",
        "sockets that a program makes by io_uring do not pass it",
        "socket(2)",
    ),
    "refused": (sync(m.SYNC_STATE_FAILED), "kernel-refuses", "the kernel refuses it: no device", "graftcli reconcile"),
    "pending": (sync(m.SYNC_STATE_PENDING), "pending", "it is not in the kernel yet: no device", "graftcli reconcile"),
    "sockets": (table(sockets=9, max_sockets=9), "max-sockets-reached", "9 of at most 9", "--max-sockets N"),
    "ephemeral": (table(ephemeral=9, max_ephemeral=9), "max-ephemeral-reached", "9 of at most 9", "--max-ephemeral N"),
    "endpoint full": (counted, "max-sockets-reached", "5 of at most 5 live sockets", "update-endpoint ep-http"),
    "no endpoint": (
        run("-n web delete-endpoint ep-http"),
        "endpoint-missing",
        "names endpoint ep-http, which is not there",
        "add-endpoint ep-http",
    ),
    "family": (
        run("-n web update-rule http --network fd00::/8"),
        "rule-family",
        "its prefix fd00::/8 is no IPv4",
        "update-rule http --endpoint NAME",
    ),
    "unix": (run("-n web update-endpoint ep-http --path @x"), "rule-family", "is of type unix", "update-rule http"),
    "protocol": (
        run("-n web update-rule http --protocol udp"),
        "rule-protocol",
        "it matches udp alone, and endpoint ep-http serves tcp",
        "--protocol both",
    ),
    "port": (
        run("-n web update-endpoint ep-http --port 80-90", "-n web update-rule http --port 8080"),
        "rule-port",
        "matches port 8080, which is outside endpoint ep-http's 80-90",
        "update-rule http --port 80-90",
    ),
    "acl": (
        run("-n web add-acl-rule d --deny --endpoint ep-http"),
        "acl-denies-all",
        "ACL rule d denies everything through it (deny endpoint ep-http)",
        "delete-acl-rule d",
    ),
    "acl dead": (
        run("-n web add-acl-rule d --deny --endpoint ep-out --verb connect --uid 5 --network fd00:1::/80"),
        "acl-dead",
        "a1 (allow endpoint ep-out verb connect uid 0-99 to fd00:1::/64) matches all of it before",
        "move-acl-rule d --index 1",
    ),
    "acl name": (
        run("-n web add-acl-rule --allow --endpoint x"),
        "acl-endpoint-missing",
        "endpoint x",
        "--endpoint NAME",
    ),
    "address": (
        trial("10.0.0.2", 80, Trial(errno.EADDRNOTAVAIL)),
        "address-missing",
        "the host has no address 10.0.0.2",
        "ip addr add 10.0.0.2 dev DEVICE",
    ),
    "device": (
        trial("10.0.0.2", 80, Trial(errno.ENODEV, "eth9")),
        "device-missing",
        "the host has no device eth9",
        "make the device",
    ),
    "taken": (
        trial("10.0.0.2", 80, Trial(errno.EADDRINUSE)),
        "port-taken",
        "nginx (pid 12) has tcp port 80 of 10.0.0.2 already",
        "end that program",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults(bed: Bed, machine: Machine, name: str) -> None:
    prepare, code, cause, remedy = FAULTS[name]
    prepare(bed, machine)
    found = [one for one in examined(bed, machine) if one.code == code]
    assert found, codes(bed, machine)
    assert cause in found[0].cause
    assert remedy in found[0].remedy


def test_a_path_that_is_not_hidden(bed: Bed, machine: Machine) -> None:
    absent(path="/run/users/x")(bed, machine)
    assert "hides" not in next(one.remedy for one in examined(bed, machine) if one.code == "namespace-absent")


def test_graftd_that_does_not_run(bed: Bed, machine: Machine) -> None:
    bed.stop()
    machine.loaded = False
    found = examined(bed, machine)
    assert [one.code for one in found] == ["unreachable", "module-not-loaded"]
    assert "systemctl start graftd" in found[0].remedy


def test_who_may_not_ask_is_told(bed: Bed, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        socket.socket, "connect", lambda self, path: (_ for _ in ()).throw(PermissionError(13, "denied"))
    )
    assert codes(bed, machine) == ["no-permission"]


def test_a_namespace_that_is_not_registered(bed: Bed, machine: Machine) -> None:
    (found,) = examined(bed, machine, "wbe")
    assert found.code == "not-registered"
    assert "did you mean web?" in found.cause
    machine.names.add("other")
    assert examined(bed, machine, "other")[0].remedy == "graftcli add-namespace other --netns other"
    hint = m.NamespaceHint(iproute2_name="other")
    bed.fake.tables = [m.Table(netns_cookie=5, hints=[hint], endpoints=2)]
    assert "graftcli import other --netns other" in examined(bed, machine, "other")[0].remedy
    assert [(one.level, one.code) for one in examined(bed, machine, "")] == [(NOTE, "table-unregistered")]


def test_an_empty_table(bed: Bed, machine: Machine) -> None:
    bed.run("add-namespace box --netns box")
    assert codes(bed, machine, "box") == ["no-endpoints"]
    bed.run("-n box add-endpoint e --address 10.0.0.2 --port 80")
    assert codes(bed, machine, "box") == ["no-rules"]


def test_a_table_that_may_not_be_asked_for(bed: Bed, machine: Machine) -> None:
    refusal = (grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED", "that is for admins")
    bed.fake.failures["ExportNamespace"] = [refusal] * 2
    (found,) = examined(bed, machine)
    assert (found.level, found.code, found.subject) == (NOTE, "not-asked", "the table of namespaces/web")
    assert found.cause == "graftd does not tell: that is for admins"
    # What the namespace itself says is all that is known then.
    bed.fake.namespaces["namespaces/web"].sync.CopyFrom(m.Sync(state=m.SYNC_STATE_FAILED, detail="no memory"))
    refused, _ = examined(bed, machine)
    assert (refused.code, refused.subject) == ("kernel-refuses", "web")


def test_where_nobody_can_look(bed: Bed, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> Trial:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(machine, "try_bind", forbidden)
    assert codes(bed, machine) == ["not-entered", "not-entered"]
    bed.fake.status.netns_cookie = 5
    assert codes(bed, machine) == ["elsewhere"]


def test_a_target_namespace_is_looked_at_there(bed: Bed, machine: Machine) -> None:
    bed.run("add-namespace edge --netns edge")
    bed.run("-n web update-endpoint ep-http --target-namespace edge")
    assert codes(bed, machine) == []
    assert ("/run/netns/edge", "10.0.0.2", 80, True) in machine.tried
    bed.fake.namespaces["namespaces/edge"].state = m.NAMESPACE_STATE_ABSENT
    assert codes(bed, machine) == ["target-absent"]


@pytest.mark.parametrize(
    ("rules", "dead"),
    [
        (["--port 80 --deny", "--port 80 --network 10.0.0.0/8 --deny"], []),
        (["--port 1-100 --deny", "--port 1-50 --deny", "--port 51-100 --native"], [0]),
        (["--port 1-100 --deny", "--port 1-50 --deny", "--port 52-100 --native"], []),
        (["--port 1-100 --protocol tcp --deny", "--port 1-50 --deny", "--port 51-100 --protocol udp --native"], []),
        (["--network 10.0.0.0/8 --deny", "--network 10.0.0.0/9 --deny", "--network 10.128.0.0/9 --native"], [0]),
        (
            ["--network 10.0.0.0/8 --deny", "--network 10.0.0.0/9 --deny", "--network 10.128.0.0/9 --port 5 --native"],
            [],
        ),
        (["--deny", "--network 0.0.0.0/0 --native"], []),
        (["--deny", "--network 0.0.0.0/0 --native", "--network ::/0 --native"], [0]),
        (["--port 80 --deny --network 10.0.0.1", "--port 80 --deny --network 10.0.0.2"], []),
    ],
)
def test_rules_that_can_never_match(bed: Bed, machine: Machine, rules: list[str], dead: list[int]) -> None:
    bed.run("-n web delete-rule http")
    for number, words in enumerate(rules):
        assert bed.run(f"-n web add-rule r{number} --direction ingress {words}").status == 0
    found = [one.subject for one in examined(bed, machine) if one.code == "rule-dead"]
    assert found == [f"web rule r{number}" for number in dead]


@pytest.mark.parametrize("state", [m.TRANSPARENT_STATE_SERVED, m.TRANSPARENT_STATE_NOT_LOADED])
def test_a_static_program_behind_the_bpf_door(bed: Bed, machine: Machine, state: m.TransparentState) -> None:
    machine.processes[7] = PROCESS._replace(has_library=False, is_static=True, is_go=True)
    door(state)(bed, machine)
    served = state == m.TRANSPARENT_STATE_SERVED
    assert ("static-program" in codes(bed, machine, pid=7)) is not served


def test_nobody_asks_for_the_bpf_door(bed: Bed, machine: Machine) -> None:
    bed.fake.status.transparent.state = m.TRANSPARENT_STATE_NOT_LOADED
    assert examined(bed, machine) == []


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (PROCESS, ["no-events"]),
        (None, ["no-process"]),
        (PROCESS._replace(has_library=False), ["not-through-graft"]),
        (PROCESS._replace(has_library=False, is_static=True), ["static-program"]),
        (PROCESS._replace(has_library=False, is_static=True, is_go=True), ["static-program"]),
        (PROCESS._replace(has_library=False, is_go=True), ["go-program"]),
        (PROCESS._replace(has_library=False, is_privileged=True), ["setuid-program"]),
        (PROCESS._replace(cookie=1), ["in-host-namespace", "no-events"]),
        (PROCESS._replace(cookie=77), ["wrong-namespace", "no-events"]),
        (PROCESS._replace(can_configure=True), ["capable", "no-events"]),
        (PROCESS._replace(cookie=None, has_library=None), ["not-root", "not-root"]),
    ],
)
def test_processes(bed: Bed, machine: Machine, process: Process | None, expected: list[str]) -> None:
    if process:
        machine.processes[12] = process
    assert codes(bed, machine, "web", 12) == expected


def test_the_command(
    bed: Bed, machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from graftcli.session import Session

    monkeypatch.setenv("GRAFTD_TARGET", bed.target)

    def command(line: str) -> tuple[int, str]:
        args = parse(line.split())
        with Session(args) as session:
            return doctor.run(session, args, machine), capsys.readouterr().out

    assert command("doctor web") == (exits.DONE, "nothing wrong was found\n")
    bed.run("freeze web")
    assert command("doctor") == (
        exits.FAULTY,
        "error: web: new grafts are denied\n    graftcli unfreeze web\n1 fault found\n",
    )
    status, out = command("doctor web --json")
    assert status == exits.FAULTY
    assert f'"level": "{ERROR}"' in out
    assert command("doctor web -o name") == (exits.FAULTY, "namespace-frozen\n")
    bed.run("unfreeze web")
    assert command("doctor -n web --pid 4000")[1].startswith("error: pid 4000: there is no such process")
