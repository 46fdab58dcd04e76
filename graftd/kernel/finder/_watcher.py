# SPDX-License-Identifier: Apache-2.0
"""When what a selector stands for may have changed."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable
from pathlib import Path

from graftd.errors import GraftError
from graftd.kernel.finder._cgroup_watch import CgroupWatch
from graftd.kernel.finder._folders import Folders
from graftd.kernel.finder._inotify import Timer
from graftd.kernel.finder._processes import started
from graftd.kernel.finder._roots import FinderRoots
from graftd.model import Selector, SelectorKind

# Seconds after an event of a control group at which it is looked at again: a runtime puts the process in
# before it gives it a namespace, and nothing tells of that.
_AGAIN = (0.05, 0.2, 1.0, 4.0)
_FILES = (SelectorKind.NETNS, SelectorKind.PATH)
_CGROUPS = (SelectorKind.CONTAINER, SelectorKind.UNIT)


class Watcher:
    """Watches what selectors name. Waits for nothing, keeps no namespace open, and belongs to one thread.

    Raises OSError where the kernel has no inotify instance left (fs.inotify.max_user_instances).

    Seen: a file that comes, goes or is renamed, in folders that need not be there yet, and what is mounted on
    it or unmounted; a process's end; a control group that comes, goes, gets its first process or loses its
    last.
    Not seen, and left to a periodic pass: a process or a unit's main process that moves to another namespace
    more than some seconds after its start; one that starts with the id that a selector names; a namespace that
    takes the place of another on the same file between two calls of `read` and has its inode; a folder on the
    way to a watched one that is renamed; files below /proc, and those that another machine changes.
    """

    def __init__(self, roots: FinderRoots | None = None) -> None:
        self._roots = roots or FinderRoots()
        self._selectors: frozenset[Selector] = frozenset()
        self._epoll = select.epoll()
        self._folders = Folders()
        self._cgroups = CgroupWatch(self._roots.cgroup2)
        self._timer = Timer()
        # Always readable. Its EPOLLPRI would be gone as soon as an epoll around this one has asked for it.
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._mounted: dict[Selector, tuple[int, int] | None] = {}
        self._processes: dict[Selector, int] = {}
        self._again: list[tuple[float, Selector]] = []
        for source in (self._folders, self._cgroups, self._timer):
            self._epoll.register(source.fileno(), select.EPOLLIN)
        self._epoll.register(self._mounts, select.EPOLLIN | select.EPOLLET)
        self._epoll.poll(0)  # what was mounted before is no news

    def fileno(self) -> int:
        """Readable when `read` has something to look at."""
        return self._epoll.fileno()

    @property
    def lacking(self) -> str:
        """Why only a periodic pass sees some of what is watched; "" where that is not so."""
        return self._folders.lacking or self._cgroups.lacking

    def close(self) -> None:
        for descriptor in (*self._processes.values(), self._mounts):
            os.close(descriptor)
        for source in (self._folders, self._cgroups, self._timer, self._epoll):
            source.close()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def watch(self, selectors: Iterable[Selector]) -> None:
        """Watch these and no others from now on; what they select is to be looked up afterwards, not before.

        Again with the same ones it finds what has become of their folders and processes.
        """
        self._selectors = frozenset(selectors)
        self._mounted = {one: self._at(one) for one in self._selectors if one.kind in _FILES}
        self._watch_processes()
        wanted: dict[Path, dict[str, set[Selector]]] = {}
        for one in self._selectors:
            for path in self._files(one):
                wanted.setdefault(path.parent, {}).setdefault(path.name, set()).add(one)
        self._folders.want(wanted)
        self._cgroups.want(one for one in self._selectors if one.kind in _CGROUPS)

    def read(self) -> frozenset[Selector]:
        """Which may select something else than at the last call; all where the kernel had to drop events."""
        ready = {descriptor for descriptor, _ in self._epoll.poll(0)}
        told = self._folders.read() | self._cgroups.read()
        due = self._due(told)
        self._mounted |= {one: self._at(one) for one in told & self._mounted.keys()}
        remounted = self._remounted() if self._mounts in ready else set()
        return self._selectors & (told | due | remounted | self._ended(ready))

    def _files(self, selector: Selector) -> list[Path]:
        match selector.kind:
            case SelectorKind.NETNS:
                return [self._roots.netns / selector.value]
            case SelectorKind.PATH:
                return [Path(selector.value)]
            case SelectorKind.CONTAINER:
                return [folder / selector.value for folder in self._roots.runtimes]
            case _:
                return []

    def _at(self, selector: Selector) -> tuple[int, int] | None:
        """What is at a selector's file, mounted on it or not."""
        (path,) = self._files(selector)
        try:
            status = path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _remounted(self) -> set[Selector]:
        now = {one: self._at(one) for one in self._mounted}
        changed = {one for one, at in now.items() if at != self._mounted[one]}
        self._mounted = now
        return changed

    def _due(self, told: set[Selector]) -> set[Selector]:
        """Who is to be looked at again by now; and those that were told of will be."""
        now = time.monotonic()
        due = {one for moment, one in self._again if moment <= now}
        self._again = [(moment, one) for moment, one in self._again if moment > now]
        self._again += [(now + wait, one) for one in told if one.kind in _CGROUPS for wait in _AGAIN]
        self._timer.set(min((moment - now for moment, _ in self._again), default=None))
        return due

    def _watch_processes(self) -> None:
        for one in self._processes.keys() - self._selectors:
            os.close(self._processes.pop(one))
        for one in self._selectors - self._processes.keys():
            if one.kind is SelectorKind.PID and (descriptor := self._living(one)) is not None:
                self._processes[one] = descriptor
                self._epoll.register(descriptor, select.EPOLLIN)

    def _living(self, selector: Selector) -> int | None:
        """A descriptor of the process, which is readable when it has ended."""
        pid = int(selector.value)
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return None
        try:
            start = started(self._roots.proc, pid)
        except GraftError:
            start = None
        if start is None or selector.start_ticks not in (0, start) or _is_readable(descriptor):
            os.close(descriptor)
            return None
        return descriptor

    def _ended(self, ready: set[int]) -> set[Selector]:
        ended = {one for one, descriptor in self._processes.items() if descriptor in ready}
        for one in ended:
            os.close(self._processes.pop(one))
        return ended


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()  # select() takes none from 1024 on
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
