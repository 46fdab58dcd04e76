# SPDX-License-Identifier: Apache-2.0
"""What clients asked for and were told, in files of the share, which outlive the guest that wrote them.

A file is one client's, a folder one boot's. A line is on the host when write() returns, as the guest keeps no cache of
the share: what a client is about to ask for is there before graftd is asked, and that it was done before it counts.
The host reads along, so this imports nothing that it may lack.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

State = dict[str, Any]  # a resource's name -> what of it was asked for; missing: it is not there

_DONE = b"done\n"
_BEGUN = ".begun"  # the folder of a boot whose files are not yet all there


class Writer:
    """A client's file, begun with what the client knows."""

    def __init__(self, path: Path, known: State) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC)
        self._known = known
        self._write(json.dumps(known).encode() + b"\n")

    def intend(self, wanted: State) -> None:
        """What the next request would make of it."""
        changed = {name: value for name, value in wanted.items() if self._known.get(name) != value}
        changed |= dict.fromkeys(self._known.keys() - wanted.keys())
        self._write(json.dumps(changed).encode() + b"\n")

    def done(self, wanted: State) -> None:
        """The request was answered."""
        self._write(_DONE)
        self._known = wanted

    def _write(self, line: bytes) -> None:
        assert os.write(self._file, line) == len(line), "the share is full"


def read(path: Path) -> tuple[State, State | None]:
    """What was acknowledged, and what the request on its way would make of it; None where there was none.

    A line without an end was not written whole, so what it announces was not done.
    """
    first, *lines, _ = path.read_bytes().split(b"\n")
    known, pending = json.loads(first), None
    for line in lines:
        if line + b"\n" == _DONE:
            assert pending is not None
            known, pending = pending, None
        else:
            changed = json.loads(line)
            pending = {name: value for name, value in {**known, **changed}.items() if value is not None}
    return known, pending


def begin(share: Path, known: list[State]) -> list[Writer]:
    """A new boot's folder, with a file for each client."""
    begun = share / _BEGUN
    begun.mkdir(exist_ok=True)
    for path in begun.iterdir():
        path.unlink()
    writers = [Writer(begun / str(number), state) for number, state in enumerate(known)]
    begun.rename(share / str(len(_boots(share))))
    return writers


def newest(share: Path) -> list[Path]:
    """The files of the last boot, by client; none before the first."""
    boots = _boots(share)
    return sorted(boots[-1].iterdir(), key=lambda path: int(path.name)) if boots else []


def acknowledged(share: Path) -> int:
    """How many changes were, over all boots."""
    return sum(path.read_bytes().count(b"\n" + _DONE) for boot in _boots(share) for path in boot.iterdir())


def _boots(share: Path) -> list[Path]:
    return sorted((path for path in share.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
