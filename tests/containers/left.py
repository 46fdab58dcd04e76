# SPDX-License-Identifier: Apache-2.0
"""What containers leave behind: nothing."""

from __future__ import annotations

import json
from pathlib import Path

from graftd.kernel import Client as Kernel
from service.place import cli_json, eventually, run

DOOR = Path("/sys/fs/bpf/graft/transparent")


def has_door() -> bool:
    """Tell whether the BPF door is loaded."""
    return DOOR.exists()


def left() -> list[str]:
    """Name what store, kernel and the door's map have."""
    found = [one["name"] for one in cli_json("list-namespaces")]
    with Kernel.open() as kernel:
        found += [f"a table of the kernel's: {table}" for table in kernel.tables()]
    if has_door():
        entries = json.loads(run("bpftool", "-j", "map", "dump", "pinned", DOOR))
        found += [f"an entry of the map: {entry}" for entry in entries]
    return found


def assert_nothing_is_left(seconds: float = 30) -> None:
    """The last of it may take a moment to go: a namespace ends with its last socket."""
    eventually(lambda: not left(), "nothing is left", seconds)
