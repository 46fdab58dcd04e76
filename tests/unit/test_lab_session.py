# SPDX-License-Identifier: Apache-2.0
"""When a guest of the lab has systemd and graftd, and when it is bare."""

import signal
import socket
import struct
from pathlib import Path

import pytest

from driver import lab
from lab.graftlab import cli, session
from lab.graftlab.kernels import Kernel
from lab.graftlab.statedisk import SECTOR

UNIT = "usr/lib/systemd/system/graftd.service"


def prepared(folder: Path, *, unit: bool) -> session.Prepared:
    """What a guest is started from, whose tree installs graftd's unit or does not."""
    stage = folder / "stage"
    (stage / UNIT).parent.mkdir(parents=True)
    if unit:
        (stage / UNIT).touch()
    (folder / "module" / "installed").mkdir(parents=True)
    kernel = Kernel(version="6.1-test", key="key", image=folder, initramfs=folder)
    return session.Prepared(qemu=[], disk=folder, kernel=kernel, module=folder / "module", stage=stage)


def request(*words: str) -> session.Request:
    return cli._request(cli._parser().parse_args(["run", *words, "--", "true"]))


@pytest.mark.parametrize(
    ("words", "unit", "service"),
    [
        ((), True, b"yes"),
        (("--no-module",), True, b"yes"),
        (("--bare",), True, b"no"),
        ((), False, b"no"),
    ],
)
def test_a_guest_has_the_service_unless_it_is_bare_or_there_is_none(
    words: tuple[str, ...], unit: bool, service: bytes, tmp_path: Path
) -> None:
    wanted, found = request(*words), prepared(tmp_path, unit=unit)
    archive = session._run_archive(wanted, found, [])
    assert b"lab_service=" + service in archive
    # A folder of systemd's below /run makes programs take it for running.
    assert (b"run/systemd" in archive) == (service == b"yes")
    assert bool(session._systemd_arguments(wanted, found)) == (service == b"yes")


@pytest.mark.parametrize(("words", "loads"), [((), True), (("--no-module",), False)])
def test_systemd_loads_the_module_unless_it_is_to_be_left(words: tuple[str, ...], loads: bool, tmp_path: Path) -> None:
    wanted, found = request(*words), prepared(tmp_path, unit=True)
    assert ("modules_load=graft" in session._systemd_arguments(wanted, found)) == loads
    assert (b"blacklist graft" in session._run_archive(wanted, found, [])) != loads


def test_a_guest_with_a_state_disk_mounts_it(tmp_path: Path) -> None:
    found = prepared(tmp_path, unit=True)
    assert b"lab_state=no" in session._run_archive(request(), found, [])
    assert b"lab_state=yes" in session._run_archive(request("--state", "disk"), found, [])


def test_a_state_disk_is_served_until_its_guest_ends_and_loses_its_power_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state"
    path.write_bytes(bytes(2 * SECTOR))
    with session._state(request("--state", str(path))) as end:
        assert end is not None
        assert end.recv(18, socket.MSG_WAITALL).startswith(b"NBDMAGIC")
        go = struct.pack(">I8sIIIH", 3, b"IHAVEOPT", 7, 6, 0, 0)
        write = struct.pack(">IHHQQI", 0x25609513, 0, 1, 7, 0, 2 * SECTOR) + b"x" * 2 * SECTOR
        end.sendall(go + write)
        end.recv(32 + 20 + 16, socket.MSG_WAITALL)
    assert path.read_bytes().count(b"x") == SECTOR
    assert capsys.readouterr().err == "lab: of the sectors that the guest had not flushed, 1 are lost and 1 are not\n"


def test_a_signal_resets_the_guest_that_runs_and_no_other() -> None:
    reset: list[str] = []

    class Running:
        def __init__(self, name: str) -> None:
            self.reset = lambda: reset.append(name)

    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        for name in ("first", "second"):
            with session._reset_by_signal(Running(name)):  # type: ignore[arg-type]
                signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert reset == ["first", "second"]


@pytest.mark.parametrize("service", [True, False])
def test_a_drivers_guest_is_bare_unless_it_wants_the_service(
    service: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []

    def call(words: list[str], **_: object) -> int:
        called.extend(words)
        return 0

    monkeypatch.setattr(lab, "call", call)
    assert lab.Guest(service=service).run(["true"], share=tmp_path) == 0
    assert ("--bare" in called[: called.index("--")]) != service
