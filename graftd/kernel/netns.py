# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: how a person names one, and doing something inside one.

A namespace is left by ending the thread that entered it, so a failure can strand nobody.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from graftd.errors import NamespaceError

Result = TypeVar("Result")

NAMED = Path("/run/netns")  # where `ip netns` keeps them
CLONE_NEWNET = 0x40000000
SO_NETNS_COOKIE = 71


def open_selected(selector: str) -> int:
    """A descriptor of the namespace called `selector`: a path (it holds a slash), a name that
    `ip netns list` knows, or a process id. A name comes before a process id, as in iproute2."""
    if "/" in selector:
        return _open(Path(selector), f"'{selector}' is no namespace file")
    if selector not in ("", ".", "..") and (NAMED / selector).exists():
        return _open(NAMED / selector, f"namespace '{selector}' cannot be opened")
    if selector.isascii() and selector.isdecimal():
        return _open(Path("/proc", selector, "ns/net"), f"there is no process {selector}")
    raise NamespaceError(
        f"there is no namespace '{selector}': expected a name that `ip netns list` shows, a process id, or a path"
    )


def open_current() -> int:
    """A descriptor of the calling thread's namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def call_in(fd: int, function: Callable[[], Result]) -> Result:
    """What `function` returns or raises in the namespace behind fd."""
    results: list[Result] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            _setns(fd)
            results.append(function())
        except BaseException as failure:  # noqa: BLE001 raised again in the caller's thread
            failures.append(failure)

    thread = threading.Thread(target=run, name="netns")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def cookie_of(fd: int | None = None) -> int:
    """The cookie of the namespace behind fd, or of the calling thread's: never used twice until
    the next boot."""

    def own() -> int:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            data = probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
            return int.from_bytes(data, sys.byteorder)

    return own() if fd is None else call_in(fd, own)


def _open(path: Path, failure: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NamespaceError(f"{failure}: {error.strerror}") from error


def _setns(fd: int) -> None:
    try:
        _setns_call(fd)
    except OSError as error:
        raise NamespaceError(
            f"the namespace cannot be entered: {error.strerror}; "
            "this needs CAP_SYS_ADMIN over it, and a file that stands for a network namespace"
        ) from error


def _setns_call(fd: int) -> None:
    if hasattr(os, "setns"):  # from Python 3.12 on
        os.setns(fd, CLONE_NEWNET)
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
