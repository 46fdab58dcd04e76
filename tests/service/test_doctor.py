# SPDX-License-Identifier: Apache-2.0
"""graftcli doctor names the cause of each prepared fault, and nothing where there is none."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from graftcli import exits
from graftd.kernel import Client as Kernel
from service.place import HOST, Place, cli, cli_json, cli_outcome, eventually, run, status_of
from service.units import SERVICE, SOCKETS, systemctl

_FREE = "10.9.0.99"  # no address of the host's
_SERVE = "import socket, time; server = socket.create_server(('', 80)); time.sleep(1000)"
_BIND = "import socket; socket.socket().bind(('', 81))"


class Diagnosis(NamedTuple):
    """What doctor says: its exit status, and the findings in order."""

    status: int
    found: list[dict[str, Any]]

    @property
    def codes(self) -> list[str]:
        return [one["code"] for one in self.found]

    def cause(self, code: str) -> str:
        return next(f"{one['subject']}: {one['cause']}" for one in self.found if one["code"] == code)


def doctor(words: str = "web") -> Diagnosis:
    status, said = cli_outcome(f"doctor {words} -o json")
    assert status in (exits.DONE, exits.FAULTY), said
    return Diagnosis(status, json.loads(said))


def names_the_cause(diagnosis: Diagnosis, code: str, words: str = "") -> None:
    """It comes first, as an error or a warning, and says which one it is about."""
    assert diagnosis.status == exits.FAULTY, diagnosis
    assert diagnosis.codes[0] == code, diagnosis
    assert words in diagnosis.cause(code)
    assert diagnosis.found[0]["remedy"]


def says_nothing() -> bool:
    return doctor() == Diagnosis(exits.DONE, [])


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """`web` with an endpoint and a rule, about which there is nothing to say."""
    made = Place()
    cli("add-namespace web --netns web")
    cli(f"-n web add-endpoint ep-http --address {HOST} --port 80")
    cli("-n web add-rule http --direction ingress --port 80 --endpoint ep-http")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _in_order(place: Place) -> Iterator[None]:
    """A fault is found because it was prepared, and no longer when it is mended."""
    yield
    eventually(says_nothing, "doctor has nothing to say once the fault is mended", 20)


@contextmanager
def program(*words: str, namespace: str = "web") -> Iterator[int]:
    """The pid of a program that runs in a namespace; "" is the host."""
    inside = ("ip", "netns", "exec", namespace) if namespace else ()
    running = subprocess.Popen([*inside, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        # What starts it executes it: the pid stays.
        wanted = next(word for word in words if word not in ("graft", "--"))
        eventually(
            lambda: Path(f"/proc/{running.pid}/cmdline").read_bytes().startswith(wanted.encode()), f"{wanted} runs"
        )
        yield running.pid
    finally:
        running.kill()
        running.wait()


@contextmanager
def service_down() -> Iterator[None]:
    """Without its sockets, which would start it."""
    systemctl("stop", *SOCKETS, SERVICE)
    try:
        yield
    finally:
        systemctl("start", *SOCKETS, SERVICE)


# What graftcli's own commands prepare, one or several

FAULTS = {
    "node-frozen": ("freeze --all --reason drill", "unfreeze --all", "drill"),
    "namespace-frozen": ("freeze web --reason drill", "unfreeze web", "drill"),
    "endpoint-missing": (
        "-n web add-rule r --direction ingress --port 81 --endpoint ep-none",
        "-n web delete-rule r",
        "endpoint ep-none, which is not there",
    ),
    "rule-family": (
        "-n web add-rule r --direction egress --network fd00::/8 --endpoint ep-http",
        "-n web delete-rule r",
        "its prefix fd00::/8 is no IPv4",
    ),
    "rule-port": (
        (
            f"-n web add-endpoint ep --address {HOST} --port 90-99; "
            "-n web add-rule r --direction ingress --port 81 --endpoint ep"
        ),
        "-n web delete-rule r; -n web delete-endpoint ep",
        "outside endpoint ep's 90-99",
    ),
    "address-missing": (
        f"-n web add-endpoint ep --address {_FREE} --port 81",
        "-n web delete-endpoint ep",
        f"the host has no address {_FREE}",
    ),
    "device-missing": (
        f"-n web add-endpoint ep --address {HOST} --port 81 --device nodev",
        "-n web delete-endpoint ep",
        "the host has no device nodev",
    ),
    "acl-denies-all": ("-n web add-acl-rule a --deny", "-n web delete-acl-rule a", "ACL rule a denies everything"),
}


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_in_what_was_asked_for(code: str) -> None:
    prepare, mend, words = FAULTS[code]
    for line in prepare.split("; "):
        cli(line)
    try:
        names_the_cause(doctor(), code, words)
    finally:
        for line in mend.split("; "):
            cli(line)


def test_its_exit_status_and_its_codes_as_a_shell_sees_them() -> None:
    assert status_of("graftcli", "doctor", "web", "-o", "name") == (0, "")
    cli("freeze web")
    try:
        assert status_of("graftcli", "doctor", "web", "-o", "name") == (8, "namespace-frozen\n")
    finally:
        cli("unfreeze web")


def test_a_name_that_is_nearly_right() -> None:
    names_the_cause(doctor("wbe"), "not-registered", "did you mean web?")


# What the machine has or lacks


def test_a_port_that_another_program_has() -> None:
    with socket.create_server((HOST, 80)):
        diagnosis = doctor()
    names_the_cause(diagnosis, "port-taken", f"(pid {_own_pid()}) has tcp port 80 of {HOST} already")
    assert diagnosis.codes == ["port-taken"]


def _own_pid() -> int:
    return int(Path("/proc/self").readlink().name)


def test_a_namespace_that_is_not_there_and_what_is_aimed_at_it() -> None:
    run("ip", "netns", "add", "other")
    cli("add-namespace other --netns other")
    cli(f"-n other add-endpoint ep --address {HOST} --port 80")
    cli("-n web add-endpoint ep-other --address 127.0.0.1 --port 81 --target-namespace other")
    try:
        run("ip", "netns", "delete", "other")
        eventually(lambda: "namespace-absent" in doctor("other").codes, "doctor sees that the namespace is gone")
        names_the_cause(doctor("other"), "namespace-absent", "there is no netns other")
        diagnosis = doctor()
        assert diagnosis.status == exits.FAULTY
        assert "target namespace other is not there" in diagnosis.cause("target-absent")
    finally:
        cli("-n web delete-endpoint ep-other")
        cli("delete-namespace other --force")


# Programs


def test_a_program_that_is_grafted() -> None:
    with program("graft", "--", "python3", "-c", _SERVE) as pid:
        eventually(lambda: bool(cli_json("-n web list-sockets")), "it is grafted")
        diagnosis = doctor(f"web --pid {pid}")
    assert (diagnosis.status, diagnosis.codes) == (exits.DONE, ["no-events"])


@pytest.mark.parametrize(
    ("code", "words", "namespace"),
    [
        ("not-through-graft", ("sleep", "1000"), "web"),
        ("static-program", ("busybox", "sleep", "1000"), "web"),
        ("wrong-namespace", ("graft", "--", "sleep", "1000"), "peer"),
        ("in-host-namespace", ("graft", "--", "sleep", "1000"), ""),
    ],
)
def test_a_program_that_is_not_grafted(code: str, words: tuple[str, ...], namespace: str) -> None:
    with program(*words, namespace=namespace) as pid:
        names_the_cause(doctor(f"web --pid {pid}"), code, f"(pid {pid})")


def test_a_program_that_was_refused() -> None:
    """In a namespace of its own, for doctor remembers it."""
    cli("add-namespace peer --netns peer")
    try:
        cli(f"-n peer add-endpoint ep --address {HOST} --port 82")
        cli("-n peer add-rule r --direction ingress --port 81 --endpoint ep-none")
        status, said = status_of("ip", "netns", "exec", "peer", "graft", "--", "python3", "-c", _BIND)
        assert status != 0, said
        diagnosis = doctor("peer")
        names_the_cause(diagnosis, "endpoint-missing", "ep-none")
        assert "81" in diagnosis.cause("denied-no-endpoint")
    finally:
        cli("delete-namespace peer --force")


# The service and the module


def test_a_user_who_may_not() -> None:
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    status, said = status_of(*nobody, "graftcli", "--target", "/run/graftd/graftd.sock", "doctor", "web", "-o", "json")
    names_the_cause(Diagnosis(status, json.loads(said)), "no-permission", "for the group 'graftd'")


def test_a_service_that_does_not_run_and_one_whose_tables_another_has() -> None:
    with service_down():
        names_the_cause(doctor(), "unreachable", "graftd is not running")
        kernel = Kernel.open()
        kernel.claim("another")
    with kernel:
        names_the_cause(doctor(), "tables-claimed", f"another (pid {_own_pid()})")


def test_a_module_that_is_not_loaded() -> None:
    run("modprobe", "-r", "graft")
    try:
        eventually(lambda: bool(doctor().codes), "graftd knows that the module is gone")
        names_the_cause(doctor(), "module-not-loaded")
        with service_down():
            codes = doctor().codes
            assert codes == ["unreachable", "module-not-loaded"]
    finally:
        run("modprobe", "graft")
