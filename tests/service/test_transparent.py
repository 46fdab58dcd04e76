# SPDX-License-Identifier: Apache-2.0
"""The BPF door's map under graftd's unit: who may write it, what is in it, and what a namespace's end leaves.

The map is made here as graft-transparent(8) makes it, but where its own unit is restarted; the program that reads it is
none of graftd's, and another map is pinned in the place of its link.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from graftd.kernel import _bpf
from service.place import HOST, Place, cli, cli_json, cli_outcome, eventually, run
from service.units import SERVICE, SOCKETS, journal, show, systemctl

PATIENCE = 300  # seconds

_FOLDER = Path("/sys/fs/bpf/graft")
_PIN = _FOLDER / "transparent"
_HINTS = _FOLDER / "hints"
_LINK = _FOLDER / "link"
_DROP_IN = Path("/run/systemd/system/graftd.service.d/zz-test.conf")
_UNIT = "graft-transparent.service"
_PACKAGED = Path(__file__).parents[2] / "packaging/systemd/graft-transparent/graftd.conf"
_CREATE, _PIN_IT = 0, 6
_SEVERAL = (1 << 64) - 1
_HASH, _ARRAY, _MMAPABLE = 1, 2, 1 << 10
_FUNCTION = b"\0update_socket_protocol\0"


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.close()


@contextmanager
def _with(drop_in: str) -> Iterator[None]:
    _DROP_IN.parent.mkdir(parents=True)
    _DROP_IN.write_text(drop_in)
    systemctl("daemon-reload")
    systemctl("restart", SERVICE)
    try:
        yield
    finally:
        shutil.rmtree(_DROP_IN.parent)
        systemctl("daemon-reload")
        systemctl("restart", SERVICE)


@pytest.fixture
def permitted() -> Iterator[None]:
    """As with what graft-transparent brings."""
    with _with(_PACKAGED.read_text()):
        yield


@pytest.fixture
def denied() -> Iterator[None]:
    """As where graft-transparent was installed after graftd's start."""
    with _with("[Service]\nSystemCallFilter=~bpf\n"):
        yield


@pytest.fixture
def loaded() -> Iterator[None]:
    _load()
    yield
    _unload()


def _kernel_can() -> bool:
    return _FUNCTION in Path("/sys/kernel/btf/vmlinux").read_bytes() and Path("/proc/sys/net/mptcp").is_dir()


def _load() -> None:
    _FOLDER.mkdir(mode=0o755, exist_ok=True)
    _pin(_HINTS, _ARRAY, 4, 8 << 14, 1, _MMAPABLE)
    _pin(_PIN, _HASH, 8, 1, 1 << 16)
    for path in (_HINTS, _PIN):
        shutil.chown(path, "graftd", "graftd")
        path.chmod(0o600)
    _pin_link()


def _pin_link() -> None:
    _pin(_LINK, _HASH, 8, 1, 1)


def _pin(path: Path, *shape: int) -> None:
    """Make a map of this type, sizes of a key and a value, number of elements and flags."""
    fd = _bpf._bpf(_CREATE, struct.pack(f"={len(shape)}I", *shape).ljust(64, b"\0"))
    name = ctypes.create_string_buffer(os.fsencode(path))
    _bpf._bpf(_PIN_IT, struct.pack("=QII", ctypes.addressof(name), fd, 0))
    os.close(fd)


def _unload() -> None:
    for path in (_LINK, _PIN, _HINTS):
        path.unlink()
    _FOLDER.rmdir()


def _keys() -> set[int]:
    """Those of the map; the hints are theirs, and no others."""
    with _bpf.PinnedMap(str(_PIN)) as found, _bpf.map_memory(str(_HINTS), 8 << 14) as memory:
        keys = found.keys()
        hints = struct.unpack("=16384Q", memory[:])
        due: dict[int, int] = {}
        for key in keys:
            due[_hash(key)] = _SEVERAL if _hash(key) in due else key
        assert {place: hint for place, hint in enumerate(hints) if hint} == due
        return keys


def _hash(cookie: int) -> int:
    """As kmod/bpf/transparent.bpf.c has it."""
    return (cookie * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 50


def _door() -> dict[str, Any]:
    found: dict[str, Any] = cli_json("status")["transparent"]
    return found


def test_no_program(place: Place) -> None:
    """What the kernel could is told, and the namespace works all the same."""
    expected = "not-loaded" if _kernel_can() else "kernel-cannot"
    assert _door()["state"] == expected
    cli("add-namespace web --netns web --transparent")
    cli(f"-n web add ep-http type ipv4 addr {HOST} port 80")
    assert cli_json("show-namespace web")["sync"]["state"] == "in-sync"
    status, said = cli_outcome("doctor web")
    assert status != 0
    assert "BPF door: web would have it" in said
    cli("delete-namespace web --force --yes")


@pytest.mark.usefixtures("denied", "loaded")
def test_a_unit_that_may_not(place: Place) -> None:
    cli("add-namespace web --netns web --transparent")
    door = _door()
    assert door["state"] == "failed"
    assert "graftd has not the system call bpf" in door["detail"]
    assert "systemctl restart graftd" in door["detail"]
    assert cli_json("show-namespace web")["sync"]["state"] == "pending"
    assert _keys() == set()
    cli("delete-namespace web --force --yes")


@pytest.mark.usefixtures("permitted", "loaded")
def test_the_map_follows(place: Place) -> None:
    assert "bpf" in show(SERVICE, "SystemCallFilter")[0].split()
    assert _door() == {"state": "served", "detail": "", "namespaces": 0}, journal()
    cli("add-namespace web --netns web --transparent --transient")
    cookie = int(cli_json("show-namespace web")["netns_cookie"])
    assert _keys() == {cookie}
    cli("update-namespace web --no-transparent")
    assert _keys() == set()
    cli("update-namespace web --transparent")
    _unload()
    assert _door()["state"] != "served"
    _load()
    assert _door() == {"state": "served", "detail": "", "namespaces": 1}
    assert _keys() == {cookie}
    _LINK.unlink()
    assert _door()["state"] != "served"
    _pin_link()
    assert _door()["state"] == "served"
    systemctl("restart", SERVICE)
    assert _keys() == {cookie}
    shutil.chown(_PIN, "root", "root")
    assert "is not graftd's to open" in _door()["detail"]
    shutil.chown(_PIN, "graftd", "graftd")
    cli(f"-n web add ep-http type ipv4 addr {HOST} port 80")
    run("ip", "netns", "delete", "web")
    eventually(lambda: cli_json("list-namespaces") == [], "the namespace went with its network namespace")
    assert _keys() == set()
    run("ip", "netns", "add", "web")


@pytest.mark.usefixtures("permitted")
def test_a_restart_of_the_program(place: Place) -> None:
    """Who is in the map stays there, without graftd."""
    systemctl("start", _UNIT)
    if not _kernel_can():
        assert show(_UNIT, "ConditionResult") == ["no"]
        return
    cli("add-namespace web --netns web --transparent")
    assert _door()["namespaces"] == 1
    kept = _keys()
    systemctl("stop", *SOCKETS, SERVICE)
    for _ in range(2):
        systemctl("restart", _UNIT)
        assert _keys() == kept
        systemctl("reload", _UNIT)
        assert _keys() == kept
    systemctl("stop", _UNIT)
    assert not _FOLDER.exists()
    systemctl("start", _UNIT)
    assert _keys() == kept
    systemctl("start", *SOCKETS, SERVICE)
    assert _door()["namespaces"] == 1
    assert _keys() == kept
    systemctl("stop", _UNIT)
    cli("delete-namespace web --force --yes")
    systemctl("start", _UNIT)
    assert _door()["namespaces"] == 0
    assert _keys() == set()
    systemctl("stop", _UNIT)
    shutil.rmtree("/run/graft-transparent")


@pytest.mark.usefixtures("permitted", "loaded")
def test_what_ends_while_graftd_is_down(place: Place) -> None:
    for number in range(20):
        run("ip", "netns", "add", f"pod{number}")
        cli(f"add-namespace pod{number} --netns pod{number} --transparent --transient")
        cli(f"-n pod{number} add ep-http type ipv4 addr {HOST} port {8000 + number}")
    assert len(_keys()) == 20
    systemctl("kill", "--signal=KILL", SERVICE)
    for number in range(20):
        run("ip", "netns", "delete", f"pod{number}")
    eventually(lambda: cli_outcome("version")[0] == 0, "graftd is back")
    eventually(lambda: cli_json("list-namespaces") == [], "all went")
    assert _keys() == set()
    eventually(lambda: cli_json("list-tables") == [], "their tables went with them")
