# SPDX-License-Identifier: Apache-2.0
"""A machine for the finder: real network namespaces, and folders in the places of control groups and /proc."""

import ctypes
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from graftd.errors import NamespaceError
from graftd.kernel import netns
from graftd.kernel.finder import Finder, FinderRoots
from graftd.model import NetnsIdentity, Selector, SelectorKind

ID = "0123456789abcdef" * 4
OTHER = "0123456789ab" + "f" * 52
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """A descriptor of a namespace that is left open keeps the namespace alive."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


class Contained:
    """A process in a network namespace of its own."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(command or ["sleep", "1000"], preexec_fn=self._unshare)  # noqa: PLW1509 no threads here
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @staticmethod
    def _unshare() -> None:
        assert _libc.unshare(netns.CLONE_NEWNET) == 0

    @property
    def file(self) -> Path:
        return Path(f"/proc/{self.pid}/ns/net")

    @property
    def cookie(self) -> int:
        fd = os.open(self.file, os.O_RDONLY)
        try:
            return netns.cookie_of(fd)
        finally:
            os.close(fd)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self.kill()
        self._process.wait()


class Headless(Contained):
    """One whose first thread has ended, while another goes on."""

    _PROGRAM = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(1000,)).start(); "
    _END = "ctypes.CDLL(None).syscall({})"  # exit(2) of this thread alone

    def __init__(self) -> None:
        number = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
        super().__init__(sys.executable, "-c", self._PROGRAM + self._END.format(number))
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2][0] != "Z":
            time.sleep(0.01)


class Machine:
    """Folders in the places of a machine's."""

    def __init__(self, folder: Path) -> None:
        self.roots = FinderRoots(
            netns=folder / "netns",
            runtimes=(folder / "docker",),
            cgroup=folder / "cgroup",
            proc=folder / "proc",
            machine=Path("/"),
        )
        for root in (self.roots.netns, *self.roots.runtimes, self.roots.cgroup, self.roots.proc):
            root.mkdir()
        (self.roots.cgroup / "cgroup.controllers").touch()
        self._mounted: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for path in list(self._mounted):
            self.unmount(path)

    def mount(self, of: Contained, at: Path) -> None:
        subprocess.run(["mount", "--bind", of.file, at], check=True)
        self._mounted.append(at)

    def unmount(self, at: Path) -> None:
        subprocess.run(["umount", at], check=True)
        self._mounted.remove(at)

    def named(self, name: str, of: Contained) -> Path:
        """As `ip netns add` does it."""
        path = self.roots.netns / name
        path.touch(0)
        self.mount(of, path)
        return path

    def delete(self, path: Path) -> None:
        self.unmount(path)
        path.unlink()

    def cgroup(self, path: str, *pids: int) -> Path:
        folder = self.roots.cgroup / path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
        (folder / "cgroup.events").write_text(f"populated {int(bool(pids))}\nfrozen 0\n")
        return folder

    def process(self, pid: int, start: int, of: Path) -> None:
        folder = self.roots.proc / str(pid)
        _in_namespace(folder, of)
        fields = " ".join(["S", "1", *["0"] * 17, str(start), "0", "0"])
        (folder / "stat").write_text(f"{pid} (a name) 1 (of 2) {fields}\n")

    def headless(self, pid: int, start: int, *threads: Path) -> None:
        """A process whose first thread has ended; where the others are."""
        self.process(pid, start, Path("nowhere"))
        for number, of in enumerate((Path("nowhere"), *threads), pid):
            _in_namespace(self.roots.proc / str(pid) / "task" / str(number), of)


def _in_namespace(folder: Path, of: Path) -> None:
    (folder / "ns").mkdir(parents=True)
    (folder / "ns" / "net").symlink_to(of)


def selector(kind: str, value: object, start_ticks: int = 0) -> Selector:
    return Selector(SelectorKind(kind), str(value), start_ticks)


def found(finder: Finder, kind: str, value: object, start_ticks: int = 0) -> NetnsIdentity | None:
    place = finder.find(selector(kind, value, start_ticks))
    if place is None:
        return None
    with place:
        return finder.identity(place)


def refusal(finder: Finder, kind: str, value: object) -> str:
    with pytest.raises(NamespaceError) as caught:
        finder.find(selector(kind, value))
    return str(caught.value)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def real(machine: Machine) -> FinderRoots:
    """The machine's folders, with the true /proc."""
    roots = machine.roots
    return replace(roots, proc=FinderRoots().proc)


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """So many can be opened inside, or fewer."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
