# SPDX-License-Identifier: Apache-2.0
"""The BPF door's map as the reconcile engine wants it: `graftd.ports.TransparentMap`."""

from __future__ import annotations

import array
import errno
import functools
import mmap
import os
from pathlib import Path
from typing import NoReturn

from graftd.errors import KernelError
from graftd.kernel._bpf import PinnedMap, map_memory

# The function that the program attaches to, net/socket.c, as the kernel's type information names it. Its place among
# those that may be attached to so comes with MPTCP: net/mptcp/bpf.c.
_FUNCTION = b"\0update_socket_protocol\0"
_DOOR = "graft-transparent"
# HASH() and SEVERAL of kmod/bpf/transparent.bpf.c.
_HASH_BITS = 14
_HASH_MULTIPLIER = 0x9E3779B97F4A7C15
_SEVERAL = (1 << 64) - 1


class TransparentMap:
    """graft-transparent(8) pins it and says whose it is. It is opened anew for each use, for a program that is loaded
    again has another one."""

    def __init__(
        self,
        pin: Path = Path("/sys/fs/bpf/graft/transparent"),
        types: Path = Path("/sys/kernel/btf/vmlinux"),
        mptcp: Path = Path("/proc/sys/net/mptcp"),
    ) -> None:
        """pin: the map's; its hints and the program's link are beside it. types: the kernel's BTF. mptcp: a folder that
        there is where the kernel has MPTCP."""
        self._pin = pin
        self._hints = pin.with_name("hints")
        self._link = pin.with_name("link")
        self._types = types
        self._mptcp = mptcp
        self._known: tuple[int, set[int]] | None = None  # the map's id, and the keys that it has

    @functools.cached_property
    def _can(self) -> bool:
        try:
            return self._mptcp.is_dir() and _FUNCTION in self._types.read_bytes()
        except OSError:
            return False

    def can_be_served(self) -> bool:
        """Whether this kernel has what the door's program attaches to; looked up once."""
        return self._can

    def equalize(self, cookies: frozenset[int], *, whole: bool) -> bool:
        """Make the keys these, where there is a map; whether the program is there that reads it. whole: also where this
        was the last to write it.

        Raises KernelError where the program is there; some of it may be done then.
        """
        served = os.path.lexists(self._link)
        known, self._known = self._known, None
        try:
            self._pin.lstat()  # for bpf(2) may not be permitted, and need not be where there is nothing
            # In this order: a loader pins the hints first, so they are this map's or a newer one's.
            with PinnedMap(str(self._pin)) as found, map_memory(str(self._hints), 8 << _HASH_BITS) as hints:
                keys = known[1] if known is not None and known[0] == found.id and not whole else found.keys()
                self._known = found.id, keys
                try:
                    # Who is to go is not named any more before it is dropped.
                    _hint_at(keys & cookies, hints)
                    for cookie in sorted(keys - cookies):
                        found.drop(cookie)
                        keys.discard(cookie)
                    for cookie in sorted(cookies - keys):
                        found.put(cookie)
                        keys.add(cookie)
                finally:
                    _hint_at(keys, hints)
        except FileNotFoundError as error:
            if served and self._pin.exists():
                self._refuse(error)
            return False
        except OSError as error:
            if served:
                self._refuse(error)
        return served

    def _refuse(self, error: OSError) -> NoReturn:
        number = error.errno or errno.EIO
        match number:
            case errno.ENOENT:
                sentence = f"the BPF door's map {self._pin} has no hints beside it: systemctl reload {_DOOR}"
            case errno.EPERM:
                sentence = (
                    f"the BPF door's map {self._pin} may not be opened, for graftd has not the system call bpf: "
                    f"{_DOOR} lets it have that, so systemctl restart graftd after that was installed"
                )
            case errno.EACCES:
                sentence = (
                    f"the BPF door's map {self._pin} is not graftd's to open: restart {_DOOR}, which gives it to "
                    "graftd's user"
                )
            case errno.EMEDIUMTYPE:
                sentence = f"{self._pin}, or hints beside it, is not the BPF door's map: remove it, and restart {_DOOR}"
            case errno.E2BIG:
                sentence = f"the BPF door's map {self._pin} is full: it cannot hold more namespaces"
            case _:
                sentence = f"the BPF door's map {self._pin} cannot be written: {error.strerror}"
        raise KernelError(number, sentence) from error


def _hint_at(cookies: set[int], memory: mmap.mmap) -> None:
    """Tell the program of these, which are in the map. A hint is written at once, and only where it was another."""
    due = array.array("Q", bytes(len(memory)))
    for cookie in cookies:
        place = (cookie * _HASH_MULTIPLIER % (1 << 64)) >> (64 - _HASH_BITS)
        due[place] = _SEVERAL if due[place] else cookie
    if memory[:] == due.tobytes():
        return
    with memoryview(memory) as octets, octets.cast("Q") as hints:
        for place, hint in enumerate(due):
            if hints[place] != hint:
                hints[place] = hint
