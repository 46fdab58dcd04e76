# SPDX-License-Identifier: Apache-2.0
"""One guest from switch-on to its end: feeding its ports, keeping its time, taking its exit status.

The guest's init reports over the port lab.control, a line per event: up, start, exit STATUS, end, and
failed TEXT. The command's output has two ports of its own, so the kernel's console holds the kernel alone.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from .process import DIE_WITH_PARENT
from .qemu import Machine, arguments

# Emulated boots take 4 to 6 seconds on an idle machine, a minute with systemd on the debug kernel, and many times that
# on a busy one.
BOOT_SECONDS = 600.0
# After the command the debug kernel is scanned for leaks: half a minute, and many times that on a busy machine.
TIDY_SECONDS = 600.0
_SYSRQ_GRACE_SECONDS = 3.0
_TERM_SECONDS = 5.0

# Takes what a port of the guest wrote.
Sink = Callable[[bytes], None]


@dataclass
class Outcome:
    """What became of a guest."""

    console: list[str] = field(default_factory=list)
    up: bool = False  # the guest's init ran
    started: bool = False  # the command was started
    status: int | None = None  # the command's exit status
    ended: bool = False  # the guest tidied up after the command
    timed_out: bool = False
    reset: bool = False  # it was switched off in the middle of what it did, as it was to be
    failure: str = ""  # what init could not do
    seconds: dict[str, float] = field(default_factory=dict)  # event -> time since switch-on


class Guest:
    """A running QEMU. ``sinks`` take what the command writes, by port name.

    ``state`` is the socket of the state disk; QEMU alone has it afterwards.
    """

    def __init__(
        self,
        qemu: list[str],
        machine: Machine,
        *,
        kvm: bool,
        timeout: float,
        sinks: Mapping[str, Sink],
        terminal: socket.socket | None = None,
        state: socket.socket | None = None,
    ) -> None:
        self._timeout = timeout
        self._sinks = sinks
        self._outcome = Outcome()
        self._control_rest = b""
        self._selector = selectors.DefaultSelector()
        theirs: dict[str, socket.socket] = {}
        ours: dict[str, socket.socket] = {}
        for name in ("lab.control", *sinks):
            ours[name], theirs[name] = socket.socketpair()
            ours[name].settimeout(0)
            self._selector.register(ours[name], selectors.EVENT_READ, name)
        self._control = ours["lab.control"]
        machine = replace(
            machine,
            ports={name: end.fileno() for name, end in theirs.items()},
            terminal=terminal.fileno() if terminal else None,
            state=state.fileno() if state else None,
        )
        handles = [*machine.ports.values(), *(end.fileno() for end in (terminal, state) if end)]
        self._console = machine.console
        self._begun = time.monotonic()
        self._process = subprocess.Popen(
            [*DIE_WITH_PARENT, *qemu, *arguments(machine, kvm=kvm)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=handles,
            start_new_session=True,
        )
        for end in (*theirs.values(), *([state] if state else [])):
            end.close()

    def run(self) -> Outcome:
        """Wait for the guest's end, at the latest until its time is up, and return what became of it."""
        try:
            while not self._outcome.ended and self._process.poll() is None:
                left = self._deadline() - time.monotonic()
                if left <= 0:
                    self._outcome.timed_out = True
                    self._ask_for_blocked_tasks()
                    break
                self._pump(min(left, 1.0))
            self._drain()
        finally:
            self.stop()
        self._outcome.seconds["off"] = time.monotonic() - self._begun
        self._outcome.console = self._read_console()
        return self._outcome

    def reset(self) -> None:
        """Switch the guest off, at this instant. A signal's handler may call it while another method is under way."""
        self._outcome.reset = True
        self._process.kill()

    def stop(self) -> None:
        """End QEMU if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_TERM_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for key in list(self._selector.get_map().values()):
            self._forget(key.fileobj)

    def _deadline(self) -> float:
        seconds = self._outcome.seconds
        if "exit" in seconds:
            return self._begun + seconds["exit"] + TIDY_SECONDS
        if "start" in seconds:
            return self._begun + seconds["start"] + self._timeout
        return self._begun + BOOT_SECONDS

    def _pump(self, wait: float) -> bool:
        """Pass on what the ports hold; tell whether there was anything."""
        if not self._selector.get_map():
            time.sleep(min(wait, 0.1))
            return False
        busy = False
        for key, _ in self._selector.select(wait):
            try:
                data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
            except BlockingIOError:
                continue
            except ConnectionError:
                data = b""
            if not data:
                self._forget(key.fileobj)
                continue
            busy = True
            if key.data == "lab.control":
                self._on_control(data)
            else:
                self._sinks[key.data](data)
        return busy

    def _drain(self) -> None:
        while self._pump(0):
            pass

    def _forget(self, end: object) -> None:
        assert isinstance(end, socket.socket)
        self._selector.unregister(end)
        end.close()

    def _on_control(self, data: bytes) -> None:
        *lines, self._control_rest = (self._control_rest + data).split(b"\n")
        for line in lines:
            word, _, rest = line.decode(errors="replace").partition(" ")
            self._outcome.seconds[word] = time.monotonic() - self._begun
            if word == "up":
                self._outcome.up = True
            elif word == "start":
                self._outcome.started = True
            elif word == "exit":
                self._outcome.status = int(rest)
            elif word == "end":
                self._outcome.ended = True
            elif word == "failed":
                self._outcome.failure = rest

    def _ask_for_blocked_tasks(self) -> None:
        try:
            self._control.send(b"sysrq w\n")
        except OSError:
            return
        until = time.monotonic() + _SYSRQ_GRACE_SECONDS
        while self._process.poll() is None and (left := until - time.monotonic()) > 0:
            self._pump(left)

    def _read_console(self) -> list[str]:
        text = self._console.read_text(errors="replace") if self._console.exists() else ""
        assert self._process.stderr is not None
        with self._process.stderr as errors:
            said = errors.read().decode(errors="replace").splitlines()
        text += "".join(f"qemu: {line}\n" for line in said if "terminating on signal" not in line)
        return [line.rstrip("\r") for line in text.split("\n")]
