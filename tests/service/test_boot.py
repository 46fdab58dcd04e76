# SPDX-License-Identifier: Apache-2.0
"""The units: what a boot brings up, and what systemd's commands do to it."""

import grp
import os
import pwd
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from service.units import SERVICE, SOCKETS, UNITS, journal, pid, show, state, systemctl

RUN = Path("/run/graftd")
MODES = {"admin.sock": 0o600, "graftd.sock": 0o660, "read-only.sock": 0o666}


def eventually(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait for a condition; the test fails where it does not come."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {seconds} s\n{journal()}"
        time.sleep(0.2)


def connect(name: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(str(RUN / name))
    return made


def test_the_boot_brought_up_all_units() -> None:
    assert {unit: state(unit) for unit in UNITS} == dict.fromkeys(UNITS, "active")
    assert {unit: show(unit, "UnitFileState")[0] for unit in UNITS} == dict.fromkeys(UNITS, "enabled")


def test_no_unit_of_the_machine_failed() -> None:
    listed = systemctl("list-units", "--failed", "--plain", "--no-legend")
    assert listed == ""
    assert systemctl("is-system-running") == "running"


def test_systemd_takes_every_line_of_the_units() -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *UNITS],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (done.returncode, [line for line in done.stdout.splitlines() if "graftd" in line]) == (0, [])


def test_systemd_waits_for_the_service_and_watches_it() -> None:
    assert show(SERVICE, "Type", "NotifyAccess", "WatchdogUSec") == ["notify", "main", "1min"]
    first = show(SERVICE, "WatchdogTimestampMonotonic")
    eventually(lambda: show(SERVICE, "WatchdogTimestampMonotonic") != first, "the watchdog is fed")


def test_the_sockets_are_there_with_their_modes() -> None:
    found = {path.name: path.stat() for path in RUN.iterdir() if path.is_socket()}
    assert {name: stat.S_IMODE(status.st_mode) for name, status in found.items()} == MODES
    groups = {name: grp.getgrgid(status.st_gid).gr_name for name, status in found.items()}
    assert groups == {"admin.sock": "root", "graftd.sock": "graftd", "read-only.sock": "root"}
    assert {status.st_uid for status in found.values()} == {0}


def test_the_service_has_the_sockets_that_systemd_made() -> None:
    names = [show(unit, "FileDescriptorName")[0] for unit in SOCKETS]
    assert names == ["read-write", "admin", "read-only"]
    inodes = {line.split()[-1]: line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
    wanted = {f"socket:[{inodes[str(RUN / name)]}]" for name in MODES}
    held = {os.readlink(path) for path in Path(f"/proc/{pid()}/fd").iterdir() if path.is_symlink()}
    assert wanted <= held


def test_its_state_is_nobody_elses() -> None:
    status = Path("/var/lib/graftd").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o700, pwd.getpwnam("graftd").pw_uid)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path("/var/lib/graftd").iterdir()}
    assert modes["graftd.db"] == 0o600
    assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}


def test_a_restart_makes_a_new_process_behind_the_same_sockets() -> None:
    before = pid(), {name: (RUN / name).stat().st_ino for name in MODES}
    systemctl("restart", SERVICE)
    after = pid(), {name: (RUN / name).stat().st_ino for name in MODES}
    assert state() == "active"
    assert after[0] not in {0, before[0]}
    assert after[1] == before[1]


def test_a_reload_keeps_the_process() -> None:
    before = pid()
    systemctl("reload", SERVICE)
    eventually(lambda: state() == "active", "the reload is over")
    assert pid() == before


def test_a_killed_service_comes_back() -> None:
    before = pid()
    os.kill(before, signal.SIGKILL)
    eventually(lambda: state() == "active" and pid() not in {0, before}, "it is back")


def test_a_client_of_a_stopped_service_starts_it() -> None:
    systemctl("stop", SERVICE)
    assert state() == "inactive"
    assert {name for name in MODES if (RUN / name).is_socket()} == set(MODES)
    with connect("read-only.sock"):
        eventually(lambda: state() == "active", "the service is started by its socket")
