# SPDX-License-Identifier: Apache-2.0
"""A writer of the archive format that the kernel unpacks as its initramfs ("newc").

The format is described in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_TRAILER = "TRAILER!!!"


class Archive:
    """An archive in memory; several of them, one after the other, are one initramfs."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._known: set[str] = set()

    def folder(self, name: str, mode: int = 0o755) -> None:
        """Add a folder, after the folders above it, unless it is there already."""
        if name and name not in self._known:
            self.folder(os.path.dirname(name))
            self._known.add(name)
            self._entry(name, stat.S_IFDIR | mode, b"")

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """Add a regular file and the folders above it."""
        self.folder(os.path.dirname(name))
        self._entry(name, stat.S_IFREG | mode, content)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link and the folders above it."""
        self.folder(os.path.dirname(name))
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def tree(self, prefix: str, base: Path) -> None:
        """Add all files, links and folders below ``base`` under ``prefix``."""
        for path in sorted(base.rglob("*")):
            name = f"{prefix}/{path.relative_to(base)}"
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                self.link(name, os.readlink(path))
            elif stat.S_ISDIR(mode):
                self.folder(name, stat.S_IMODE(mode))
            elif stat.S_ISREG(mode):
                self.file(name, path.read_bytes(), stat.S_IMODE(mode))

    def finish(self) -> bytes:
        """Return the archive, closed and padded so that another may follow it."""
        self._entry(_TRAILER, 0, b"")
        self._pad(512)
        return bytes(self._content)

    def _entry(self, name: str, mode: int, content: bytes) -> None:
        path = name.encode() + b"\0"
        # inode, mode, uid, gid, links, time, size, device and rdevice (major, minor), name length, checksum
        fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        self._content += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        self._pad(4)
        self._content += content
        self._pad(4)

    def _pad(self, unit: int) -> None:
        self._content += bytes(-len(self._content) % unit)
