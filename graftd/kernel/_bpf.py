# SPDX-License-Identifier: Apache-2.0
"""Pinned BPF maps, by bpf(2): include/uapi/linux/bpf.h. glibc has no function for it.

Neither opening a pin nor access to a map's elements or memory takes a capability from Linux 5.19 on (commit
c8644cd0efe7): the pin's owner and mode decide.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import struct
from types import TracebackType

# bpf's number: arch/*/kernel/syscalls, and asm-generic's for those that are not named.
_NUMBERS = {"x86_64": 321, "i386": 357, "i686": 357, "ppc64le": 361, "s390x": 351, "armv7l": 386, "armv8l": 386}
_GENERIC_NUMBER = 280

_UPDATE, _DELETE, _OPEN, _INFO, _LOOKUP_BATCH = 2, 3, 7, 15, 24
_TYPE_HASH, _TYPE_ARRAY = 1, 2
_OPEN_ATTRIBUTES = struct.Struct("=QII")  # path, fd, flags
_ELEMENT_ATTRIBUTES = struct.Struct("=I4xQQQ")  # fd, key, value, flags
_BATCH_ATTRIBUTES = struct.Struct("=QQQQIIQQ")  # where to begin, where it ended, keys, values, count, fd, flags, flags
_INFO_ATTRIBUTES = struct.Struct("=IIQ")  # fd, length, info
_MAP_INFO = struct.Struct("=IIIII")  # type, id, key's size, value's size, max_entries; more follows

_libc = ctypes.CDLL(None, use_errno=True)


class PinnedMap:
    """A map whose keys have 64 bits and whose values have 8, held open.

    id: another map's is another one. Every method raises OSError.
    """

    def __init__(self, path: str) -> None:
        """Raises FileNotFoundError where nothing is pinned, OSError with EMEDIUMTYPE for what is no such map."""
        self._fd, self.id, self.max_entries = _opened(path, _TYPE_HASH, 8, 1)

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> PinnedMap:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def keys(self) -> set[int]:
        """Those that there are."""
        keys = (ctypes.c_uint64 * self.max_entries)()
        values = (ctypes.c_uint8 * self.max_entries)()
        position = ctypes.c_uint32()
        at, *places = (ctypes.addressof(one) for one in (position, keys, values))
        given = ctypes.create_string_buffer(_BATCH_ATTRIBUTES.size)
        _BATCH_ATTRIBUTES.pack_into(given, 0, 0, at, *places, self.max_entries, self._fd, 0, 0)
        # Everything was read when there is nothing more.
        with contextlib.suppress(FileNotFoundError):
            _call(_LOOKUP_BATCH, given)
        count = _BATCH_ATTRIBUTES.unpack(given)[4]
        return set(keys[:count])

    def put(self, key: int) -> None:
        """Have this key, with the value 1."""
        self._element(_UPDATE, ctypes.c_uint64(key), ctypes.c_uint8(1))

    def drop(self, key: int) -> None:
        """Have this key no more."""
        with contextlib.suppress(FileNotFoundError):
            self._element(_DELETE, ctypes.c_uint64(key), None)

    def _element(self, command: int, key: ctypes.c_uint64, value: ctypes.c_uint8 | None) -> None:
        places = (0 if one is None else ctypes.addressof(one) for one in (key, value))
        _bpf(command, _ELEMENT_ATTRIBUTES.pack(self._fd, *places, 0))


def map_memory(path: str, size: int) -> mmap.mmap:
    """The memory of an array of one value of so many bytes that is pinned: what is written there, programs read.

    Raises FileNotFoundError where nothing is pinned, OSError with EMEDIUMTYPE for what is no such array.
    """
    fd, *_ = _opened(path, _TYPE_ARRAY, 4, size)
    try:
        return mmap.mmap(fd, size)
    finally:
        os.close(fd)


def _opened(path: str, kind: int, key_size: int, value_size: int) -> tuple[int, int, int]:
    """The map that is pinned there, which is to be of this shape: its descriptor, id and size in elements."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    fd = _bpf(_OPEN, _OPEN_ATTRIBUTES.pack(ctypes.addressof(name), 0, 0))
    try:
        info = ctypes.create_string_buffer(_MAP_INFO.size)
        _bpf(_INFO, _INFO_ATTRIBUTES.pack(fd, len(info), ctypes.addressof(info)))
        found_kind, number, *sizes, max_entries = _MAP_INFO.unpack(info.raw)
        if (found_kind, *sizes) != (kind, key_size, value_size):
            raise OSError(errno.EMEDIUMTYPE, os.strerror(errno.EMEDIUMTYPE))
    except BaseException:
        os.close(fd)
        raise
    return fd, number, max_entries


def _bpf(command: int, attributes: bytes) -> int:
    return _call(command, ctypes.create_string_buffer(attributes, len(attributes)))


def _call(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """attributes: the kernel may write into them."""
    number = _NUMBERS.get(os.uname().machine, _GENERIC_NUMBER)
    done = _libc.syscall(ctypes.c_long(number), ctypes.c_long(command), attributes, ctypes.c_long(len(attributes)))
    if done < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(done)
