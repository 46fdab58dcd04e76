# SPDX-License-Identifier: Apache-2.0
"""The state disk: a file that outlives its guests, behind a cache that does not outlive the guest's end.

QEMU writes to a disk's file at once, and the host's page cache keeps that when QEMU is killed, so a guest that never
flushed would lose nothing. Here a sector that is written stays in this process until the guest flushes its disk, as
it stays in a drive's own cache. When the guest ends, one half of the sectors that were not flushed reaches the file
and the other half does not, whatever their order: a drive may do so when its power fails.
"""

from __future__ import annotations

import fcntl
import os
import random
from pathlib import Path
from types import TracebackType

from .disk import make_state
from .errors import LabError

SECTOR = 4096


class StateDisk:
    """Sectors of a file; used by one thread at a time. Offsets and lengths are in bytes, of whole sectors.

    Raises LabError where another guest has the file, OSError where it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            make_state(path)
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._unflushed: dict[int, bytes] = {}  # offset -> a sector
        self.size = os.fstat(self._file).st_size
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise LabError(f"the state {path} is another guest's", "Wait for its end, or name another file.") from error

    def __enter__(self) -> StateDisk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def holds(self, offset: int, length: int) -> bool:
        """Tell whether there are such sectors."""
        return offset % SECTOR == length % SECTOR == 0 and offset + length <= self.size

    def read(self, offset: int, length: int) -> bytes:
        """Return what was written last, flushed or not."""
        found = bytearray(os.pread(self._file, length, offset))
        for place in range(0, length, SECTOR):
            sector = self._unflushed.get(offset + place)
            if sector is not None:
                found[place : place + SECTOR] = sector
        return bytes(found)

    def write(self, offset: int, data: bytes) -> None:
        """Take sectors into the cache."""
        for place in range(0, len(data), SECTOR):
            self._unflushed[offset + place] = data[place : place + SECTOR]

    def flush(self) -> None:
        """Put all that was written into the file. The host goes on, so its own cache is safe enough."""
        for offset, sector in self._unflushed.items():
            os.pwrite(self._file, sector, offset)
        self._unflushed.clear()

    def power_off(self) -> tuple[int, int]:
        """Lose one half of what was not flushed; return how many sectors are lost, and how many are not."""
        # Which ones depends on nothing but what was written.
        lost = random.Random(0).sample(sorted(self._unflushed), (len(self._unflushed) + 1) // 2)
        for offset in lost:
            del self._unflushed[offset]
        kept = len(self._unflushed)
        self.flush()
        return len(lost), kept
