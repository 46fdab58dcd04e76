# SPDX-License-Identifier: Apache-2.0
"""The control groups of containers and units, by the names that runtimes and systemd give them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from graftd.kernel._lack import check_lack
from graftd.kernel.finder._processes import started
from graftd.model import Selector, SelectorKind

# Of docker, podman, CRI-O and containerd under systemd; without ".scope" where they make control groups
# themselves, as LXC does. Their monitors (libpod-conmon-ID, crio-conmon-ID) are outside of the container.
_PREFIXES = ("docker-", "libpod-", "crio-", "cri-containerd-", "nerdctl-")
_BARE_PREFIXES = ("", "libpod-", "crio-", "lxc.payload.")
_SHORT = re.compile(r"[0-9a-f]{12,63}")
_SHORTEST = 12  # digits, as runtimes print it
_FULL = re.compile(rf"(?:{'|'.join(_PREFIXES)})?([0-9a-f]{{64}})(?:\.scope)?")
_CONTAINERS = re.compile(rf"{_FULL.pattern}|lxc\.payload\..+|machine-.+\.scope|systemd-nspawn@.+\.service")


class Names:
    """Which of the selectors a control group's name fits."""

    def __init__(self, selectors: Iterable[Selector]) -> None:
        self._exact: dict[str, set[Selector]] = {}
        self._short: dict[str, set[Selector]] = {}
        for selector in selectors:
            for name in _names(selector):
                self._exact.setdefault(name, set()).add(selector)
            if selector.kind is SelectorKind.CONTAINER and _SHORT.fullmatch(selector.value):
                self._short.setdefault(selector.value[:_SHORTEST], set()).add(selector)

    def __bool__(self) -> bool:
        return bool(self._exact)

    def all(self) -> set[Selector]:
        return set().union(*self._exact.values())

    def of(self, name: str) -> set[Selector]:
        fitting = set(self._exact.get(name, ()))
        if self._short and (full := _FULL.fullmatch(name)):
            candidates = self._short.get(full[1][:_SHORTEST], ())
            fitting.update(one for one in candidates if full[1].startswith(one.value))
        return fitting


def _names(selector: Selector) -> list[str]:
    if selector.kind is SelectorKind.UNIT:
        return [selector.value]
    if selector.kind is SelectorKind.CONTAINER:
        scopes = [f"{prefix}{selector.value}.scope" for prefix in _PREFIXES]
        return scopes + [f"{prefix}{selector.value}" for prefix in _BARE_PREFIXES]
    return []


def folders(folder: Path) -> list[Path]:
    """The control groups right below one; none of one that is gone. Raises KernelError for a lack of descriptors."""
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        check_lack(error, str(folder))
        return []


def matching(top: Path, names: Names, owner: int) -> Iterator[Path]:
    """Those below `top` whose name fits, as far as nobody else can have given it: none below one that is another's than
    the owner's, or a container's. They themselves may be another's: runtimes give a container its own."""
    for folder in folders(top):
        if names.of(folder.name):
            yield folder
        elif _owned_by(folder, owner) and not _CONTAINERS.fullmatch(folder.name):
            yield from matching(folder, names, owner)


def _owned_by(folder: Path, owner: int) -> bool:
    try:
        return folder.lstat().st_uid == owner
    except OSError:
        return False


def processes(folder: Path, depth: int = 0) -> Iterator[tuple[int, int]]:
    """Depth and id of the processes of a control group and of all below it."""
    try:
        text = Path(folder, "cgroup.procs").read_text()
    except OSError as error:  # gone, or of a threaded group
        check_lack(error, str(folder))
        text = ""
    # 0 stands for a process of another pid namespace, which cannot be named from here.
    yield from ((depth, int(word)) for word in text.split() if word != "0")
    for child in folders(folder):
        yield from processes(child, depth + 1)


def oldest(folder: Path, proc: Path) -> tuple[int, int] | None:
    """Id and start of a control group's first process, which is a container's init and a unit's main process."""
    alive = [(start, depth, pid) for depth, pid in processes(folder) if (start := started(proc, pid)) is not None]
    if not alive:
        return None
    start, _, pid = min(alive)
    return pid, start
