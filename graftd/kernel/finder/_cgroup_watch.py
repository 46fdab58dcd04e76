# SPDX-License-Identifier: Apache-2.0
"""Control groups that come, go, are filled and emptied."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from graftd.errors import KernelError
from graftd.kernel.finder._cgroups import Names, folders
from graftd.kernel.finder._inotify import (
    IN_CREATE,
    IN_DELETE,
    IN_IGNORED,
    IN_MODIFY,
    IN_ONLYDIR,
    IN_Q_OVERFLOW,
    Inotify,
    cannot_watch,
)
from graftd.model import Selector

_EVENTS = "cgroup.events"


class CgroupWatch:
    """Watches every folder of the tree while there is anything to look for: a container's may come in any."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._inotify = Inotify()
        self._names = Names(())
        self._watches: dict[Path, int] = {}
        self._paths: dict[int, Path] = {}
        self.lacking = ""

    def fileno(self) -> int:
        return self._inotify.fileno()

    def close(self) -> None:
        self._inotify.close()

    def want(self, selectors: Iterable[Selector]) -> None:
        self._names = Names(selectors)
        self._scan()

    def read(self) -> set[Selector]:
        """Whose control group may have come, gone, got its first process or lost its last one."""
        changed: set[Selector] = set()
        stale = False
        for seen in self._inotify.read():
            if seen.mask & IN_Q_OVERFLOW:
                stale = True
                changed |= self._names.all()
                continue
            path = self._paths.get(seen.wd)
            if path is None:
                continue
            if seen.mask & IN_IGNORED:
                self._forget(seen.wd)
            elif seen.mask & IN_MODIFY:
                changed |= self._names.of(path.parent.name)
            else:
                changed |= self._names.of(seen.name)
                if seen.mask & IN_CREATE:
                    changed |= self._enter(path / seen.name)
        if stale:
            self._scan()
        return changed

    def _scan(self) -> None:
        self.lacking = ""
        for path, wd in list(self._watches.items()):
            if not self._names or (path.name == _EVENTS and not self._names.of(path.parent.name)):
                self._forget(wd)
                self._inotify.remove(wd)
        if self._names:
            self._enter(self._root)

    def _enter(self, folder: Path) -> set[Selector]:
        """Watch a control group and all below it, which may have come before the watch; whose those are."""
        found = self._names.of(folder.name)
        self._watch(folder, IN_CREATE | IN_DELETE | IN_ONLYDIR)
        if found:
            self._watch(folder / _EVENTS, IN_MODIFY)
        try:
            children = folders(folder)
        except KernelError as error:
            self.lacking = error.message
            return found
        for child in children:
            found |= self._enter(child)
        return found

    def _watch(self, path: Path, mask: int) -> None:
        try:
            wd = self._inotify.add(path, mask)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self.lacking = cannot_watch(path, error)
            return
        self._watches[path] = wd
        self._paths[wd] = path

    def _forget(self, wd: int) -> None:
        # One of the same name that came since is told of by an event that is still to come.
        self._watches.pop(self._paths.pop(wd), None)
