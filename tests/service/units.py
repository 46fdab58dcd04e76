# SPDX-License-Identifier: Apache-2.0
"""graftd's units, by systemctl."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

SERVICE = "graftd.service"
SOCKETS = ("graftd.socket", "graftd-admin.socket", "graftd-read-only.socket")
UNITS = (SERVICE, *SOCKETS)


def systemctl(*words: str) -> str:
    """Run systemctl and return what it printed; one that fails fails the test, with the service's journal."""
    done = subprocess.run(
        ["systemctl", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, f"systemctl {' '.join(words)}: {done.stdout}\n{journal()}"
    return done.stdout.strip()


def show(unit: str, *properties: str) -> list[str]:
    """Return properties of a unit, in the order asked for."""
    lines = systemctl("show", unit, *(f"--property={name}" for name in properties)).splitlines()
    values = dict(line.partition("=")[::2] for line in lines)
    return [values[name] for name in properties]


def pid() -> int:
    """Return the service's process id; 0 where it does not run."""
    return int(show(SERVICE, "MainPID")[0])


def state(unit: str = SERVICE) -> str:
    """Return the unit's state, such as ``active`` or ``failed``."""
    return show(unit, "ActiveState")[0]


def journal(lines: int = 50) -> str:
    """Return the end of the service's journal."""
    command: Sequence[str] = ("journalctl", "--no-pager", "--boot", f"--lines={lines}", f"--unit={SERVICE}")
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
