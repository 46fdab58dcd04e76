# SPDX-License-Identifier: Apache-2.0
"""inotify(7) and timerfd_create(2), which Python's library has not, or not before 3.13."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IN_MODIFY = 0x2
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_UNMOUNT = 0x2000
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_EVENT = struct.Struct("=iIII")  # struct inotify_event, without its name
_ROOM = 64 * 1024
_CLOCK_MONOTONIC = 1
_ITIMERSPEC = struct.Struct("@4l")

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    result = int(getattr(_libc, name)(*arguments))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def cannot_watch(path: Path, error: OSError) -> str:
    """The sentence for it."""
    hint = ": raise fs.inotify.max_user_watches" if error.errno == errno.ENOSPC else ""
    return f"{path} cannot be watched: {error.strerror}{hint}"


@dataclass(frozen=True, slots=True)
class Seen:
    """wd: the watch, -1 where events were lost. mask: IN_*. name: in the watched folder, "" for itself."""

    wd: int
    mask: int
    name: str


class Inotify:
    def __init__(self) -> None:
        self._fd = _call("inotify_init1", _NONBLOCK_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def add(self, path: Path, mask: int) -> int:
        """The watch of what is at `path` now; the same for the same inode. Raises OSError: ENOSPC where the
        user has no watch left."""
        return _call("inotify_add_watch", self._fd, os.fsencode(path), mask)

    def remove(self, wd: int) -> None:
        """One that has gone by itself is no error."""
        _libc.inotify_rm_watch(self._fd, wd)

    def read(self) -> Iterator[Seen]:
        """Everything that has come so far; does not wait."""
        while True:
            try:
                data = os.read(self._fd, _ROOM)
            except BlockingIOError:
                return
            offset = 0
            while offset < len(data):
                wd, mask, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size
                name = data[offset : offset + length].partition(b"\0")[0]
                offset += length
                yield Seen(wd, mask, os.fsdecode(name))


class Timer:
    """A descriptor that is readable from a moment on."""

    def __init__(self) -> None:
        self._fd = _call("timerfd_create", _CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def set(self, seconds: float | None) -> None:
        """From `seconds` from now on, at least a microsecond; None: never."""
        nanoseconds = 0 if seconds is None else max(1000, int(seconds * 1_000_000_000))
        value = _ITIMERSPEC.pack(0, 0, *divmod(nanoseconds, 1_000_000_000))
        _call("timerfd_settime", self._fd, 0, value, None)
