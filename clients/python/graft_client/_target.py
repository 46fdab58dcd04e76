# SPDX-License-Identifier: Apache-2.0
"""Where graftd is, and why it is not reached. Nothing here imports grpc."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from graft_client._errors import GraftdError

RUN = Path("/run/graftd")
ADMIN, READ_WRITE, READ_ONLY = "admin.sock", "graftd.sock", "read-only.sock"
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM for a connection over TCP, where both sides show a certificate.

    ca: whom to trust. certificate, key: who the client is. server_name: the name that graftd's certificate has, where
    it is another than the target's host.
    """

    ca: Path
    certificate: Path
    key: Path
    server_name: str | None = None


def default_target(run: Path = RUN) -> str:
    """The socket with the most rights among those that this process may use."""
    names = (ADMIN, READ_WRITE, READ_ONLY) if os.geteuid() == 0 else (READ_WRITE, READ_ONLY)
    usable = (run / name for name in names if os.access(run / name, os.W_OK))
    return f"unix:{next(usable, run / READ_WRITE)}"


def resolve(target: str | None) -> str:
    """The target given, that of GRAFTD_TARGET, or the default."""
    target = target or os.environ.get("GRAFTD_TARGET") or default_target()
    if target.startswith("/"):
        return f"unix:{target}"
    if not target.startswith("unix:") and not target.rpartition(":")[2].isdecimal():
        raise GraftdError(
            f"'{target}' is no target: expected unix:PATH or HOST:PORT, as in unix:/run/graftd/graftd.sock",
            status="INVALID_ARGUMENT",
        )
    return target


def unix_path(target: str) -> Path | None:
    """The socket's path; None of a TCP target."""
    return Path(target.removeprefix("unix:")) if target.startswith("unix:") else None


def probe(target: str) -> GraftdError | None:
    """Connect, and tell what keeps a client from it; None where it could, or where only a handshake would tell."""
    path = unix_path(target)
    try:
        if path is None:
            host, _, port = target.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        else:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probing:
                probing.settimeout(_CONNECT_SECONDS)
                probing.connect(str(path))
    except OSError as error:
        if path is None:
            reason = error.strerror or str(error)
            return GraftdError(
                f"graftd cannot be reached at {target}: {reason}; its listener, [server.tls], has to be configured,"
                " and no firewall be in between",
                status="UNAVAILABLE",
            )
        return _unreachable(path, error)
    return None


def _unreachable(path: Path, error: OSError) -> GraftdError:
    if isinstance(error, PermissionError):
        return GraftdError(_forbidden(path), status="PERMISSION_DENIED")
    if error.errno == errno.ENOENT:
        cause = f"graftd cannot be reached, for there is no {path}: systemctl start graftd"
    elif error.errno == errno.ECONNREFUSED:
        cause = f"graftd is not running, nobody listens at {path}: systemctl start graftd"
    else:
        cause = f"graftd cannot be reached at {path}: {error.strerror or error}"
    return GraftdError(cause, status="UNAVAILABLE")


def _forbidden(path: Path) -> str:
    """Which group may use the socket, as far as this user may see that."""
    import grp

    for place in (path, path.parent):
        try:
            gid = place.stat().st_gid
        except OSError:
            continue
        try:
            group = grp.getgrgid(gid).gr_name
        except KeyError:
            group = str(gid)
        if gid in {os.getegid(), *os.getgroups()} or gid == 0:
            break
        return f"you may not use {path}, which is for the group '{group}': become a member of it, or root"
    return f"you may not use {path}, which is for root: become root, or name another socket"
