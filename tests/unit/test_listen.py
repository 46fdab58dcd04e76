# SPDX-License-Identifier: Apache-2.0
"""The sockets that graftd makes or is handed over."""

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from graftd.api.listen import ListenError, adopt, listen, listen_tcp, private_socket
from graftd.api.peer import SocketName


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_socket_has_its_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077 if mode == 0o666 else 0)
    try:
        listener = listen(SocketName.READ_WRITE, tmp_path / "s", mode=mode, uid=os.getuid(), gid=os.getgid())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == mode
    assert os.listdir(tmp_path) == ["s"]
    listener.close()
    assert os.listdir(tmp_path) == []


def test_a_file_left_behind_is_replaced_and_a_successors_stays(tmp_path: Path) -> None:
    first = listen(SocketName.ADMIN, tmp_path / "s", mode=0o600)
    with pytest.raises(ListenError, match=r"another process listens on .*/s: stop it, or configure another path"):
        listen(SocketName.ADMIN, tmp_path / "s", mode=0o600)
    first.sock.close()
    second = listen(SocketName.ADMIN, tmp_path / "s", mode=0o600)
    first.close()
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(tmp_path / "s"))
    second.close()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(ListenError, match="is there and is no socket: remove it, or configure another path"):
        listen(SocketName.ADMIN, tmp_path / "s", mode=0o600)
    assert (tmp_path / "s").read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("relative", "relative cannot be a socket's path: it has to be absolute and of at most 103 bytes"),
        ("/" + "x" * 103, "has to be absolute and of at most 103 bytes"),
        ("/nowhere/s", "graftd cannot listen on /nowhere/s: No such file or directory"),
    ],
)
def test_a_path_that_cannot_be_is_refused(path: str, sentence: str) -> None:
    with pytest.raises(ListenError, match=sentence):
        listen(SocketName.ADMIN, Path(path), mode=0o600)


def test_a_socket_that_was_handed_over_is_used_and_its_file_stays(tmp_path: Path) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "s"))
    sock.listen()
    listener = adopt("read-only", sock)
    assert (listener.name, listener.sock, sock.gettimeout()) == (SocketName.READ_ONLY, sock, 0)
    listener.close()
    assert (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("name", "family", "kind", "sentence"),
    [
        (
            "tls",
            socket.AF_UNIX,
            socket.SOCK_STREAM,
            "a socket 'tls' and knows admin, read-write, read-only: write File",
        ),
        ("graftd.socket", socket.AF_UNIX, socket.SOCK_STREAM, "a socket 'graftd.socket' and knows admin, read-write"),
        ("admin", socket.AF_INET, socket.SOCK_STREAM, "as 'admin' is no unix stream socket: write ListenStream="),
        ("admin", socket.AF_UNIX, socket.SOCK_SEQPACKET, "as 'admin' is no unix stream socket: write ListenStream="),
    ],
)
def test_a_socket_of_no_use_is_refused(name: str, family: int, kind: int, sentence: str) -> None:
    with socket.socket(family, kind) as sock, pytest.raises(ListenError, match=sentence):
        adopt(name, sock)


def test_the_private_folder_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o755)
    assert private_socket(tmp_path) == tmp_path / "private" / "grpc.sock"
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o700


def test_a_private_folder_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "private").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ListenError, match="is not a folder of graftd's own user: remove it"):
        private_socket(tmp_path)


def _deny(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_where_tls_is_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    (every,) = listen_tcp("::", 0)
    port = every.sock.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port), 5), socket.create_connection(("::1", port), 5):
        for _ in range(2):
            every.sock.accept()[0].close()
    with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"):
        listen_tcp("127.0.0.1", port)
    every.close()
    with pytest.raises(ListenError, match=r"cannot listen on no\.such\.name\.invalid port 1: "):
        listen_tcp("no.such.name.invalid", 1)
    sentence = r"cannot listen on 127.0.0.1 port 443: Permission denied.*: name a port from 1024 on"
    with monkeypatch.context() as patch:
        patch.setattr(socket, "create_server", _deny)
        with pytest.raises(ListenError, match=sentence):
            listen_tcp("127.0.0.1", 443)
    for listener in listen_tcp("localhost", 0):
        assert listener.name is SocketName.TLS
        listener.close()
