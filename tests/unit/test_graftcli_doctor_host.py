# SPDX-License-Identifier: Apache-2.0
"""What doctor sees of the machine that it runs on."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from pathlib import Path

from graftcli.doctor.host import Host, Process, Trial


def test_this_machine() -> None:
    host = Host()
    assert host.kernel() == os.uname().release
    assert host.cookie(None)
    # Only root may enter a namespace, if only its own.
    assert host.cookie("/proc/self/ns/net") == (None if os.geteuid() else host.cookie(None))
    assert host.try_bind(None, "127.0.0.1", 0, "", stream=True) == Trial()
    assert host.try_bind(None, "192.0.2.77", 0, "", stream=False).error == errno.EADDRNOTAVAIL
    assert host.try_bind(None, "127.0.0.1", 0, "none9", stream=True) == Trial(errno.ENODEV, "none9")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert host.try_bind(None, "127.0.0.1", port, "", stream=True).error == errno.EADDRINUSE
        assert host.try_bind(None, "127.0.0.1", port, "", stream=False) == Trial()
        assert host.holder(None, port, stream=True).endswith(f"(pid {os.getpid()})")
        assert host.holder(None, port, stream=False) == ""
    with socket.socket(socket.AF_INET6) as open_to_all, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        open_to_all.bind(("::", 0))
        open_to_all.listen()
        datagrams.bind(("0.0.0.0", 0))
        wanted = (True, "::", open_to_all.getsockname()[1])
        if not os.geteuid():  # others may not enter a namespace
            found = {(one.stream, str(one.address), one.port) for one in host.servers("/proc/self/ns/net")}
            assert wanted in found
            assert all(stream for stream, *_ in found)
            assert not any(address.startswith("127.") for _, address, _ in found)


def test_what_proc_tells_of_a_process(tmp_path: Path) -> None:
    host = Host()
    host.proc = tmp_path
    folder = tmp_path / "12"
    for one in (folder, tmp_path / "1"):
        (one / "ns").mkdir(parents=True)
        (one / "ns/user").symlink_to("user:[1]")

    def process(**files: str | bytes) -> Process:
        plain: dict[str, str | bytes] = {
            "comm": "nginx",
            "maps": "",
            "exe": b"",
            "status": "Uid:\t0\t0\nGid:\t0\t0\nCapBnd:\t0",
        }
        for name, content in {**plain, **files}.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        found = host.process(12)
        assert found
        return found

    assert process() == Process("nginx", None, False, None, False, False, False)
    assert process(maps="7f00 r-xp /usr/lib/libgraft.so").has_library
    assert process(exe=b"\x7fELF\x02\x01 \xff Go buildinf:" + bytes(64)).is_go
    assert process(status="Uid:\t1000\t0\nGid:\t0\t0").is_privileged
    assert process(status="Uid:\t0\t0\nGid:\t5\t6").is_privileged
    assert process(status="CapBnd:\t0000000000001000").can_configure
    assert not process(status="CapBnd:\t0000000000201000").can_configure  # CAP_SYS_ADMIN as well
    (folder / "ns/user").unlink()
    (folder / "ns/user").symlink_to("user:[2]")
    assert not process(status="CapBnd:\t0000000000001000").can_configure


def test_this_process_and_others(tmp_path: Path) -> None:
    host = Host()
    own = host.process(os.getpid())
    assert own
    assert (own.has_library, own.is_static, own.is_go, own.is_privileged) == (False, False, False, False)
    assert own.cookie == host.cookie(f"/proc/{os.getpid()}/ns/net")
    assert host.process(2**22 - 1) is None
    source = tmp_path / "idle.c"
    source.write_text("#include <unistd.h>\nint main(void) { pause(); return 0; }\n", encoding="utf-8")
    subprocess.run(["musl-gcc", "-static", "-o", tmp_path / "idle", source], check=True)
    with subprocess.Popen([tmp_path / "idle"]) as idle:
        try:
            found = host.process(idle.pid)
            # Until it has replaced the interpreter's image, it is still that.
            while found and found.command != "idle":
                found = host.process(idle.pid)
        finally:
            idle.kill()
    assert found
    assert found.is_static is True
