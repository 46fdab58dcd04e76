# SPDX-License-Identifier: Apache-2.0
"""What systemd is told, over a real socket, and the sockets that it hands over, in a process that was given them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from graftd import systemd
from graftd.systemd import Notifier, SystemdError, listen_sockets

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Stands where systemd would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(5)
        yield receiver


@pytest.fixture
def notifier(manager: socket.socket) -> Notifier:
    return Notifier.from_environment({"NOTIFY_SOCKET": manager.getsockname()})


def told(manager: socket.socket) -> list[str]:
    return manager.recv(65536).decode().split("\n")


def fill(notifier: Notifier) -> None:
    """Tell more than anybody's queue holds."""
    for _ in range(10_000):
        notifier.watchdog()


# Notifications


def test_systemd_is_told_of_each_state(manager: socket.socket, notifier: Notifier) -> None:
    notifier.ready("serving")
    assert told(manager) == ["READY=1", "STATUS=serving"]
    notifier.stopping()
    assert told(manager) == ["STOPPING=1"]
    notifier.watchdog()
    assert told(manager) == ["WATCHDOG=1"]


def test_a_reload_tells_when_it_began(manager: socket.socket, notifier: Notifier) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, second = told(manager)
    key, _, usec = second.partition("=")
    assert (first, key) == ("RELOADING=1", "MONOTONIC_USEC")
    assert before <= int(usec) <= after


def test_a_status_is_one_line_and_assigns_nothing_else(manager: socket.socket, notifier: Notifier) -> None:
    notifier.status("one\nMAINPID=1\r\ntwo \udc80")
    assert told(manager) == ["STATUS=one MAINPID=1 two \\udc80"]


def test_an_abstract_address_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0graftd-test-{os.getpid()}")
        receiver.settimeout(5)
        Notifier(f"@graftd-test-{os.getpid()}").watchdog()
        assert told(receiver) == ["WATCHDOG=1"]


def test_without_systemd_nothing_is_said() -> None:
    notifier = Notifier.from_environment({})
    notifier.ready("serving")
    notifier.watchdog()
    assert notifier.watchdog_seconds is None


def test_a_manager_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemdError, match=r"cannot be told READY at .*/gone \(No such file.*Type=notify"):
        Notifier(f"{tmp_path}/gone").ready("serving")


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(SystemdError, match=r"NOTIFY_SOCKET is 'vsock:2:1'.*an absolute path"):
        Notifier.from_environment({"NOTIFY_SOCKET": "vsock:2:1"})


def test_a_manager_that_reads_nothing_is_waited_for_within_limits(
    manager: socket.socket, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_SEND_SECONDS", 0.05)
    begun = time.monotonic()
    with pytest.raises(SystemdError, match=r"cannot be told WATCHDOG .*timed out"):
        fill(notifier)
    assert time.monotonic() - begun < 10
    manager.recv(64)
    notifier.watchdog()  # there is room again


# The watchdog's interval


def test_the_watchdog_of_this_process_counts_and_no_other() -> None:
    def seconds(**environ: str) -> float | None:
        return Notifier.from_environment(environ).watchdog_seconds

    assert seconds(WATCHDOG_USEC="30000000") == 30
    assert seconds(WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid())) == 30
    assert seconds(WATCHDOG_USEC="30000000", WATCHDOG_PID="1") is None
    assert seconds(WATCHDOG_PID=str(os.getpid())) is None
    with pytest.raises(SystemdError, match="WATCHDOG_USEC is '-1' in the environment; systemd sets a whole number"):
        seconds(WATCHDOG_USEC="-1")


# Sockets that are handed over

CHILD = """
import os, sys
from graftd.systemd import SystemdError, listen_sockets
os.environ["LISTEN_PID"] = os.environ.get("LISTEN_PID") or str(os.getpid())
try:
    found = listen_sockets()
except SystemdError as error:
    sys.exit(str(error))
for name, one in found:
    print(name, one.family.name, one.getsockname(), os.get_inheritable(one.fileno()))
print(sorted(key for key in os.environ if key.startswith("LISTEN_")))
"""


def handed(files: list[int], **environ: str) -> subprocess.CompletedProcess[str]:
    """What a process says that has `files` as its descriptors 3 and on, as systemd leaves them."""
    # Numbers far away first: a descriptor that is to become 3 may be 4 now.
    moves = [f"{100 + place}<&{fd}" for place, fd in enumerate(files)]
    moves += [f"{3 + place}<&{100 + place} {100 + place}<&-" for place in range(len(files))]
    script = f'exec {" ".join(moves)}\nexec "$0" -c "$1"'
    return subprocess.run(
        ["bash", "-c", script, sys.executable, CHILD],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environ},
        pass_fds=files,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[list[socket.socket]]:
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_INET) as other:
        one.bind(str(tmp_path / "admin.sock"))
        other.bind(("127.0.0.1", 0))
        for each in (one, other):
            each.listen()
        yield [one, other]


def test_sockets_come_with_their_names_and_in_order(listening: list[socket.socket]) -> None:
    files = [one.fileno() for one in listening]
    done = handed(files, LISTEN_FDS="2", LISTEN_FDNAMES="admin:tls")
    assert (done.stderr, done.stdout.splitlines()) == (
        "",
        [
            f"admin AF_UNIX {listening[0].getsockname()} False",
            f"tls AF_INET {listening[1].getsockname()} False",
            "[]",
        ],
    )


def test_sockets_without_names_are_unknown(listening: list[socket.socket]) -> None:
    done = handed([listening[0].fileno()], LISTEN_FDS="1")
    assert done.stdout.startswith("unknown AF_UNIX"), done.stderr


def test_what_was_meant_for_another_process_is_left_alone(listening: list[socket.socket]) -> None:
    done = handed([listening[0].fileno()], LISTEN_FDS="1", LISTEN_PID="1")
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_without_activation_there_are_no_sockets() -> None:
    assert listen_sockets({}) == []


def test_names_that_do_not_go_with_the_sockets_are_refused(listening: list[socket.socket]) -> None:
    done = handed([listening[0].fileno()], LISTEN_FDS="1", LISTEN_FDNAMES="a:b")
    assert "1 descriptors and 2 names" in done.stderr


def test_what_does_not_listen_is_refused(tmp_path: Path) -> None:
    right = "graftd takes listening stream sockets (ListenStream=, Accept=no)"
    with (tmp_path / "file").open("w") as file:
        done = handed([file.fileno()], LISTEN_FDS="1", LISTEN_FDNAMES="admin")
        assert f"descriptor 3 ('admin') that systemd handed over is no socket: {right}" in done.stderr
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_UNIX, kind) as idle:
            done = handed([idle.fileno()], LISTEN_FDS="1", LISTEN_FDNAMES="admin")
            assert f"socket 3 ('admin') that systemd handed over does not listen: {right}" in done.stderr


def test_a_descriptor_that_is_not_open_is_refused() -> None:
    done = handed([], LISTEN_FDS="1", LISTEN_FDNAMES="admin")
    assert "descriptor 3 ('admin') was announced by LISTEN_FDS and is not open" in done.stderr
