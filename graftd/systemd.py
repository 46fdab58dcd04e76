# SPDX-License-Identifier: Apache-2.0
"""What the service and systemd tell each other: its state, the watchdog, sockets that are handed over.

The protocols are a few lines each and are a stable interface (sd_notify(3), sd_listen_fds(3)), so they are spoken here,
with a limit on how long a message may wait, and without libsystemd where there is no systemd.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import time
from collections.abc import Mapping, MutableMapping

from graftd.errors import GraftError

_FIRST_FD = 3  # SD_LISTEN_FDS_START
_SEND_SECONDS = 1.0


class SystemdError(GraftError):
    """systemd cannot be told something, or handed over what graftd cannot use."""


class Notifier:
    """Tells systemd of the service's state; where nobody asked to be told, every method does nothing.

    Each method raises SystemdError where systemd does not take the message within a second.
    """

    def __init__(self, address: str | None, *, watchdog_seconds: float | None = None) -> None:
        """address: NOTIFY_SOCKET's value, a path or `@` and an abstract name.

        watchdog_seconds: within which systemd wants to hear from `watchdog()`; None: it does not.
        """
        self.watchdog_seconds = watchdog_seconds
        self._address = address
        if address is not None and not address.startswith(("/", "@")):
            raise SystemdError(
                f"NOTIFY_SOCKET is '{address}', which graftd cannot send to: "
                "an absolute path or '@' and an abstract name would do"
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Notifier:
        """What systemd set for this process: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID."""
        return cls(environ.get("NOTIFY_SOCKET") or None, watchdog_seconds=_watchdog_seconds(environ))

    def ready(self, status: str) -> None:
        """The service serves; after a reload, that this is done. status: one line for `systemctl status`."""
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """The configuration is being read anew; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, status: str) -> None:
        self._send(_status(status))

    def watchdog(self) -> None:
        """The service is well."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_SEND_SECONDS)
                sender.connect(address)
                sender.send("\n".join(assignments).encode("utf-8", "backslashreplace"))
        except OSError as error:
            said = assignments[0].partition("=")[0]
            raise SystemdError(
                f"systemd cannot be told {said} at {self._address} ({error.strerror or error}): "
                "start graftd as a unit of Type=notify, or without NOTIFY_SOCKET in its environment"
            ) from error


def _status(text: str) -> str:
    # A line break would begin another assignment.
    return "STATUS=" + " ".join(text.split())


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    usec, pid = environ.get("WATCHDOG_USEC"), environ.get("WATCHDOG_PID")
    if usec is None or (pid is not None and _number("WATCHDOG_PID", pid) != os.getpid()):
        return None
    return _number("WATCHDOG_USEC", usec) / 1_000_000


def listen_sockets(environ: MutableMapping[str, str] = os.environ) -> list[tuple[str, socket.socket]]:
    """The listening stream sockets that systemd handed over, each with its FileDescriptorName=, in systemd's order.

    Several may have one name; one that was given none has its unit's. They are the caller's to close, and are not
    inherited by children. LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES are taken out of the environment.
    """
    pid, count, names = (environ.pop(key, None) for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    environ.pop("LISTEN_PIDFDID", None)
    if pid is None or count is None or _number("LISTEN_PID", pid) != os.getpid():
        return []
    return _listen_sockets(_FIRST_FD, _number("LISTEN_FDS", count), names)


def _listen_sockets(first: int, count: int, names: str | None) -> list[tuple[str, socket.socket]]:
    words = ["unknown"] * count if names is None else names.split(":")
    if len(words) != count:
        raise SystemdError(
            f"systemd handed over {count} descriptors and {len(words)} names: "
            "LISTEN_FDNAMES has to hold one name for each, with colons between them"
        )
    for fd in range(first, first + count):
        _check_listening(fd, words[fd - first])
    found = []
    for fd, word in enumerate(words, first):
        fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        found.append((word, socket.socket(fileno=fd)))
    return found


def _check_listening(fd: int, name: str) -> None:
    right = "graftd takes listening stream sockets (ListenStream=, Accept=no)"
    try:
        is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError as error:
        raise SystemdError(
            f"descriptor {fd} ('{name}') was announced by LISTEN_FDS and is not open: {right}"
        ) from error
    if not is_socket:
        raise SystemdError(f"descriptor {fd} ('{name}') that systemd handed over is no socket: {right}")
    with socket.socket(fileno=os.dup(fd)) as probe:
        listening = probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if probe.type != socket.SOCK_STREAM or not listening:
            raise SystemdError(f"socket {fd} ('{name}') that systemd handed over does not listen: {right}")


def _number(key: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise SystemdError(f"{key} is '{text}' in the environment; systemd sets a whole number")
    return int(text)
