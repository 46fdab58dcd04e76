# SPDX-License-Identifier: Apache-2.0
"""Files that stand for network namespaces: bind mounts of them, and those below /proc/PID/ns."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from graftd.errors import NamespaceError
from graftd.kernel._lack import check_lack
from graftd.kernel.netns import CLONE_NEWNET

_NS_GET_NSTYPE = 0xB703  # linux/nsfs.h
# By graftd.service: ProtectHome= and PrivateTmp=.
_HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108 nothing is put there


class Found:
    """A network namespace, held open. To be closed soon: the namespace lives as long as this does."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @property
    def fd(self) -> int:
        """Valid until close."""
        return self._fd

    @property
    def inode(self) -> tuple[int, int]:
        """Device and inode: no other namespace has them while this is open, and another may have them afterwards."""
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino

    def keep(self) -> Found:
        """The same, still open after this one is closed."""
        kept, self._fd = Found(self._fd), -1
        return kept

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Found:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_file(path: Path, what: str) -> Found | None:
    """None: there is no file, or an empty one, which a namespace is about to be mounted on or was until now.

    what: how an error calls the file. Raises NamespaceError for any other file. No device, pipe or
    folder is opened to find that out. KernelError where it lacks descriptors or memory, which says nothing of the file.
    """
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return None
    except OSError as error:
        raise failure(what, error) from error
    try:
        status = os.fstat(place)
        if not stat.S_ISREG(status.st_mode):
            raise NamespaceError(f"{what} is no file of a network namespace: it is not even a regular file")
        return _reopen(place, what, empty=status.st_size == 0)
    finally:
        os.close(place)


def check_hidden(path: Path, machine: Path) -> None:
    """Raise NamespaceError where there may be a file for others which graftd does not see; else there is none.

    machine: the tree that they see. KernelError as open_file.
    """
    if os.path.lexists(path):
        return
    path = Path(os.path.realpath(path))  # a link would lead out of that tree
    try:
        root = os.open(machine, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.lstat(path.relative_to("/"), dir_fd=root)
            hidden = True
        except (FileNotFoundError, NotADirectoryError):
            hidden = False
        finally:
            os.close(root)
    except OSError as error:
        check_lack(error, f"'{path}'")
        hidden = any(folder in path.parents for folder in _HIDDEN)
    if hidden:
        raise NamespaceError(
            f"'{path}' cannot be seen by graftd, whose unit hides its folder: graftd(8) says how to show it"
        )


def _reopen(place: int, what: str, *, empty: bool) -> Found | None:
    try:
        found = Found(os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise failure(what, error) from error
    try:
        kind = fcntl.ioctl(found.fd, _NS_GET_NSTYPE)
    except OSError as error:
        found.close()
        if empty and error.errno == errno.ENOTTY:
            return None
        raise NamespaceError(f"{what} is a file, and not one of a network namespace") from error
    if kind != CLONE_NEWNET:
        found.close()
        raise NamespaceError(f"{what} is a namespace of another kind: name that of a network namespace")
    return found


def failure(what: str, error: OSError) -> NamespaceError:
    """What to raise where a file cannot be opened. Raises KernelError as open_file does."""
    check_lack(error, what)
    return NamespaceError(f"{what} cannot be opened: {error.strerror}")
