# SPDX-License-Identifier: Apache-2.0
"""The lab's side of a guest's ports, its clock and its end, with a program in QEMU's place."""

import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.graftlab import guest as guest_module
from lab.graftlab.guest import Guest, Outcome
from lab.graftlab.qemu import Machine

# Finds its ports as QEMU would, by its arguments, and then plays the guest that the test wrote.
PLAYER = """
import os, re, socket, sys, time
words = " ".join(sys.argv)
handles = dict(re.findall(r"id=(port\\d+),fd=(\\d+)", words))
names = dict(re.findall(r"chardev=(port\\d+),name=(\\S+?),", words))
port = {name: socket.socket(fileno=int(handles[key])) for key, name in names.items()}
console = open(re.search(r"id=console,path=(\\S+)", words)[1], "a")
control, out, err = port["lab.control"], port["lab.stdout"], port["lab.stderr"]
"""


def play(
    folder: Path,
    script: str,
    *,
    timeout: float = 20,
    state: socket.socket | None = None,
    meanwhile: Callable[[Guest], None] = lambda _: None,
) -> tuple[Outcome, dict[str, bytes]]:
    """Run a guest that does what ``script`` says; return what became of it and what it wrote."""
    player = folder / "player.py"
    player.write_text(PLAYER + script)
    written = {"lab.stdout": b"", "lab.stderr": b""}

    def sink(name: str) -> guest_module.Sink:
        def take(data: bytes) -> None:
            written[name] += data

        return take

    machine = Machine(
        kernel=Path("/k"), initramfs=Path("/i"), disk=Path("/d"), cpus=1, memory_mib=1, console=folder / "console"
    )
    guest = Guest(
        [sys.executable, str(player)],
        machine,
        kvm=False,
        timeout=timeout,
        sinks={name: sink(name) for name in written},
        state=state,
    )
    meanwhile(guest)
    return guest.run(), written


def test_a_run_from_boot_to_end(tmp_path: Path) -> None:
    outcome, written = play(
        tmp_path,
        """
console.write("[1] Linux\\r\\n[2] graft\\n"); console.flush()
for line in (b"up\\n", b"st", b"art\\n"):
    control.send(line)
out.send(b"hello "); err.send(b"oh"); out.send(b"x" * 1000000)
control.send(b"exit 7\\nend\\n")
time.sleep(60)
""",
    )
    assert (outcome.up, outcome.started, outcome.status, outcome.ended) == (True, True, 7, True)
    assert not outcome.timed_out
    assert written == {"lab.stdout": b"hello " + b"x" * 1000000, "lab.stderr": b"oh"}
    assert outcome.console[:2] == ["[1] Linux", "[2] graft"]
    assert list(outcome.seconds) == ["up", "start", "exit", "end", "off"]


def test_a_guest_that_dies_ends_the_run_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    outcome, _ = play(tmp_path, "control.send(b'up\\n')\nsys.stderr.write('out of memory')\nsys.exit(1)")
    assert time.monotonic() - begun < 10
    assert (outcome.up, outcome.started, outcome.status, outcome.timed_out) == (True, False, None, False)
    assert "qemu: out of memory" in outcome.console


def test_a_hanging_command_ends_at_its_timeout_after_it_was_asked_for_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_module, "_SYSRQ_GRACE_SECONDS", 10.0)
    outcome, written = play(
        tmp_path,
        """
control.send(b"up\\nstart\\n"); out.send(b"before")
asked = control.recv(100)
console.write("asked: " + asked.decode()); console.flush()
""",
        timeout=1,
    )
    assert outcome.timed_out
    assert outcome.status is None
    assert "asked: sysrq w" in outcome.console
    assert written["lab.stdout"] == b"before"
    assert 1 <= outcome.seconds["off"] < 15


def test_a_guest_is_reset_by_a_signal_without_a_moment_to_tidy_up(tmp_path: Path) -> None:
    def reset(guest: Guest) -> None:
        signal.signal(signal.SIGALRM, lambda *_: guest.reset())
        signal.setitimer(signal.ITIMER_REAL, 5.0)

    outcome, written = play(
        tmp_path,
        f"""
import signal
signal.signal(signal.SIGTERM, lambda *_: open({str(tmp_path / "tidied")!r}, "w"))
control.send(b"up\\nstart\\n"); out.send(b"before")
time.sleep(60)
""",
        meanwhile=reset,
    )
    assert (outcome.reset, outcome.started, outcome.status, outcome.timed_out) == (True, True, None, False)
    assert 1 <= outcome.seconds["off"] < 15
    assert written["lab.stdout"] == b"before"
    assert not (tmp_path / "tidied").exists()


def test_the_state_disks_socket_is_qemus_alone(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    play(
        tmp_path,
        """
handle = int(re.search(r"driver=nbd,node-name=state,server.type=fd,server.str=(\\d+)", words)[1])
socket.socket(fileno=handle).sendall(b"disk")
control.send(b"up\\nstart\\nexit 0\\nend\\n")
time.sleep(60)
""",
        state=theirs,
    )
    ours.settimeout(10)
    assert ours.recv(10) == b"disk"
    assert ours.recv(10) == b""
    ours.close()


def test_a_boot_has_a_limit_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_module, "BOOT_SECONDS", 0.5)
    monkeypatch.setattr(guest_module, "_SYSRQ_GRACE_SECONDS", 0.0)
    outcome, _ = play(tmp_path, "time.sleep(60)", timeout=1000)
    assert (outcome.timed_out, outcome.up) == (True, False)


def test_what_init_could_not_do_is_kept(tmp_path: Path) -> None:
    outcome, _ = play(
        tmp_path, "control.send(b'up\\nfailed cannot mount tree\\nstart\\nexit 0\\nend\\n')\ntime.sleep(60)"
    )
    assert outcome.failure == "cannot mount tree"


def test_a_guest_that_ignores_its_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_module, "_TERM_SECONDS", 0.5)
    outcome, _ = play(
        tmp_path,
        """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
control.send(b"up\\nstart\\nexit 0\\nend\\n")
time.sleep(60)
""",
    )
    assert outcome.status == 0
    assert outcome.seconds["off"] < 15
