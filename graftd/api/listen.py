# SPDX-License-Identifier: Apache-2.0
"""The sockets on which graftd is spoken to: unix sockets, handed over by systemd or made here, and those of TLS."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from graftd.api.peer import SocketName
from graftd.errors import GraftError

_PATH_BYTES_MAX = 107  # of sockaddr_un
_SUFFIX = ".new"
_BACKLOG = 512
_PRIVATE = "private"


class ListenError(GraftError):
    """A socket cannot be listened on, or one that was handed over is of no use."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket. path: of one that was made here, whose file is removed with it; None of one that was
    handed over. inode: of that file."""

    name: SocketName
    sock: socket.socket
    path: Path | None = None
    inode: int = 0

    def close(self) -> None:
        if self.path is not None:
            # A graftd that was started since may have put its own there.
            with contextlib.suppress(OSError):
                if self.path.lstat().st_ino == self.inode:
                    self.path.unlink()
        self.sock.close()


def adopt(name: str, sock: socket.socket) -> Listener:
    """A listening socket that was handed over, by its name of SocketName. Raises ListenError: of another name, or of
    another kind."""
    unix = [one.value for one in SocketName if one is not SocketName.TLS]
    if name not in unix:
        raise ListenError(
            f"graftd was handed over a socket '{name}' and knows {', '.join(unix)}: "
            "write FileDescriptorName= into the socket unit"
        )
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ListenError(
            f"the socket that was handed over as '{name}' is no unix stream socket: "
            "write ListenStream= and an absolute path into the socket unit"
        )
    sock.settimeout(0)
    return Listener(SocketName(name), sock)


def listen(name: SocketName, path: Path, *, mode: int, uid: int = -1, gid: int = -1) -> Listener:
    """Make a socket with these permissions, which it has from its first moment on; uid, gid: -1 is the process's own.

    A socket file that a graftd left behind is replaced. Raises ListenError: another process listens there, there is
    something else, or the file cannot be made.
    """
    _check_place(path)
    fresh = path.with_name(path.name + _SUFFIX)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        fresh.unlink(missing_ok=True)
        # Nobody can connect before listen(), so nobody does before the mode is right.
        sock.bind(os.fspath(fresh))
        fresh.chmod(mode)
        if (uid, gid) != (-1, -1):
            os.chown(fresh, uid, gid)
        sock.listen(_BACKLOG)
        inode = fresh.lstat().st_ino
        fresh.rename(path)
    except OSError as error:
        sock.close()
        fresh.unlink(missing_ok=True)
        raise ListenError(f"graftd cannot listen on {path}: {error.strerror}") from error
    sock.settimeout(0)
    return Listener(name, sock, path, inode)


def listen_tcp(host: str, port: int) -> list[Listener]:
    """For TLS, on every address that a name has; on "::" over IPv4 as well. Raises ListenError."""
    made: list[Listener] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((one[0], one[4]) for one in found):
            both = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
            sock = socket.create_server(address, family=family, backlog=_BACKLOG, dualstack_ipv6=both)
            sock.settimeout(0)
            made.append(Listener(SocketName.TLS, sock))
    except OSError as error:
        for listener in made:
            listener.close()
        hint = ": name a port from 1024 on" if isinstance(error, PermissionError) else ""
        raise ListenError(f"graftd cannot listen on {host} port {port}: {error.strerror}{hint}") from error
    return made


def private_socket(runtime: Path, name: str = "grpc.sock") -> Path:
    """Where grpcio is to listen: in a folder below `runtime` that graftd's own user alone can enter.

    Raises ListenError where there is something else in its place.
    """
    folder = runtime / _PRIVATE
    path = folder / name
    _check_length(path)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise ListenError(f"{folder} is not a folder of graftd's own user: remove it")
        folder.chmod(0o700)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ListenError(f"graftd cannot use {folder}: {error.strerror}") from error
    return path


def _check_place(path: Path) -> None:
    _check_length(path)
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenError(f"graftd cannot listen on {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(status.st_mode):
        raise ListenError(f"{path} is there and is no socket: remove it, or configure another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as error:
            raise ListenError(f"graftd cannot tell whether somebody listens on {path}: {error.strerror}") from error
    raise ListenError(f"another process listens on {path}: stop it, or configure another path")


def _check_length(path: Path) -> None:
    if not path.is_absolute() or len(os.fsencode(path) + _SUFFIX.encode()) > _PATH_BYTES_MAX:
        most = _PATH_BYTES_MAX - len(_SUFFIX)
        raise ListenError(f"{path} cannot be a socket's path: it has to be absolute and of at most {most} bytes")
