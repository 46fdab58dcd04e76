# SPDX-License-Identifier: Apache-2.0
"""Finding."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from graftd import ports
from graftd.errors import NamespaceError
from graftd.kernel import netns
from graftd.kernel._lack import check_lack
from graftd.kernel.finder._cgroups import Names, matching, oldest, processes
from graftd.kernel.finder._files import Found, check_hidden, open_file
from graftd.kernel.finder._processes import TRIES, open_namespace, open_process, started
from graftd.kernel.finder._roots import FinderRoots
from graftd.model import NetnsIdentity, Selector, SelectorKind

_OF_PROCESS = re.compile(r"/proc/[0-9]+/ns/net")


class Finder:
    """Finds network namespaces. Belongs to one thread, which is in graftd's own namespace.

    cookie_of: a quicker way to a namespace's cookie than netns.cookie_of, as KernelAdapter.cookie_of is.
    """

    def __init__(self, roots: FinderRoots | None = None, cookie_of: Callable[[int], int] = netns.cookie_of) -> None:
        self._roots = roots or FinderRoots()
        self._cookie_of = cookie_of
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._own = NetnsIdentity(self._boot_id, netns.cookie_of())
        with Found(netns.open_current()) as own:
            self._own_inode = own.inode
        self._known: dict[Selector, Path] = {}
        self._owner = os.stat(self._roots.cgroup2).st_uid if self._roots.cgroup2.is_dir() else 0

    def pin(self, selector: Selector) -> Selector:
        """The selector with what has to be looked up once: when a process started. Others come back as they are.

        Raises NamespaceError where there is no such process.
        """
        if selector.kind is not SelectorKind.PID or selector.start_ticks:
            return selector
        start = started(self._roots.proc, int(selector.value))
        if start is None:
            raise NamespaceError(f"there is no process {selector.value}")
        return dataclasses.replace(selector, start_ticks=start)

    def find(self, selector: Selector) -> Found | None:
        """What the selector selects now; None for nothing.

        Raises NamespaceError for several, for what is no network namespace, for a path that graftd's unit hides, and
        for a container or unit that is in graftd's own: it has none, or none yet, for runtimes make one after the
        control group. KernelError where descriptors or memory are lacking to look.
        """
        value = selector.value
        match selector.kind:
            case SelectorKind.NETNS:
                return open_file(self._roots.netns / value, f"'{value}' in {self._roots.netns}")
            case SelectorKind.PATH:
                return self._at_path(value)
            case SelectorKind.PID:
                return open_process(self._roots.proc, int(value), selector.start_ticks)
            case SelectorKind.CONTAINER:
                return self._only(selector, itertools.chain(self._in_cgroups(selector), self._in_runtimes(value)))
            case SelectorKind.UNIT:
                return self._only(selector, self._in_cgroups(selector))

    def identity(self, found: ports.Found) -> NetnsIdentity:
        """The cookie is asked for each time: a namespace's inode may be another's as soon as it is gone."""
        return NetnsIdentity(self._boot_id, self._cookie_of(found.fd))

    def own(self) -> NetnsIdentity:
        """The namespace that graftd runs in."""
        return self._own

    def hints(self, cookies: frozenset[int]) -> dict[int, list[Selector]]:
        """Selectors that select these network namespaces, as far as names and files tell of any: names of
        `ip netns` first, then paths of runtimes' files."""
        found: dict[int, list[Selector]] = {}
        for selector in self._named():
            try:
                place = self.find(selector)
            except NamespaceError:
                continue
            if place is not None:
                with place:
                    cookie = self._cookie_of(place.fd)
                if cookie in cookies:
                    found.setdefault(cookie, []).append(selector)
        return found

    def _named(self) -> list[Selector]:
        roots = self._roots
        names = [Selector(SelectorKind.NETNS, path.name) for path in _files(roots.netns)]
        others = [folder for folder in roots.runtimes if folder != roots.netns]
        return names + [Selector(SelectorKind.PATH, str(path)) for folder in others for path in _files(folder)]

    def _at_path(self, value: str) -> Found | None:
        path, what = Path(value), f"'{value}'"
        if _OF_PROCESS.fullmatch(value):
            return open_namespace(path.parents[1], what)
        found = open_file(path, what)
        if found is None:
            check_hidden(path, self._roots.machine)
        return found

    def _in_cgroups(self, selector: Selector) -> Iterator[Found]:
        return _present(self._of_cgroup(folder) for folder in self._folders(selector))

    def _folders(self, selector: Selector) -> list[Path]:
        """Where it was last time, for a walk over all control groups takes milliseconds."""
        known = self._known.pop(selector, None)
        found = [known] if known is not None and known.is_dir() else self._search(selector)
        if len(found) == 1:
            self._known[selector] = found[0]
        return found

    def _search(self, selector: Selector) -> list[Path]:
        """Of root's: any user, and any container that may write below its own, makes control groups with the name of
        another's unit or container. Of units, those in the system's slice go first."""
        names, root = Names([selector]), self._roots.cgroup2
        tops = (root / "system.slice", root) if selector.kind is SelectorKind.UNIT else (root,)
        for top in tops:
            if found := list(matching(top, names, self._owner)):
                return found
        return []

    def _of_cgroup(self, folder: Path) -> Found | None:
        for _ in range(TRIES):
            first = oldest(folder, self._roots.proc)
            if first is None:
                return None
            pid, start = first
            found = open_process(self._roots.proc, pid, start)
            if found is None:
                continue
            with found:
                if any(pid == member for _, member in processes(folder)):
                    return found.keep()
        raise NamespaceError(f"the processes of {folder} change too fast to tell which was the first")

    def _in_runtimes(self, value: str) -> Iterator[Found]:
        folders = () if value in (".", "..") else self._roots.runtimes
        return _present(open_file(folder / value, f"'{value}' in {folder}") for folder in folders)

    def _only(self, selector: Selector, found: Iterable[Found]) -> Found | None:
        with contextlib.ExitStack() as stack:
            different = {one.inode: one for one in map(stack.enter_context, found)}
            if len(different) > 1:
                raise NamespaceError(
                    f"{selector.kind.value} '{selector.value}' fits {len(different)} network namespaces: "
                    "say which by its whole id, by a process or by a path"
                )
            if self._own_inode in different:
                raise NamespaceError(
                    f"{selector.kind.value} '{selector.value}' is in the network namespace that graftd runs in: "
                    "it has none of its own"
                )
            return next((one.keep() for one in different.values()), None)


def _present(found: Iterable[Found | None]) -> Iterator[Found]:
    return (one for one in found if one is not None)


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        check_lack(error, str(folder))
        return []
