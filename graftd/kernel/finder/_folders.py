# SPDX-License-Identifier: Apache-2.0
"""Files that come and go by name, in folders that come and go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graftd.kernel.finder._inotify import (
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_IGNORED,
    IN_MOVE_SELF,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_ONLYDIR,
    IN_Q_OVERFLOW,
    IN_UNMOUNT,
    Inotify,
    cannot_watch,
)
from graftd.model import Selector

_NAMES = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO
_SELF = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED
_MASK = _NAMES | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR

Wanted = Mapping[Path, Mapping[str, set[Selector]]]


@dataclass(frozen=True, slots=True)
class _Aim:
    """What a watch is for. step: "" where it is of the folder itself, else the name of the next folder on the
    way there, which is missing."""

    folder: Path
    step: str


class Folders:
    def __init__(self) -> None:
        self._inotify = Inotify()
        self._wanted: Wanted = {}
        self._aims: dict[int, set[_Aim]] = {}
        self.lacking = ""

    def fileno(self) -> int:
        return self._inotify.fileno()

    def close(self) -> None:
        self._inotify.close()

    def want(self, wanted: Wanted) -> None:
        """By folder and name, whom it concerns."""
        self._wanted = wanted
        self._take_aim()

    def read(self) -> set[Selector]:
        """Whose file may have come, gone or changed since the last call; all where the kernel had to drop events."""
        changed: set[Selector] = set()
        stale = False
        for seen in self._inotify.read():
            if seen.mask & IN_Q_OVERFLOW:
                stale = True
                for folder in self._wanted:
                    changed |= self._all(folder)
            for aim in self._aims.get(seen.wd, ()):
                if seen.mask & _SELF or (aim.step and seen.name == aim.step):
                    stale = True
                    changed |= self._all(aim.folder)
                elif not aim.step:
                    changed |= self._wanted.get(aim.folder, {}).get(seen.name, set())
        if stale:
            self._take_aim()
        return changed

    def _all(self, folder: Path) -> set[Selector]:
        return set().union(*self._wanted.get(folder, {}).values())

    def _take_aim(self) -> None:
        """Watch every folder, or the nearest one there is on the way to it."""
        before, self._aims, self.lacking = self._aims, {}, ""
        for folder in self._wanted:
            try:
                wd, aim = self._aim_at(folder)
            except OSError as error:
                self.lacking = cannot_watch(folder, error)
            else:
                self._aims.setdefault(wd, set()).add(aim)
        for wd in before.keys() - self._aims.keys():
            self._inotify.remove(wd)

    def _aim_at(self, folder: Path) -> tuple[int, _Aim]:
        while True:
            wd, place = self._nearest(folder)
            step = "" if place == folder else folder.relative_to(place).parts[0]
            # What came before the watch was there is not told by it.
            if not step or not (place / step).is_dir():
                return wd, _Aim(folder, step)

    def _nearest(self, folder: Path) -> tuple[int, Path]:
        try:
            return self._inotify.add(folder, _MASK), folder
        except (FileNotFoundError, NotADirectoryError):
            if folder.parent == folder:
                raise
            return self._nearest(folder.parent)
